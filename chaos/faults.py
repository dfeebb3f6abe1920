"""What is done to the stack. Each fault strikes once, and what it hits comes back by itself."""

from collections.abc import Awaitable, Callable

from chaos.house import House
from tertulia.core.ids import ConversationId
from tertulia.devstack.offline_model import Fault

Inject = Callable[[House, ConversationId], Awaitable[None]]


async def _kill_workers(house: House, _: ConversationId) -> None:
    await house.kill_workers()


async def _kill_one(house: House, conversation: ConversationId) -> None:
    await house.kill_holder(conversation)


def _kill(program: str) -> Inject:
    async def inject(house: House, _: ConversationId) -> None:
        await house.kill(program)

    return inject


async def _cut(house: House, _: ConversationId) -> None:
    await house.cut_connections()


def _misbehave(fault: Fault) -> Inject:
    async def inject(house: House, _: ConversationId) -> None:
        delay = (await house.model.behaviour()).delay_ms
        await house.model.behave(fault, delay_ms=delay)

    return inject


FAULTS: dict[str, Inject] = {
    "all workers killed": _kill_workers,
    "one of two workers killed": _kill_one,
    "Temporal killed": _kill("temporal"),
    "Postgres killed": _kill("postgres"),
    "connections to Postgres cut": _cut,
    "model killed": _kill("model"),
    "model slow (2 s)": _misbehave(Fault(kind="slow", times=1, delay_ms=2_000)),
    "model hangs": _misbehave(Fault(kind="hang", times=1)),
    "model 429, retry after 1 s": _misbehave(Fault(kind="rate_limit", times=1, retry_after_s=1)),
    "model 500": _misbehave(Fault(kind="server_error", times=1)),
    "model answers garbage": _misbehave(Fault(kind="garbage", times=1)),
}
