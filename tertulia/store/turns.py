"""Turns: read the context of a model call, and commit the result once.

Invariant: a turn's message, record, cursor and counters are written by one statement, guarded by the conversation's
row.
A second commit of the same turn writes nothing and returns the first.
"""

from typing import Any

from pydantic import JsonValue
from sqlalchemy import bindparam, func, literal, select, update
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert

from tertulia.core.agents import Agent
from tertulia.core.base import Record, wire_names
from tertulia.core.ids import AgentId, ConversationId
from tertulia.core.prompt import GroupContext
from tertulia.core.records import FinishedTurn, TurnRecord
from tertulia.core.usage import Usage
from tertulia.store.agents import AGENT_COLUMNS, agent_of
from tertulia.store.block_attachments import GROUP, TEXT_FIELDS, blocks_of
from tertulia.store.database import Database
from tertulia.store.event_log import TURN_START_EVENTS, TURN_START_ROW, notify_column
from tertulia.store.tables import agents, conversations, events, groups, members, messages, turns


class TurnContext(Record):
    """The context of a model call, without the transcript: the agent, the group, and the position of the transcript."""

    agent: Agent
    group_context: GroupContext
    visible_from: int
    last_seq: int
    last_turn: int
    chars: int
    watched: bool = False
    """True if a client reads the text while the model produces it."""


class OutOfStep(Exception):
    """The transcript is not where the workflow expects it. Continuing would lose or repeat messages."""


_present_members = (
    select(
        func.json_agg(
            aggregate_order_by(
                func.json_build_object(
                    "name", members.c.name, "description", agents.c.description, "tags", agents.c.tags
                ),
                members.c.position,
            )
        )
    )
    .select_from(members.join(agents, agents.c.id == members.c.agent_id))
    .where(members.c.conversation_id == conversations.c.id, members.c.state != "removed")
    .scalar_subquery()
)

_CONTEXT = (
    select(
        *AGENT_COLUMNS,
        groups.c.name.label("group_name"),
        groups.c.description.label("group_description"),
        blocks_of(GROUP, TEXT_FIELDS).label("shared_memory"),
        func.coalesce(members.c.visible_from, 0).label("visible_from"),
        conversations.c.last_seq,
        conversations.c.last_turn,
        conversations.c.chars,
        func.coalesce(conversations.c.watched_until > func.now(), False).label("watched"),
        _present_members.label("present"),
    )
    .select_from(
        conversations.join(groups, groups.c.id == conversations.c.group_id)
        .join(agents, agents.c.id == bindparam("agent_id"))
        .outerjoin(members, (members.c.conversation_id == conversations.c.id) & (members.c.agent_id == agents.c.id))
    )
    .where(conversations.c.id == bindparam("conversation_id"))
)


async def read_turn_context(
    database: Database, conversation_id: ConversationId, agent_id: AgentId
) -> TurnContext | None:
    """Return the context of a turn of `agent_id`, as speaker or manager; None if the agent or row is missing."""
    row = await database.row(_CONTEXT, {"conversation_id": conversation_id, "agent_id": agent_id})
    if row is None:
        return None
    group_context = GroupContext(
        group_name=row.group_name,
        description=row.group_description,
        members=row.present or (),
        shared_memory=row.shared_memory,
    )
    return TurnContext(
        agent=agent_of(row),
        group_context=group_context,
        visible_from=row.visible_from,
        last_seq=row.last_seq,
        last_turn=row.last_turn,
        chars=row.chars,
        watched=row.watched,
    )


_RECORD_COLUMNS = wire_names(TurnRecord)


def _commit_statement() -> Any:
    """The guard counts the conversation up by one turn if it is at the turn before; everything else depends on the
    guard.

    A parameter named like a column of an updated table would be written into it: hence `of_conversation`.
    """
    own = conversations.c.id == bindparam("of_conversation")
    in_step = (conversations.c.last_turn == bindparam("turn") - 1) & conversations.c.closed_at.is_(None)
    guard = (
        update(conversations)
        .where(own, in_step, conversations.c.last_seq == bindparam("seq_before"))
        .values(
            last_turn=bindparam("turn"),
            last_seq=bindparam("seq"),
            last_event=conversations.c.last_event + 1,
            chars=conversations.c.chars + func.coalesce(func.char_length(bindparam("text")), 0),
        )
        .returning(conversations.c.id, conversations.c.chars, conversations.c.last_event)
        .cte("guard")
    )
    recorded = insert(turns).from_select(
        ["conversation_id", *_RECORD_COLUMNS],
        select(guard.c.id, *(bindparam(name, type_=turns.c[name].type) for name in _RECORD_COLUMNS)),
    )
    text = bindparam("text", type_=messages.c.text.type)
    inserted_message = insert(messages).from_select(
        ["conversation_id", "seq", "turn", "round", "role", "sender_id", "sender", "text", "chars_before"],
        select(
            guard.c.id,
            bindparam("seq", type_=messages.c.seq.type),
            bindparam("turn", type_=messages.c.turn.type),
            bindparam("round", type_=messages.c.round.type),
            literal("assistant"),
            bindparam("speaker_id", type_=messages.c.sender_id.type),
            bindparam("speaker", type_=messages.c.sender.type),
            text,
            guard.c.chars - func.char_length(text),
        ).where(text.is_not(None)),
    )
    seen = (
        update(members)
        .where(members.c.conversation_id == guard.c.id, members.c.agent_id == bindparam("speaker_id"))
        .values(cursor=bindparam("seq"))
    )
    appended = insert(events).from_select(
        ["conversation_id", "number", "kind", "subject"],
        select(
            guard.c.id,
            guard.c.last_event,
            bindparam("event_kind", type_=events.c.kind.type),
            bindparam("event_subject", type_=events.c.subject.type),
        ),
    )
    additions = [
        recorded.cte("recorded"),
        inserted_message.cte("inserted_message"),
        seen.cte("seen"),
        appended.cte("appended"),
    ]
    return select(notify_column(guard)).add_cte(*additions)


_COMMIT = _commit_statement()


def _begin_statement() -> Any:
    """Guarded so that each turn starts once. The inserted row stands for two events."""
    guard = (
        update(conversations)
        .where(
            conversations.c.id == bindparam("of_conversation"), conversations.c.started_turn < bindparam("this_turn")
        )
        .values(started_turn=bindparam("this_turn"), last_event=conversations.c.last_event + len(TURN_START_EVENTS))
        .returning(conversations.c.id, conversations.c.last_event)
        .cte("guard")
    )
    appended = insert(events).from_select(
        ["conversation_id", "number", "kind", "subject", "detail"],
        select(
            guard.c.id,
            guard.c.last_event,
            literal(TURN_START_ROW),
            bindparam("this_turn", type_=events.c.subject.type),
            bindparam("start_detail", type_=events.c.detail.type),
        ),
    )
    return select(notify_column(guard)).add_cte(appended.cte("appended"))


_BEGIN = _begin_statement()


async def record_turn_start(
    database: Database, conversation_id: ConversationId, turn: int, *, start_detail: dict[str, JsonValue]
) -> None:
    """Emit the events of the selection and the start of a turn. Idempotent."""
    await database.rows(_BEGIN, {"of_conversation": conversation_id, "this_turn": turn, "start_detail": start_detail})


async def commit_turn(
    database: Database, conversation_id: ConversationId, record: TurnRecord, *, seq_before: int, text: str | None
) -> FinishedTurn | None:
    """Store the turn; return the committed turn if another attempt stored it before, else None.

    Args:
        database: the database.
        conversation_id: the conversation.
        record: the turn.
        seq_before: the last message of the transcript when the turn started.
        text: the message; None if nothing enters the transcript.

    Raises:
        OutOfStep: the transcript is not at `seq_before`, and the turn is not stored.
    """
    parameters = {
        **record.model_dump(),
        "of_conversation": conversation_id,
        "seq_before": seq_before,
        "text": text,
        "event_kind": "message" if record.outcome == "spoke" else f"turn_{record.outcome}",
        "event_subject": record.seq if record.outcome == "spoke" else record.turn,
    }
    if await database.row(_COMMIT, parameters) is not None:
        return None
    earlier = await find_turn(database, conversation_id, record.turn)
    if earlier is None:
        raise OutOfStep(f"turn {record.turn} of {conversation_id!r} cannot follow message {seq_before}")
    return earlier


_TURN = select(*(turns.c[name] for name in wire_names(FinishedTurn))).where(
    turns.c.conversation_id == bindparam("conversation_id"), turns.c.turn == bindparam("turn")
)


async def find_turn(database: Database, conversation_id: ConversationId, turn: int) -> FinishedTurn | None:
    """Return the committed turn with this number, if any."""
    row = await database.row(_TURN, {"conversation_id": conversation_id, "turn": turn})
    return FinishedTurn.model_validate(dict(row._mapping)) if row else None


async def charge_turn(database: Database, conversation_id: ConversationId, turn: int, usage: Usage) -> None:
    """Add the usage of a removed speaker's model call to its turn, which was stored without it. Idempotent."""
    uncharged = turns.c.outcome.in_(("discarded", "cancelled")) & (turns.c.model_calls == 0)
    statement = update(turns).where(turns.c.conversation_id == conversation_id, turns.c.turn == turn, uncharged)
    await database.rows(statement.values(**usage.model_dump()))


async def read_turns(
    database: Database, conversation_id: str, *, after_turn: int = 0, limit: int = 1_000
) -> list[FinishedTurn]:
    """Return up to `limit` turns after `after_turn`, the oldest first."""
    columns = (turns.c[name] for name in wire_names(FinishedTurn))
    query = select(*columns).where(turns.c.conversation_id == conversation_id, turns.c.turn > after_turn)
    rows = await database.rows(query.order_by(turns.c.turn).limit(limit))
    return [FinishedTurn.model_validate(dict(row._mapping)) for row in rows]
