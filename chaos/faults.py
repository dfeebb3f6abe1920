"""The faults. Each is injected once, and the program that it hits recovers by itself."""

from collections.abc import Awaitable, Callable

from chaos.killable_stack import KillableStack
from tertulia.core.ids import ConversationId
from tertulia.devstack.offline_model import Fault

Inject = Callable[[KillableStack, ConversationId], Awaitable[None]]


async def _kill_workers(killable: KillableStack, _: ConversationId) -> None:
    await killable.kill_workers()


async def _kill_active_worker(killable: KillableStack, conversation: ConversationId) -> None:
    await killable.kill_worker_of(conversation)


def _kill_program(program: str) -> Inject:
    async def inject(killable: KillableStack, _: ConversationId) -> None:
        await killable.kill(program)

    return inject


async def _cut_connections(killable: KillableStack, _: ConversationId) -> None:
    await killable.cut_connections()


def _set_model_fault(fault: Fault) -> Inject:
    async def inject(killable: KillableStack, _: ConversationId) -> None:
        delay = (await killable.model.get_behaviour()).delay_ms
        await killable.model.set_behaviour(fault, delay_ms=delay)

    return inject


FAULTS: dict[str, Inject] = {
    "all workers killed": _kill_workers,
    "one of two workers killed": _kill_active_worker,
    "Temporal killed": _kill_program("temporal"),
    "Postgres killed": _kill_program("postgres"),
    "connections to Postgres cut": _cut_connections,
    "model killed": _kill_program("model"),
    "model slow (2 s)": _set_model_fault(Fault(kind="slow", times=1, delay_ms=2_000)),
    "model hangs": _set_model_fault(Fault(kind="hang", times=1)),
    "model 429, retry after 1 s": _set_model_fault(Fault(kind="rate_limit", times=1, retry_after_s=1)),
    "model 500": _set_model_fault(Fault(kind="server_error", times=1)),
    "model answers garbage": _set_model_fault(Fault(kind="garbage", times=1)),
}
