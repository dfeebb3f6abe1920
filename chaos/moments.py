"""When it is done: each moment is hit by real means, a failpoint that holds the step or a call that is under way."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chaos.killable_stack import KillableStack, until
from chaos.play import Scene
from tertulia.activities.failpoints import Failpoint
from tertulia.core.ids import ConversationId

_PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Moment:
    """A step of the play."""

    scene: Scene
    prepare: Callable[[KillableStack], Awaitable[None]]
    """Before the scene begins."""
    reach: Callable[[KillableStack, ConversationId], Awaitable[None]]
    """Returns when the moment has come; what is held is held until it is released."""


def _at(failpoint: Failpoint, scene: Scene = Scene.ROUND) -> Moment:
    async def prepare(killable: KillableStack) -> None:
        killable.arm(failpoint)

    async def reach(killable: KillableStack, _: ConversationId) -> None:
        async def is_hit() -> bool:
            return killable.is_hit(failpoint)

        await until(is_hit, bool, _PATIENCE_SECONDS)

    return Moment(scene, prepare, reach)


async def _nothing(killable: KillableStack) -> None:
    """No preparation."""


async def _turn_in_call(killable: KillableStack, conversation: ConversationId) -> None:
    await until(
        lambda: killable.client.conversations.handle(conversation).status(live=True),
        lambda status: status.speaking is not None,
        _PATIENCE_SECONDS,
    )
    await until(killable.model.calls, lambda calls: calls.in_flight > 0, _PATIENCE_SECONDS)


async def _manager_in_call(killable: KillableStack, conversation: ConversationId) -> None:
    await until(
        lambda: killable.client.conversations.handle(conversation).status(live=True),
        lambda status: status.phase == "choosing_speaker",
        _PATIENCE_SECONDS,
    )
    await until(killable.model.calls, lambda calls: calls.in_flight > 0, _PATIENCE_SECONDS)


async def _new_run(killable: KillableStack, conversation: ConversationId) -> None:
    async def run_id() -> str | None:
        return (await killable.client.scope.workflow_handle(conversation).describe()).run_id

    before = await run_id()
    await until(run_id, lambda now: now != before, _PATIENCE_SECONDS)


async def _now(killable: KillableStack, _: ConversationId) -> None:
    """The scene itself is the moment."""


MOMENTS: dict[str, Moment] = {
    "before the model call": _at(Failpoint.BEFORE_MODEL_CALL),
    "during the model call": Moment(Scene.ROUND, _nothing, _turn_in_call),
    "after the answer, before the commit": _at(Failpoint.BEFORE_TURN_COMMIT),
    "after the commit, before the report": _at(Failpoint.AFTER_TURN_COMMIT),
    "while the manager chooses": Moment(Scene.ROUND, _nothing, _manager_in_call),
    "after the choice, before its commit": _at(Failpoint.BEFORE_CHOICE_COMMIT),
    "during a membership change": _at(Failpoint.BEFORE_MEMBERSHIP_COMMIT, Scene.JOINING),
    "during continue-as-new": Moment(Scene.ROUND, _nothing, _new_run),
    "idle": Moment(Scene.REST, _nothing, _now),
    "at closing": _at(Failpoint.BEFORE_CLOSING_COMMIT, Scene.CLOSING),
}

PASSING = frozenset({"during continue-as-new", "idle"})
"""Those that nothing holds: the fault strikes at once."""
