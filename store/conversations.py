"""The rows that conversations are: opened once, counted up by each turn, closed once."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from pydantic import JsonValue
from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert

from groups.errors import NotFound
from groups.group import GroupSettings, visible_from
from groups.ids import AgentId, ConversationId, GroupId
from groups.model import Record
from groups.roster import MemberRef
from store.database import Database
from store.tables import conversations, groups, members


class ConversationRow(Record):
    """What the database knows of a conversation."""

    conversation_id: ConversationId
    group_id: GroupId
    group: str
    last_seq: int
    last_turn: int
    stop_reason: str | None
    created_at: datetime
    closed_at: datetime | None
    final_status: dict[str, JsonValue] | None = None


async def open_conversation(
    database: Database,
    conversation_id: ConversationId,
    group_id: GroupId,
    roster: Sequence[MemberRef],
    settings: GroupSettings,
    standby: Collection[AgentId] = (),
) -> None:
    """Create the conversation and its members; done before, it changes nothing."""
    opened = insert(conversations).values(id=conversation_id, group_id=group_id).on_conflict_do_nothing()
    async with database.transaction() as connection:
        await connection.execute(opened)
        rows = [
            {
                "conversation_id": conversation_id,
                "agent_id": member.agent_id,
                "name": member.name,
                "state": "standby" if member.agent_id in standby else "active",
                "position": position,
                "visible_from": visible_from(settings.catch_up, 0),
                "cursor": 0,
            }
            for position, member in enumerate(roster)
        ]
        if rows:
            await connection.execute(insert(members).on_conflict_do_nothing(), rows)


async def close_conversation(
    database: Database, conversation_id: ConversationId, stop_reason: str, final_status: dict[str, JsonValue]
) -> int:
    """Let every member's cursor stand at the last message and write the end; return the last `seq`."""
    closed = (
        update(conversations)
        .where(conversations.c.id == conversation_id)
        .values(
            stop_reason=stop_reason,
            final_status=final_status,
            closed_at=func.coalesce(conversations.c.closed_at, func.now()),
        )
        .returning(conversations.c.last_seq)
    )
    async with database.transaction() as connection:
        last_seq: int = (await connection.execute(closed)).scalar_one()
        caught_up = members.c.conversation_id == conversation_id, members.c.state != "removed"
        await connection.execute(update(members).where(*caught_up).values(cursor=last_seq))
        return last_seq


_COLUMNS = (
    conversations.c.id.label("conversation_id"),
    conversations.c.group_id,
    groups.c.name.label("group"),
    conversations.c.last_seq,
    conversations.c.last_turn,
    conversations.c.stop_reason,
    conversations.c.created_at,
    conversations.c.closed_at,
)


async def find_conversation(database: Database, conversation_id: str) -> ConversationRow:
    """The conversation of that id, with its final status if it is closed.

    Raises:
        NotFound: there is none.
    """
    query = select(*_COLUMNS, conversations.c.final_status).join(groups, groups.c.id == conversations.c.group_id)
    row = await database.row(query.where(conversations.c.id == conversation_id))
    if row is None:
        raise NotFound(f"no such conversation: {conversation_id!r}; `tertulia list` shows those there are")
    return _conversation(row)


async def list_conversations(database: Database, limit: int) -> list[ConversationRow]:
    """The newest conversations, newest first."""
    query = select(*_COLUMNS).join(groups, groups.c.id == conversations.c.group_id)
    rows = await database.rows(query.order_by(conversations.c.created_at.desc()).limit(limit))
    return [_conversation(row) for row in rows]


def _conversation(row: Row[Any]) -> ConversationRow:
    return ConversationRow.model_validate(dict(row._mapping))
