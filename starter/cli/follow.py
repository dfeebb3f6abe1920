"""Follow a conversation on the screen, or as JSON lines, until it closes or its round ends."""

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
from tertulia.starter.cli.live_view import LiveView
from tertulia.starter.cli.terminal import console, print_json_line

StatusPredicate = Callable[[ConversationStatus], bool]


def is_closed(status: ConversationStatus) -> bool:
    """Return whether a watch ends."""
    return status.phase == "closed"


async def follow_round(conversation: Conversation, after: int, *, why: bool, as_json: bool) -> None:
    """Show everything after event `after` until no round runs; say so if the conversation is paused."""
    status = await follow(conversation, after, until=is_round_over, why=why, as_json=as_json)
    if status is not None and status.phase == "paused":
        pending = status.pending.messages
        waiting = f"; {pending} {'message waits' if pending == 1 else 'messages wait'}" if pending else ""
        reason = f" ({status.paused_because})" if status.paused_because else ""
        hint = f"paused{reason}{waiting}: tertulia resume {conversation.id} continues it"
        console(stderr=True).print(hint, style="yellow", soft_wrap=True)


async def follow(
    conversation: Conversation,
    after: int,
    *,
    until: StatusPredicate,
    why: bool = False,
    times: bool = False,
    as_json: bool = False,
) -> ConversationStatus | None:
    """Show everything after event `after` until the status satisfies `until`, or Ctrl-C.

    Returns:
        That status; None after Ctrl-C, which ends the watch and not the conversation.
    """
    try:
        if as_json:
            return await _follow_as_json_lines(conversation, after, until)
        members = await conversation.members.list()
        names = {member.agent_id: member.name for member in members}
        view = LiveView(console(), why=why, times=times, names=names)
        return await _follow_on_screen(conversation, after, until, view)
    except asyncio.CancelledError:
        hint = f"the conversation goes on; tertulia watch {conversation.id} shows it again"
        console(stderr=True).print(hint, style="dim", soft_wrap=True)
        return None


async def _follow_on_screen(
    conversation: Conversation, after: int, until: StatusPredicate, view: LiveView
) -> ConversationStatus:
    with view.live():
        async with aclosing(watch(conversation, after, deltas=view.is_live)) as items:
            async for item in items:
                show_item(view, item)
                if isinstance(item, StatusSeen) and until(item.status):
                    return item.status
    raise AssertionError("a watch does not end by itself")


def show_item(view: LiveView, item: WatchItem) -> None:
    """Show one item on the screen."""
    match item:
        case MessageAdded():
            view.add_message(item)
        case TurnWithoutMessage():
            view.add_turn_without_message(item)
        case RosterChanged():
            view.add_roster_change(item)
        case PhaseNotice():
            view.add_phase_notice(item)
        case TurnStarted():
            view.show_turn_start(item)
        case TextDelta(delta=delta):
            view.show_text(delta)
        case Waiting(reason=reason):
            view.show_waiting(reason)
        case StatusSeen(status=status):
            view.show_status(status)


async def _follow_as_json_lines(conversation: Conversation, after: int, until: StatusPredicate) -> ConversationStatus:
    async with aclosing(watch(conversation, after)) as items:
        async for item in items:
            match item:
                case StatusSeen(status=status):
                    if until(status):
                        return status
                case TurnStarted() | TextDelta():
                    pass
                case _:
                    print_json_line(_to_json_object(item))
    raise AssertionError("a watch does not end by itself")


def _to_json_object(
    item: MessageAdded | TurnWithoutMessage | RosterChanged | PhaseNotice | Waiting,
) -> dict[str, JsonValue]:
    match item:
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
