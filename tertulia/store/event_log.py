"""Append events to a conversation's log and notify listeners.

Invariant: an event is written in the transaction of what it reports, guarded by the conversation's row. It repeats no
text of another table: `subject` refers to the row there.
"""

from collections.abc import Sequence

from pydantic import JsonValue
from sqlalchemy import CTE, ColumnElement, Text, cast, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tertulia.core.base import Record
from tertulia.core.ids import ConversationId
from tertulia.core.records import EventKind
from tertulia.store.tables import conversations, events

EVENTS_CHANNEL = "tertulia_events"
"""Notification channel of new events: `<conversation id> <number>`, with `:phase` appended if the phase may have
changed.
"""
PHASE_MARK = ":phase"
TURN_START_ROW = "turn_begun"
"""Stored kind of a row that stands for two events, which always occur together."""
TURN_START_EVENTS: tuple[EventKind, ...] = ("speaker_chosen", "turn_started")
"""These two; the row has the number of the second."""


class NewEvent(Record):
    """An event to append."""

    kind: EventKind
    subject: int | None = None
    detail: dict[str, JsonValue] | None = None


async def append_events(
    connection: AsyncConnection, conversation_id: ConversationId, new_events: Sequence[NewEvent]
) -> None:
    """Append these events and notify listeners of the last one when the transaction commits."""
    if not new_events:
        return
    counter_update = (
        update(conversations)
        .where(conversations.c.id == conversation_id)
        .values(last_event=conversations.c.last_event + len(new_events))
        .returning(conversations.c.last_event)
    )
    last_number: int = (await connection.execute(counter_update)).scalar_one()
    rows = [
        {"conversation_id": conversation_id, "number": number, **new_event.model_dump()}
        for number, new_event in enumerate(new_events, start=last_number - len(new_events) + 1)
    ]
    await connection.execute(insert(events), rows)
    await connection.execute(select(func.pg_notify(EVENTS_CHANNEL, f"{conversation_id} {last_number}")))


def notify_column(guard: CTE, mark: str = "") -> ColumnElement[object]:
    """Column expression for a statement that appends its own event: notify of `guard`'s new `last_event`."""
    return func.pg_notify(EVENTS_CHANNEL, guard.c.id + " " + cast(guard.c.last_event, Text) + mark)
