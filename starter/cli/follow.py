"""Following a conversation from the source to the screen, or to JSON lines, until it closes or its round ends."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from pydantic import JsonValue

from tertulia.client.conversation import Conversation
from tertulia.client.timeline import (
    MessageAdded,
    PhaseNotice,
    RosterChanged,
    TextDelta,
    TurnStarted,
    TurnWithoutMessage,
)
from tertulia.client.watch import StatusSeen, Waiting, WatchItem, watch
from tertulia.core.status import ConversationStatus, is_round_over
from tertulia.starter.cli.live_view import Scene
from tertulia.starter.cli.terminal import console, print_json_line

Until = Callable[[ConversationStatus], bool]


def is_closed(status: ConversationStatus) -> bool:
    """When `watch` ends."""
    return status.phase == "closed"


async def follow(
    conversation: Conversation,
    after: int,
    *,
    until: Until = is_round_over,
    why: bool = False,
    as_json: bool = False,
) -> None:
    """Show everything behind the event `after` until the conversation is as `until` wants it, or Ctrl-C."""
    try:
        if as_json:
            await _print_lines(conversation, after, until)
        else:
            members = await conversation.members.list()
            names = {member.agent_id: member.name for member in members}
            await _show(conversation, after, until, Scene(console(), why=why, names=names))
    except asyncio.CancelledError:
        # Ctrl-C ends the watching, not the conversation.
        hint = f"the conversation goes on; tertulia watch {conversation.id} shows it again"
        console(stderr=True).print(hint, style="dim", soft_wrap=True)


async def _show(conversation: Conversation, after: int, until: Until, scene: Scene) -> None:
    with scene.live():
        async with aclosing(watch(conversation, after, deltas=scene.is_live)) as sightings:
            async for sighting in sightings:
                show(scene, sighting)
                if isinstance(sighting, StatusSeen) and until(sighting.status):
                    return


def show(scene: Scene, sighting: WatchItem) -> None:
    """Put one sighting on the screen."""
    match sighting:
        case MessageAdded():
            scene.said(sighting)
        case TurnWithoutMessage():
            scene.silent(sighting)
        case RosterChanged():
            scene.changed(sighting)
        case PhaseNotice():
            scene.told(sighting)
        case TurnStarted():
            scene.begins(sighting)
        case TextDelta(delta=delta):
            scene.overhears(delta)
        case Waiting(reason=reason):
            scene.wait(reason)
        case StatusSeen(status=status):
            scene.stand(status)


async def _print_lines(conversation: Conversation, after: int, until: Until) -> None:
    async with aclosing(watch(conversation, after)) as sightings:
        async for sighting in sightings:
            match sighting:
                case StatusSeen(status=status):
                    if until(status):
                        return
                case TurnStarted() | TextDelta():
                    pass
                case _:
                    print_json_line(_flat(sighting))


def _flat(sighting: MessageAdded | TurnWithoutMessage | RosterChanged | PhaseNotice | Waiting) -> dict[str, JsonValue]:
    match sighting:
        case MessageAdded(message=message, turn=turn):
            why = {"chosen_by": turn.chosen_by, "reason": turn.reason} if turn else {}
            return {"event": "message", **message.model_dump(mode="json"), **why}
        case TurnWithoutMessage(turn=turn):
            return {"event": "turn", **turn.model_dump(mode="json")}
        case RosterChanged(change=change):
            return {"event": "members", **change.model_dump(mode="json")}
        case PhaseNotice(kind=kind, round=round, reason=reason, explanation=explanation):
            return {"event": kind, "round": round, "reason": reason, "explanation": explanation}
        case Waiting(reason=reason):
            return {"event": "waiting", "reason": reason}
