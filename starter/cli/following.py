"""Following a conversation from the source to the screen, or to JSON lines, until it closes or its round ends."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from pydantic import JsonValue

from groups.status import ConversationStatus
from starter.cli.scene import Scene
from starter.cli.terminal import console, print_json_line
from starter.timeline import Backlog, News, RosterChanged, Said, Silent, is_at_rest, news
from starter.watching import Sighting, StatusSeen, Waiting, watch
from store.membership import read_members

if TYPE_CHECKING:
    from starter.client import Tertulia

Until = Callable[[ConversationStatus], bool]


def is_closed(status: ConversationStatus) -> bool:
    """When `watch` ends."""
    return status.phase == "closed"


async def follow(
    client: "Tertulia",
    conversation_id: str,
    backlog: Backlog,
    *,
    until: Until = is_at_rest,
    why: bool = False,
    as_json: bool = False,
) -> None:
    """Show everything after `backlog` until the conversation is as `until` wants it, or Ctrl-C."""
    try:
        if as_json:
            await _print_lines(client, conversation_id, backlog, until)
        else:
            members = await read_members(client.database, conversation_id)
            names = {member.agent_id: member.name for member in members}
            await _show(client, conversation_id, backlog, until, Scene(console(), why=why, names=names))
    except asyncio.CancelledError:
        # Ctrl-C ends the watching, not the conversation.
        hint = f"the conversation goes on; tertulia watch {conversation_id} shows it again"
        console(stderr=True).print(hint, style="dim", soft_wrap=True)


async def _show(client: "Tertulia", conversation_id: str, backlog: Backlog, until: Until, scene: Scene) -> None:
    before: ConversationStatus | None = None
    with scene.live():
        async with aclosing(watch(client, conversation_id, backlog)) as sightings:
            async for sighting in sightings:
                show(scene, sighting, before)
                if isinstance(sighting, StatusSeen):
                    before = sighting.status
                    if until(before):
                        return


def show(scene: Scene, sighting: Sighting, before: ConversationStatus | None) -> None:
    """Put one sighting on the screen; `before` is the last status seen."""
    match sighting:
        case Said():
            scene.said(sighting)
        case Silent():
            scene.silent(sighting)
        case RosterChanged():
            scene.changed(sighting)
        case Waiting(reason=reason):
            scene.wait(reason)
        case StatusSeen(status=status):
            for one in news(before, status):
                scene.told(one)
            scene.stand(status)


async def _print_lines(client: "Tertulia", conversation_id: str, backlog: Backlog, until: Until) -> None:
    before: ConversationStatus | None = None
    async with aclosing(watch(client, conversation_id, backlog)) as sightings:
        async for sighting in sightings:
            if not isinstance(sighting, StatusSeen):
                print_json_line(_flat(sighting))
                continue
            for one in news(before, sighting.status):
                print_json_line(_flat_news(one))
            before = sighting.status
            if until(before):
                return


def _flat(sighting: Said | Silent | RosterChanged | Waiting) -> dict[str, JsonValue]:
    match sighting:
        case Said(message=message, turn=turn):
            why = {"chosen_by": turn.chosen_by, "reason": turn.reason} if turn else {}
            return {"event": "message", **message.model_dump(mode="json"), **why}
        case Silent(turn=turn):
            return {"event": "turn", **turn.model_dump(mode="json")}
        case RosterChanged(change=change):
            return {"event": "members", **change.model_dump(mode="json")}
        case Waiting(reason=reason):
            return {"event": "waiting", "reason": reason}


def _flat_news(one: News) -> dict[str, JsonValue]:
    return {"event": one.kind, "round": one.round, "reason": one.reason, "explanation": one.explanation}
