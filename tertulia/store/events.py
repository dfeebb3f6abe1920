"""Read the events of a conversation, numbered 1, 2, 3… without gaps."""

from typing import Any

from pydantic import JsonValue
from sqlalchemy import Row, Table, and_, bindparam, case, func, select

from tertulia.core.records import ConversationEvent, EventKind, FinishedTurn, MembershipChange, Message
from tertulia.store.database import Database
from tertulia.store.event_log import EVENTS_CHANNEL, TURN_START_EVENTS, TURN_START_ROW
from tertulia.store.tables import conversations, events, membership_changes, messages, turns

__all__ = ["EVENTS_CHANNEL", "ConversationEvent", "EventKind", "read_events"]


_TURN_KINDS = ("turn_passed", "turn_failed", "turn_discarded", "turn_cancelled")
_turn_number = case((events.c.kind.in_(_TURN_KINDS), events.c.subject), else_=messages.c.turn)


def _row(table: Table) -> Any:
    return func.to_jsonb(table.table_valued())


_EVENTS = (
    select(
        events.c.number,
        events.c.kind,
        events.c.created_at,
        events.c.subject,
        events.c.detail,
        _row(messages).label("message"),
        _row(turns).label("turn"),
        _row(membership_changes).label("change"),
    )
    .select_from(
        events.outerjoin(
            messages,
            and_(
                messages.c.conversation_id == events.c.conversation_id,
                messages.c.seq == events.c.subject,
                events.c.kind == "message",
            ),
        )
        .outerjoin(turns, and_(turns.c.conversation_id == events.c.conversation_id, turns.c.turn == _turn_number))
        .outerjoin(
            membership_changes,
            and_(
                membership_changes.c.conversation_id == events.c.conversation_id,
                membership_changes.c.epoch == events.c.subject,
                events.c.kind == "membership",
            ),
        )
    )
    .where(events.c.conversation_id == bindparam("conversation_id"), events.c.number > bindparam("after"))
    .order_by(events.c.number)
    .limit(bindparam("limit"))
)


async def read_events(
    database: Database, conversation_id: str, *, after: int = 0, limit: int = 500
) -> list[ConversationEvent]:
    """Return up to `limit` events with a number greater than `after`, the oldest first."""
    parameters = {"conversation_id": conversation_id, "after": after, "limit": limit}
    page = [event for row in await database.rows(_EVENTS, parameters) for event in _events(row)]
    return [event for event in page if event.number > after][:limit]


async def last_event(database: Database, conversation_id: str) -> int:
    """Return the number of the newest event; 0 = none."""
    row = await database.row(select(conversations.c.last_event).where(conversations.c.id == conversation_id))
    return int(row.last_event) if row else 0


async def number_of_message(database: Database, conversation_id: str, seq: int) -> int:
    """Return the number of the event that reported message `seq`; 0 = none. Searches from the newest event back."""
    own = events.c.conversation_id == conversation_id, events.c.kind == "message", events.c.subject == seq
    row = await database.row(select(events.c.number).where(*own).order_by(events.c.number.desc()).limit(1))
    return int(row.number) if row else 0


def _events(row: Row[Any]) -> list[ConversationEvent]:
    """Build the events of one row; the row's number is that of the last of them."""
    if row.kind == TURN_START_ROW:
        details = [row.detail, {name: row.detail[name] for name in _TURN_START_FIELDS}]
        kinds = TURN_START_EVENTS
    else:
        details, kinds = [_data(row)], (row.kind,)
    first = row.number - len(kinds) + 1
    return [
        ConversationEvent(number=first + place, kind=kind, created_at=row.created_at, data=data)
        for place, (kind, data) in enumerate(zip(kinds, details, strict=True))
    ]


def _data(row: Row[Any]) -> dict[str, JsonValue]:
    if row.kind == "message":
        turn_fields = _MESSAGE_TURN_FIELDS if row.turn else ()
        message = Message.model_validate(row.message).model_dump(mode="json")
        return {**message, "round": row.message["round"], **{name: row.turn[name] for name in turn_fields}}
    if row.kind in _TURN_KINDS:
        return FinishedTurn.model_validate(row.turn).model_dump(mode="json")
    if row.kind == "membership":
        return MembershipChange.model_validate(row.change).model_dump(mode="json")
    return dict(row.detail or {})


_TURN_START_FIELDS = ("turn", "round", "speaker_id", "speaker")
_MESSAGE_TURN_FIELDS = (
    "chosen_by",
    "reason",
    "error",
    "attempt",
    "model",
    "fallback",
    "prompt_tokens",
    "completion_tokens",
)
"""The fields of a turn that an event carries beside its message."""
