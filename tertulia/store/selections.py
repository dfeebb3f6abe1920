"""Selections of managers, stored so that a retried selection calls no model."""

from typing import Literal

from pydantic import JsonValue
from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert

from tertulia.core.base import Record
from tertulia.core.ids import AgentId, ConversationId
from tertulia.store.database import Database
from tertulia.store.event_log import NewEvent, append_events
from tertulia.store.tables import selections


class SelectionKey(Record):
    """A manager's selection for one turn. The round is part of the key: a manager that finishes takes no turn."""

    conversation_id: ConversationId
    round: int
    turn: int
    manager_id: AgentId


class SelectionRecord(Record):
    """A stored selection."""

    outcome: Literal["chosen", "finished", "failed"]
    agent_id: AgentId | None = None
    reason: str
    error: str | None = None
    """The failure before there was an answer."""
    fallback: int = 0
    """Index of the manager's model that answered: 0 = its own."""
    attempts: int
    """Number of answers that were requested of the manager."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    model_calls: int = 0


_FIND = select(*(selections.c[name] for name in SelectionRecord.model_fields)).where(
    selections.c.conversation_id == bindparam("conversation_id"),
    selections.c.round == bindparam("round"),
    selections.c.turn == bindparam("turn"),
    selections.c.manager_id == bindparam("manager_id"),
)


async def find_selection(database: Database, key: SelectionKey) -> SelectionRecord | None:
    """Return the stored selection, if any."""
    row = await database.row(_FIND, key.model_dump())
    return SelectionRecord.model_validate(dict(row._mapping)) if row else None


async def commit_selection(database: Database, key: SelectionKey, record: SelectionRecord) -> SelectionRecord:
    """Store the selection, or return the one that another attempt stored before."""
    statement = insert(selections).values({**key.model_dump(), **record.model_dump()}).on_conflict_do_nothing()
    async with database.transaction() as connection:
        if (await connection.execute(statement.returning(selections.c.turn))).first() is not None:
            await append_events(connection, key.conversation_id, _told(key, record))
            return record
    found = await find_selection(database, key)
    assert found is not None
    return found


def _told(key: SelectionKey, record: SelectionRecord) -> list[NewEvent]:
    """Events of a failed selection. A successful one is reported when its speaker's turn starts."""
    if record.outcome != "failed":
        return []
    detail: dict[str, JsonValue] = {
        "turn": key.turn,
        "round": key.round,
        "manager_id": key.manager_id,
        "reason": record.reason,
    }
    return [NewEvent(kind="selection_failed", detail=detail)]
