"""The injection points. Each is reached by real means: a failpoint that holds the step, or a call in flight."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chaos.killable_stack import KillableStack, wait_until
from chaos.scenario import ScenarioStep
from tertulia.activities.failpoints import Failpoint
from tertulia.core.ids import ConversationId

_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class InjectionPoint:
    """A step of the scenario."""

    step: ScenarioStep
    prepare: Callable[[KillableStack], Awaitable[None]]
    """Prepare before the step starts."""
    wait: Callable[[KillableStack, ConversationId], Awaitable[None]]
    """Return when the point is reached. What is held stays held until it is released."""


def _at_failpoint(failpoint: Failpoint, step: ScenarioStep = ScenarioStep.ROUND) -> InjectionPoint:
    async def prepare(killable: KillableStack) -> None:
        killable.arm(failpoint)

    async def wait(killable: KillableStack, _: ConversationId) -> None:
        async def is_hit() -> bool:
            return killable.is_hit(failpoint)

        await wait_until(is_hit, bool, _TIMEOUT_SECONDS)

    return InjectionPoint(step, prepare, wait)


async def _no_preparation(killable: KillableStack) -> None:
    """No preparation."""


async def _turn_in_call(killable: KillableStack, conversation: ConversationId) -> None:
    await wait_until(
        lambda: killable.client.conversations.handle(conversation).status(live=True),
        lambda status: status.speaking is not None,
        _TIMEOUT_SECONDS,
    )
    await wait_until(killable.model.calls, lambda calls: calls.in_flight > 0, _TIMEOUT_SECONDS)


async def _manager_in_call(killable: KillableStack, conversation: ConversationId) -> None:
    await wait_until(
        lambda: killable.client.conversations.handle(conversation).status(live=True),
        lambda status: status.phase == "choosing_speaker",
        _TIMEOUT_SECONDS,
    )
    await wait_until(killable.model.calls, lambda calls: calls.in_flight > 0, _TIMEOUT_SECONDS)


async def _new_run(killable: KillableStack, conversation: ConversationId) -> None:
    async def run_id() -> str | None:
        return (await killable.client.scope.workflow_handle(conversation).describe()).run_id

    before = await run_id()
    await wait_until(run_id, lambda now: now != before, _TIMEOUT_SECONDS)


async def _reached_immediately(killable: KillableStack, _: ConversationId) -> None:
    """Return at once: the step itself is the point."""


INJECTION_POINTS: dict[str, InjectionPoint] = {
    "before the model call": _at_failpoint(Failpoint.BEFORE_MODEL_CALL),
    "during the model call": InjectionPoint(ScenarioStep.ROUND, _no_preparation, _turn_in_call),
    "after the answer, before the commit": _at_failpoint(Failpoint.BEFORE_TURN_COMMIT),
    "after the commit, before the report": _at_failpoint(Failpoint.AFTER_TURN_COMMIT),
    "while the manager chooses": InjectionPoint(ScenarioStep.ROUND, _no_preparation, _manager_in_call),
    "after the choice, before its commit": _at_failpoint(Failpoint.BEFORE_CHOICE_COMMIT),
    "during a membership change": _at_failpoint(Failpoint.BEFORE_MEMBERSHIP_COMMIT, ScenarioStep.JOINING),
    "during continue-as-new": InjectionPoint(ScenarioStep.ROUND, _no_preparation, _new_run),
    "idle": InjectionPoint(ScenarioStep.REST, _no_preparation, _reached_immediately),
    "at closing": _at_failpoint(Failpoint.BEFORE_CLOSING_COMMIT, ScenarioStep.CLOSING),
}

TRANSIENT_POINTS = frozenset({"during continue-as-new", "idle"})
"""Points that nothing holds: the fault is injected at once."""
