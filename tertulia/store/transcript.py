"""The transcript: append-only messages, numbered by `seq` without gaps."""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import PositiveInt
from sqlalchemy import bindparam, or_, select, text
from sqlalchemy.exc import IntegrityError

from tertulia.core.base import Record
from tertulia.core.context_window import ContextWindow
from tertulia.core.errors import NotFound
from tertulia.core.ids import ConversationId
from tertulia.core.paging import DEFAULT_PAGE, Order
from tertulia.core.phases import PhaseChange
from tertulia.core.prompt import TranscriptMessage
from tertulia.core.records import Message
from tertulia.core.state import Post
from tertulia.store.database import Database
from tertulia.store.event_log import EVENTS_CHANNEL, PHASE_MARK
from tertulia.store.tables import conversations, messages

_RECORD = text(
    """
    with new as (
        select sender, text, message_id, row_number() over (order by place) as place,
               sum(char_length(text)) over (order by place) - char_length(text) as chars_before
        from unnest(cast(:senders as text[]), cast(:texts as text[]), cast(:message_ids as text[]))
             with ordinality as post (sender, text, message_id, place)
        where not exists (
            select from messages where conversation_id = :conversation_id and messages.message_id = post.message_id
        )
    ),
    all_new as (select count(*) as count, coalesce(sum(char_length(text)), 0) as chars from new),
    guard as (
        update conversations
        set last_seq = last_seq + all_new.count,
            chars = conversations.chars + all_new.chars,
            last_event = last_event + all_new.count + cast(:begins as int),
            phase = coalesce(cast(:phase as text), phase),
            phase_number = coalesce(cast(:change as int), phase_number)
        from all_new
        where id = :conversation_id and (cast(:change as int) is null or phase_number < cast(:change as int))
        returning id, last_event, last_seq, last_event - all_new.count as events_before,
                  last_seq - all_new.count as seq_before, conversations.chars - all_new.chars as chars_before
    ),
    recorded as (
        insert into messages (conversation_id, seq, round, role, sender, text, chars_before, message_id)
        select id, seq_before + place, cast(:round as int), 'user', sender, text, guard.chars_before + new.chars_before,
               message_id
        from guard, new
    ),
    appended as (
        insert into events (conversation_id, number, kind, subject, detail)
        select id, events_before, 'phase', null, cast(:phase_detail as jsonb) from guard where cast(:begins as int) = 1
        union all
        select id, events_before + place, 'message', seq_before + place, null from guard, new
    )
    select last_seq, pg_notify(:channel, id || ' ' || last_event || cast(:mark as text)) from guard
    """
)
"""Guarded so that a round starts once. Messages that are stored already are skipped."""


async def record_posts(
    database: Database,
    conversation_id: ConversationId,
    posts: Sequence[Post],
    *,
    round: int | None = None,
    begins: PhaseChange | None = None,
) -> int:
    """Append messages from outside in this order, each once; return the transcript's last `seq`.

    Args:
        database: the database.
        conversation_id: the conversation.
        posts: the messages.
        round: the round that they belong to.
        begins: the phase change, if the round starts with them.
    """
    first: dict[str, Post] = {}
    for post in posts:
        first.setdefault(post.message_id, post)
    parameters = {
        "conversation_id": conversation_id,
        "senders": [post.sender for post in first.values()],
        "texts": [post.text for post in first.values()],
        "message_ids": list(first),
        "round": round,
        "begins": 1 if begins else 0,
        "change": begins.number if begins else None,
        "phase": begins.phase if begins else None,
        "phase_detail": json.dumps(begins.event_data()) if begins else None,
        "channel": EVENTS_CHANNEL,
        "mark": PHASE_MARK if begins else "",
    }
    try:
        row = await database.row(_RECORD, parameters)
    except IntegrityError:
        # Another attempt wrote the same at the same moment: a further look sees it.
        row = await database.row(_RECORD, parameters)
    if row is None:
        row = await database.row(_LAST_SEQ, {"conversation_id": conversation_id})
    if row is None:
        raise NotFound(f"no such conversation: {conversation_id!r}")
    return int(row.last_seq)


_LAST_SEQ = select(conversations.c.last_seq).where(conversations.c.id == bindparam("conversation_id"))


_HEARD = (
    select(messages.c.sender_id, messages.c.sender, messages.c.text)
    .where(
        messages.c.conversation_id == bindparam("conversation_id"),
        messages.c.seq > bindparam("after_seq"),
        messages.c.seq <= bindparam("last_seq"),
        or_(messages.c.chars_before >= bindparam("after_chars"), messages.c.seq == bindparam("last_seq")),
    )
    .order_by(messages.c.seq)
)


async def read_window(
    database: Database, conversation_id: ConversationId, window: ContextWindow, last_seq: int
) -> list[TranscriptMessage]:
    """Return the messages that a prompt contains, up to `last_seq`."""
    parameters = {
        "conversation_id": conversation_id,
        "after_seq": window.after_seq,
        "after_chars": window.after_chars,
        "last_seq": last_seq,
    }
    rows = await database.rows(_HEARD, parameters)
    return [TranscriptMessage(sender_id=row.sender_id, sender=row.sender, text=row.text) for row in rows]


async def read_messages(
    database: Database, conversation_id: str, *, after_seq: int = 0, limit: int = 1_000
) -> list[Message]:
    """Return up to `limit` messages after `after_seq`, the oldest first."""
    columns: list[Any] = [messages.c[name] for name in Message.model_fields]
    query = select(*columns).where(messages.c.conversation_id == conversation_id, messages.c.seq > after_seq)
    rows = await database.rows(query.order_by(messages.c.seq).limit(limit))
    return [Message.model_validate(dict(row._mapping)) for row in rows]


async def text_of(database: Database, conversation_id: str, seq: int) -> str:
    """Return the text of message `seq`; empty if there is none."""
    query = select(messages.c.text).where(messages.c.conversation_id == conversation_id, messages.c.seq == seq)
    row = await database.row(query)
    return str(row.text) if row else ""


class PostedMessage(Record):
    """Place of a message from outside."""

    seq: int
    round: int | None


_POSTED = select(messages.c.seq, messages.c.round).where(
    messages.c.conversation_id == bindparam("conversation_id"), messages.c.message_id == bindparam("message_id")
)


async def find_posted(database: Database, conversation_id: str, message_id: str) -> PostedMessage | None:
    """Return the place of the message with this id, once it is in the transcript."""
    row = await database.row(_POSTED, {"conversation_id": conversation_id, "message_id": message_id})
    return PostedMessage(seq=row.seq, round=row.round) if row else None


class TranscriptPage(Record):
    """Which messages: as `Page`, with message numbers in place of ids."""

    before: int | None = None
    after: int | None = None
    limit: PositiveInt = DEFAULT_PAGE
    order: Order = "asc"


async def read_transcript_page(
    database: Database, conversation_id: ConversationId, page: TranscriptPage
) -> list[Message]:
    """Return the messages of one page."""
    seq, rising = messages.c.seq, page.order == "asc"
    columns: list[Any] = [messages.c[name] for name in Message.model_fields]
    query = select(*columns).where(messages.c.conversation_id == conversation_id)
    lowest, highest = (page.after, page.before) if rising else (page.before, page.after)
    if lowest is not None:
        query = query.where(seq > lowest)
    if highest is not None:
        query = query.where(seq < highest)
    nearest_to_before = page.before is not None and page.after is None
    rows = await database.rows(
        query.order_by(seq.asc() if rising != nearest_to_before else seq.desc()).limit(page.limit)
    )
    found = [Message.model_validate(dict(row._mapping)) for row in rows]
    return sorted(found, key=lambda message: message.seq, reverse=not rising)
