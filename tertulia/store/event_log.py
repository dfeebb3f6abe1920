"""How an event is told: written with its number, and announced to those who listen.

Law: an event is written in the transaction of what it tells, guarded by the conversation's row. It holds no
words of its own where another table has them: `subject` names their row.
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
"""Where Postgres announces each new event: `<conversation id> <number>`, and `:phase` behind that if the conversation
has come into another phase."""
PHASE_MARK = ":phase"
TURN_BEGUN = "turn_begun"
"""The kind of a row that stands for two events, which always come together."""
EVENTS_OF_BEGINNING: tuple[EventKind, ...] = ("speaker_chosen", "turn_started")
"""The two; the row has the number of the second."""


class Telling(Record):
    """An event that is to be told."""

    kind: EventKind
    subject: int | None = None
    detail: dict[str, JsonValue] | None = None


async def tell(connection: AsyncConnection, conversation_id: ConversationId, tellings: Sequence[Telling]) -> None:
    """Write these events behind those there are, and announce the last when the transaction commits."""
    if not tellings:
        return
    counted = (
        update(conversations)
        .where(conversations.c.id == conversation_id)
        .values(last_event=conversations.c.last_event + len(tellings))
        .returning(conversations.c.last_event)
    )
    last: int = (await connection.execute(counted)).scalar_one()
    rows = [
        {"conversation_id": conversation_id, "number": number, **telling.model_dump()}
        for number, telling in enumerate(tellings, start=last - len(tellings) + 1)
    ]
    await connection.execute(insert(events), rows)
    await connection.execute(select(func.pg_notify(EVENTS_CHANNEL, f"{conversation_id} {last}")))


def announced(guard: CTE, mark: str = "") -> ColumnElement[object]:
    """For a statement that tells of an event itself: announces the `last_event` of the row that `guard` has updated."""
    return func.pg_notify(EVENTS_CHANNEL, guard.c.id + " " + cast(guard.c.last_event, Text) + mark)
