"""The scenario: a scripted conversation, the same each time, that can be disturbed at every step."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType

from chaos.killable_stack import KillableStack, retry_while_unavailable, wait_until
from chaos.sample_groups import JOINER, LEAVER, MANAGED_GROUP
from tertulia.core.ids import ConversationId
from tertulia.core.status import ConversationStatus

CONTINUE_AS_NEW_AFTER = 3
_TIMEOUT_SECONDS = 60
_IDLE_SECONDS = 0.3
"""Quiet time after which an idle conversation is disturbed."""


class ScenarioStep(StrEnum):
    """The steps of the scenario, each of which can be disturbed."""

    JOINING = "a member joins"
    ROUND = "the second round"
    REST = "nothing happens"
    CLOSING = "the conversation is closed"


InjectFault = Callable[[ConversationId], Awaitable[None]]
"""Runs beside its step."""


@dataclass(frozen=True)
class FaultInjection:
    """A fault and the step beside which it is injected."""

    step: ScenarioStep
    prepare: Callable[[], Awaitable[None]]
    """Prepare before the step starts."""
    inject: InjectFault


async def run_scenario(killable: KillableStack, conversation: ConversationId, injection: FaultInjection | None) -> None:
    """Run the scenario to its end.

    Raises:
        AssertionError: something did not happen in time.
    """
    client = killable.client
    await retry_while_unavailable(
        lambda: client.conversations.create(
            MANAGED_GROUP,
            "Shall the square be closed to cars?",
            id=conversation,
            continue_as_new_after_turns=CONTINUE_AS_NEW_AFTER,
        )
    )
    await _wait_for_round(killable, conversation, rounds=1)
    async with _ConcurrentInjection(injection, ScenarioStep.JOINING, conversation):
        await retry_while_unavailable(
            lambda: client.conversations.handle(conversation).members.add(JOINER, command_id="join")
        )
        await _wait_for_status(killable, conversation, lambda status: status.roster.epoch == 2)
    async with _ConcurrentInjection(injection, ScenarioStep.ROUND, conversation):
        await retry_while_unavailable(
            lambda: client.conversations.handle(conversation).post("And at night?", message_id="two")
        )
        await _wait_for_round(killable, conversation, rounds=2)
    async with _ConcurrentInjection(injection, ScenarioStep.REST, conversation):
        await asyncio.sleep(_IDLE_SECONDS)
        await retry_while_unavailable(
            lambda: client.conversations.handle(conversation).members.remove(LEAVER, command_id="leave")
        )
        await _wait_for_status(killable, conversation, lambda status: status.roster.epoch == 3)
    await retry_while_unavailable(
        lambda: client.conversations.handle(conversation).post("And in winter?", message_id="three")
    )
    await _wait_for_round(killable, conversation, rounds=3)
    async with _ConcurrentInjection(injection, ScenarioStep.CLOSING, conversation):
        await retry_while_unavailable(lambda: client.conversations.handle(conversation).stop(command_id="end"))
        await _wait_for_status(killable, conversation, lambda status: status.phase == "closed")


class _ConcurrentInjection:
    """Context manager: run the injection beside the block, if it belongs to this step."""

    def __init__(self, injection: FaultInjection | None, step: ScenarioStep, conversation: ConversationId) -> None:
        self._disturbance = injection if injection and injection.step is step else None
        self._conversation = conversation
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        if self._disturbance:
            await self._disturbance.prepare()
            self._running = asyncio.ensure_future(self._disturbance.inject(self._conversation))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._running:
            if error:
                self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=error is not None)


async def _wait_for_round(killable: KillableStack, conversation: ConversationId, rounds: int) -> None:
    await _wait_for_status(
        killable,
        conversation,
        lambda status: status.phase == "ready" and status.round == rounds and status.stop_reason is not None,
    )


async def _wait_for_status(
    killable: KillableStack, conversation: ConversationId, predicate: Callable[[ConversationStatus], bool]
) -> ConversationStatus:
    return await wait_until(
        lambda: killable.client.conversations.handle(conversation).status(live=True), predicate, _TIMEOUT_SECONDS
    )
