"""Forks: conversations that share the first turns of another one. Their messages, turns and rounds are copied once."""

from typing import Any

from sqlalchemy import Table, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tertulia.core.errors import InvalidDefinition
from tertulia.core.events import ForkOrigin
from tertulia.core.ids import AgentId, ConversationId
from tertulia.core.state import Fork
from tertulia.core.usage import Usage
from tertulia.store.database import Database
from tertulia.store.tables import conversations, events, messages, rounds, selections, turns
from tertulia.store.turns import find_turn


async def find_fork_point(
    database: Database, source: ConversationId, turn: int | None, agent_ids: tuple[AgentId, ...]
) -> Fork:
    """Return where a fork starts: after `turn`, or after the last turn.

    Raises:
        InvalidDefinition: the conversation has not taken that many turns.
    """
    if turn is None:
        row = await database.row(select(conversations.c.last_turn).where(conversations.c.id == source))
        turn = int(row.last_turn) if row else 0
    if turn == 0:
        return Fork(source=source, turn=0, seq=0, agent_ids=agent_ids)
    found = await find_turn(database, source, turn)
    if found is None:
        raise InvalidDefinition(f"turn: the conversation {source!r} has not taken a turn {turn}")
    return Fork(source=source, turn=turn, seq=found.seq, agent_ids=agent_ids)


async def copy_shared_part(connection: AsyncConnection, conversation_id: ConversationId, fork: Fork) -> None:
    """Copy what the new conversation shares with its source."""
    shared = {
        messages: messages.c.seq <= fork.seq,
        turns: turns.c.turn <= fork.turn,
        selections: selections.c.turn <= fork.turn,
        rounds: rounds.c.seq <= fork.seq,
    }
    for table, condition in shared.items():
        await _copy(connection, table, conversation_id, (table.c.conversation_id == fork.source) & condition)
    message_events = select(
        literal(conversation_id), messages.c.seq, literal("message"), messages.c.seq, messages.c.created_at
    )
    own = messages.c.conversation_id == conversation_id
    columns = ["conversation_id", "number", "kind", "subject", "created_at"]
    await connection.execute(insert(events).from_select(columns, message_events.where(own)))
    chars = select(func.coalesce(func.sum(func.char_length(messages.c.text)), 0)).where(own).scalar_subquery()
    new_values = {
        "last_seq": fork.seq,
        "last_turn": fork.turn,
        "started_turn": fork.turn,
        "last_event": fork.seq,
        "chars": chars,
    }
    await connection.execute(update(conversations).where(conversations.c.id == conversation_id).values(new_values))


async def _copy(connection: AsyncConnection, table: Table, conversation_id: ConversationId, condition: Any) -> None:
    # The ids of the posters' messages stay behind: they are free for messages to the new conversation.
    columns = [column.name for column in table.columns if column.name != "message_id"]
    values = [literal(conversation_id) if name == "conversation_id" else table.c[name] for name in columns]
    await connection.execute(insert(table).from_select(columns, select(*values).where(condition)))


async def read_fork_origin(database: Database, conversation_id: ConversationId) -> ForkOrigin:
    """Return the counters and the usage of the copied part."""
    own = turns.c.conversation_id == conversation_id
    chosen = selections.c.conversation_id == conversation_id
    row = await database.row(
        select(
            conversations.c.last_turn,
            conversations.c.last_seq,
            select(func.coalesce(func.max(turns.c.round), 0)).where(own).scalar_subquery().label("rounds"),
            *(_sum(turns, name, own).label(f"{name}_of_turns") for name in Usage.model_fields),
            *(_sum(selections, name, chosen).label(f"{name}_of_choices") for name in Usage.model_fields),
        ).where(conversations.c.id == conversation_id)
    )
    assert row is not None
    spent = {name: row._mapping[f"{name}_of_turns"] + row._mapping[f"{name}_of_choices"] for name in Usage.model_fields}
    return ForkOrigin(last_turn=row.last_turn, last_seq=row.last_seq, rounds=row.rounds, usage=Usage(**spent))


def _sum(table: Table, name: str, condition: Any) -> Any:
    return select(func.coalesce(func.sum(table.c[name]), 0)).where(condition).scalar_subquery()
