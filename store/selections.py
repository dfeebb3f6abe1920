"""What the manager chose, so that choosing again after a crash asks no model."""

from typing import Literal

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert

from groups.ids import AgentId, ConversationId
from groups.model import Record
from store.database import Database
from store.tables import selections


class SelectionRecord(Record):
    """What is kept of one choice."""

    outcome: Literal["chosen", "finished", "failed"]
    agent_id: AgentId | None = None
    reason: str
    attempts: int
    """How many answers the manager was asked for."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    model_calls: int = 0


_FIND = select(*(selections.c[name] for name in SelectionRecord.model_fields)).where(
    selections.c.conversation_id == bindparam("conversation_id"),
    selections.c.round == bindparam("round"),
    selections.c.turn == bindparam("turn"),
)


async def find_selection(
    database: Database, conversation_id: ConversationId, round_number: int, turn: int
) -> SelectionRecord | None:
    """The choice made for that turn in that round."""
    keys = {"conversation_id": conversation_id, "round": round_number, "turn": turn}
    row = await database.row(_FIND, keys)
    return SelectionRecord.model_validate(dict(row._mapping)) if row else None


async def commit_selection(
    database: Database, conversation_id: ConversationId, round_number: int, turn: int, record: SelectionRecord
) -> SelectionRecord:
    """Write the choice, or return the one that another attempt wrote before."""
    keys = {"conversation_id": conversation_id, "round": round_number, "turn": turn}
    statement = insert(selections).values({**keys, **record.model_dump()}).on_conflict_do_nothing()
    if await database.row(statement.returning(selections.c.turn)) is not None:
        return record
    found = await find_selection(database, conversation_id, round_number, turn)
    assert found is not None
    return found
