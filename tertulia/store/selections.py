"""What the manager chose, so that choosing again after a crash asks no model."""

from typing import Literal

from pydantic import JsonValue
from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert

from tertulia.core.base import Record
from tertulia.core.ids import AgentId, ConversationId
from tertulia.store.database import Database
from tertulia.store.event_log import Telling, tell
from tertulia.store.tables import selections


class SelectionKey(Record):
    """Who chose for which turn. The round is part of it: a manager that finishes takes no turn."""

    conversation_id: ConversationId
    round: int
    turn: int
    manager_id: AgentId


class SelectionRecord(Record):
    """What is kept of one choice."""

    outcome: Literal["chosen", "finished", "failed"]
    agent_id: AgentId | None = None
    reason: str
    error: str | None = None
    """What failed before there was an answer."""
    fallback: int = 0
    """Which of the manager's models answered: 0 = its own."""
    attempts: int
    """How many answers the manager was asked for."""
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
    """The choice made there."""
    row = await database.row(_FIND, key.model_dump())
    return SelectionRecord.model_validate(dict(row._mapping)) if row else None


async def commit_selection(database: Database, key: SelectionKey, record: SelectionRecord) -> SelectionRecord:
    """Write the choice, or return the one that another attempt wrote before."""
    statement = insert(selections).values({**key.model_dump(), **record.model_dump()}).on_conflict_do_nothing()
    async with database.transaction() as connection:
        if (await connection.execute(statement.returning(selections.c.turn))).first() is not None:
            await tell(connection, key.conversation_id, _told(key, record))
            return record
    found = await find_selection(database, key)
    assert found is not None
    return found


def _told(key: SelectionKey, record: SelectionRecord) -> list[Telling]:
    """Only what failed: whom a manager chose is told when that one begins to speak."""
    if record.outcome != "failed":
        return []
    detail: dict[str, JsonValue] = {
        "turn": key.turn,
        "round": key.round,
        "manager_id": key.manager_id,
        "reason": record.reason,
    }
    return [Telling(kind="selection_failed", detail=detail)]
