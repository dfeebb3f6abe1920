"""Pages of a transcript: its messages by their numbers, from either end."""

from typing import Any

from pydantic import PositiveInt
from sqlalchemy import select

from tertulia.core.base import Record
from tertulia.core.ids import ConversationId
from tertulia.core.paging import DEFAULT_PAGE, Order
from tertulia.core.records import Message
from tertulia.store.database import Database
from tertulia.store.tables import messages


class Span(Record):
    """Which messages: as `Page`, with the numbers of messages in place of ids."""

    before: int | None = None
    after: int | None = None
    limit: PositiveInt = DEFAULT_PAGE
    order: Order = "asc"


async def read_span(database: Database, conversation_id: ConversationId, span: Span) -> list[Message]:
    """The messages of that span, in its order."""
    seq, rising = messages.c.seq, span.order == "asc"
    columns: list[Any] = [messages.c[name] for name in Message.model_fields]
    query = select(*columns).where(messages.c.conversation_id == conversation_id)
    lowest, highest = (span.after, span.before) if rising else (span.before, span.after)
    if lowest is not None:
        query = query.where(seq > lowest)
    if highest is not None:
        query = query.where(seq < highest)
    nearest_to_before = span.before is not None and span.after is None
    rows = await database.rows(
        query.order_by(seq.asc() if rising != nearest_to_before else seq.desc()).limit(span.limit)
    )
    found = [Message.model_validate(dict(row._mapping)) for row in rows]
    return sorted(found, key=lambda message: message.seq, reverse=not rising)
