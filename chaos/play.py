"""The scripted conversation: the same each time, with a place for a disturbance at every moment."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType

from chaos.company import JOINER, LEAVER, LED
from chaos.killable_stack import KillableStack, persist, until
from tertulia.core.ids import ConversationId
from tertulia.core.status import ConversationStatus

CONTINUE_AS_NEW_AFTER = 3
_PATIENCE_SECONDS = 60
_REST_SECONDS = 0.3
"""For how long nothing happens: the time to disturb an idle conversation."""


class Scene(StrEnum):
    """The parts of the play, each of which can be disturbed."""

    JOINING = "a member joins"
    ROUND = "the second round"
    REST = "nothing happens"
    CLOSING = "the conversation is closed"


Disturb = Callable[[ConversationId], Awaitable[None]]
"""Runs beside its scene."""


@dataclass(frozen=True)
class Disturbance:
    """What happens beside which scene."""

    scene: Scene
    prepare: Callable[[], Awaitable[None]]
    """Before the scene begins."""
    disturb: Disturb


async def perform(killable: KillableStack, conversation: ConversationId, disturbance: Disturbance | None) -> None:
    """Play it to its end.

    Raises:
        OutOfPatience: something did not happen in time.
    """
    client = killable.client
    await persist(
        lambda: client.conversations.create(
            LED,
            "Shall the square be closed to cars?",
            id=conversation,
            continue_as_new_after_turns=CONTINUE_AS_NEW_AFTER,
        )
    )
    await _rest(killable, conversation, rounds=1)
    async with _Beside(disturbance, Scene.JOINING, conversation):
        await persist(lambda: client.conversations.handle(conversation).members.add(JOINER, command_id="join"))
        await _until(killable, conversation, lambda status: status.roster.epoch == 2)
    async with _Beside(disturbance, Scene.ROUND, conversation):
        await persist(lambda: client.conversations.handle(conversation).post("And at night?", message_id="two"))
        await _rest(killable, conversation, rounds=2)
    async with _Beside(disturbance, Scene.REST, conversation):
        await asyncio.sleep(_REST_SECONDS)
        await persist(lambda: client.conversations.handle(conversation).members.remove(LEAVER, command_id="leave"))
        await _until(killable, conversation, lambda status: status.roster.epoch == 3)
    await persist(lambda: client.conversations.handle(conversation).post("And in winter?", message_id="three"))
    await _rest(killable, conversation, rounds=3)
    async with _Beside(disturbance, Scene.CLOSING, conversation):
        await persist(lambda: client.conversations.handle(conversation).stop(command_id="end"))
        await _until(killable, conversation, lambda status: status.phase == "closed")


class _Beside:
    """Lets the disturbance, if it belongs to this scene, run beside the block."""

    def __init__(self, disturbance: Disturbance | None, scene: Scene, conversation: ConversationId) -> None:
        self._disturbance = disturbance if disturbance and disturbance.scene is scene else None
        self._conversation = conversation
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        if self._disturbance:
            await self._disturbance.prepare()
            self._running = asyncio.ensure_future(self._disturbance.disturb(self._conversation))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._running:
            if error:
                self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=error is not None)


async def _rest(killable: KillableStack, conversation: ConversationId, rounds: int) -> None:
    await _until(
        killable,
        conversation,
        lambda status: status.phase == "ready" and status.round == rounds and status.stop_reason is not None,
    )


async def _until(
    killable: KillableStack, conversation: ConversationId, holds: Callable[[ConversationStatus], bool]
) -> ConversationStatus:
    return await until(
        lambda: killable.client.conversations.handle(conversation).status(live=True), holds, _PATIENCE_SECONDS
    )
