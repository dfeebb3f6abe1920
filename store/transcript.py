"""The transcript: append-only messages, numbered by `seq` without gaps."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from groups.ids import ConversationId
from groups.model import Record
from groups.phases import PhaseChange
from groups.prompt import Utterance
from groups.records import Message as Message
from groups.state import Post
from groups.window import Window
from store.database import Database
from store.rounds import change_phase
from store.tables import conversations, messages
from store.telling import Telling, tell


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
        database: where.
        conversation_id: whose transcript it is.
        posts: the messages.
        round: the round that they belong to.
        begins: set if the round begins with them.
    """
    async with database.transaction() as connection:
        found = select(conversations.c.last_seq, conversations.c.chars).where(conversations.c.id == conversation_id)
        row = (await connection.execute(found.with_for_update())).one()
        if begins:
            await change_phase(connection, conversation_id, begins)
        new = await _unrecorded(connection, conversation_id, posts)
        if not new:
            return int(row.last_seq)
        chars = row.chars
        lines: list[dict[str, Any]] = []
        for seq, post in enumerate(new, start=row.last_seq + 1):
            lines.append(
                {
                    "conversation_id": conversation_id,
                    "seq": seq,
                    "round": round,
                    "role": "user",
                    "sender": post.sender,
                    "text": post.text,
                    "chars_before": chars,
                    "message_id": post.message_id,
                }
            )
            chars += len(post.text)
        await connection.execute(insert(messages), lines)
        last_seq = int(row.last_seq) + len(new)
        counted = update(conversations).where(conversations.c.id == conversation_id)
        await connection.execute(counted.values(last_seq=last_seq, chars=chars))
        await tell(connection, conversation_id, [Telling(kind="message", subject=line["seq"]) for line in lines])
        return last_seq


async def _unrecorded(
    connection: AsyncConnection, conversation_id: ConversationId, posts: Sequence[Post]
) -> list[Post]:
    query = select(messages.c.message_id).where(
        messages.c.conversation_id == conversation_id, messages.c.message_id.in_([post.message_id for post in posts])
    )
    recorded = set(await connection.scalars(query))
    first = {post.message_id: post for post in reversed(posts) if post.message_id not in recorded}
    return list(reversed(first.values()))


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
    database: Database, conversation_id: ConversationId, window: Window, last_seq: int
) -> list[Utterance]:
    """What a prompt shows of the transcript up to `last_seq`."""
    parameters = {
        "conversation_id": conversation_id,
        "after_seq": window.after_seq,
        "after_chars": window.after_chars,
        "last_seq": last_seq,
    }
    rows = await database.rows(_HEARD, parameters)
    return [Utterance(sender_id=row.sender_id, sender=row.sender, text=row.text) for row in rows]


async def read_messages(
    database: Database, conversation_id: str, *, after_seq: int = 0, limit: int = 1_000
) -> list[Message]:
    """The messages after `after_seq`, oldest first."""
    columns: list[Any] = [messages.c[name] for name in Message.model_fields]
    query = select(*columns).where(messages.c.conversation_id == conversation_id, messages.c.seq > after_seq)
    rows = await database.rows(query.order_by(messages.c.seq).limit(limit))
    return [Message.model_validate(dict(row._mapping)) for row in rows]


async def text_of(database: Database, conversation_id: str, seq: int) -> str:
    """What message `seq` says; empty if there is no such message."""
    query = select(messages.c.text).where(messages.c.conversation_id == conversation_id, messages.c.seq == seq)
    row = await database.row(query)
    return str(row.text) if row else ""


class PostedMessage(Record):
    """Where a message from outside stands."""

    seq: int
    round: int | None


_POSTED = select(messages.c.seq, messages.c.round).where(
    messages.c.conversation_id == bindparam("conversation_id"), messages.c.message_id == bindparam("message_id")
)


async def find_posted(database: Database, conversation_id: str, message_id: str) -> PostedMessage | None:
    """Where the message of that id stands, once it is in the transcript."""
    row = await database.row(_POSTED, {"conversation_id": conversation_id, "message_id": message_id})
    return PostedMessage(seq=row.seq, round=row.round) if row else None
