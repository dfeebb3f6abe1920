"""Finished rounds, and the phases of conversations, each stored once with its event.

Invariant: changes of a conversation's phase are numbered. A change that was made is not made again, however late.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import and_, bindparam, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from tertulia.core.base import Record
from tertulia.core.errors import NotFound
from tertulia.core.ids import ConversationId
from tertulia.core.phases import PhaseChange
from tertulia.core.usage import Usage
from tertulia.store.database import Database
from tertulia.store.event_log import PHASE_MARK, notify_column
from tertulia.store.tables import conversations, events, messages, rounds


class RoundRecord(Record):
    """A round to store."""

    round: int
    turns: int
    seq: int
    """The last message of the transcript after the round."""
    stop_reason: str
    explanation: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    model_calls: int = 0
    started_at: datetime


class FinishedRound(RoundRecord):
    """A stored round."""

    ended_at: datetime

    @property
    def usage(self) -> Usage:
        """The usage of the round."""
        return Usage(
            prompt_tokens=self.prompt_tokens, completion_tokens=self.completion_tokens, model_calls=self.model_calls
        )


def _phase_statement(*, closes_round: bool = False) -> Any:
    """Statement guarded by the number of the phase change, so that each change is made once.

    A parameter named like a column of an updated table would be written into it: hence `of_conversation`.
    """
    new_values = {"phase": bindparam("to_phase"), "phase_number": bindparam("change"), "last_event": _NEXT_EVENT}
    if closes_round:
        new_values["stop_reason"] = bindparam("why")
    guard = (
        update(conversations)
        .where(conversations.c.id == bindparam("of_conversation"), conversations.c.phase_number < bindparam("change"))
        .values(new_values)
        .returning(conversations.c.id, conversations.c.last_event)
        .cte("guard")
    )
    detail = bindparam("phase_detail", type_=events.c.detail.type)
    appended = insert(events).from_select(
        ["conversation_id", "number", "kind", "detail"],
        select(guard.c.id, guard.c.last_event, literal("phase"), detail),
    )
    kept = insert(rounds).from_select(
        ["conversation_id", *RoundRecord.model_fields],
        select(
            guard.c.id, *(bindparam(f"round_{name}", type_=rounds.c[name].type) for name in RoundRecord.model_fields)
        ),
    )
    additions = [appended.cte("appended"), *([kept.cte("kept")] if closes_round else [])]
    return select(notify_column(guard, PHASE_MARK)).add_cte(*additions)


_NEXT_EVENT = conversations.c.last_event + 1
_CHANGE_PHASE = _phase_statement()
_CLOSE_ROUND = _phase_statement(closes_round=True)


def _change(conversation_id: ConversationId, change: PhaseChange) -> dict[str, Any]:
    return {
        "of_conversation": conversation_id,
        "change": change.number,
        "to_phase": change.phase,
        "phase_detail": change.event_data(),
    }


async def change_phase(connection: AsyncConnection, conversation_id: ConversationId, change: PhaseChange) -> None:
    """Store the phase and emit its event. Idempotent."""
    await connection.execute(_CHANGE_PHASE, _change(conversation_id, change))


async def announce_phase(database: Database, conversation_id: ConversationId, change: PhaseChange) -> None:
    """Store the phase and emit its event, in a transaction of its own. See `change_phase`."""
    await database.rows(_CHANGE_PHASE, _change(conversation_id, change))


async def close_round(
    database: Database, conversation_id: ConversationId, record: RoundRecord, change: PhaseChange
) -> None:
    """Store a round and the phase that follows it. Idempotent."""
    kept = {f"round_{name}": value for name, value in record.model_dump().items()}
    await database.rows(_CLOSE_ROUND, {**_change(conversation_id, change), "why": record.stop_reason, **kept})


_COLUMNS = tuple(rounds.c[name] for name in FinishedRound.model_fields)


class MessageOutcome(Record):
    """The consequences of a message from outside."""

    finished: FinishedRound | None
    """Its round, if that has ended."""
    phase: str
    """The conversation's phase; `stop_reason` is the conversation's too."""
    stop_reason: str | None


_OUTCOME = (
    select(conversations.c.phase, conversations.c.closed_at, conversations.c.stop_reason.label("closing"), *_COLUMNS)
    .select_from(
        conversations.outerjoin(
            messages,
            and_(messages.c.conversation_id == conversations.c.id, messages.c.message_id == bindparam("message_id")),
        ).outerjoin(rounds, and_(rounds.c.conversation_id == conversations.c.id, rounds.c.round == messages.c.round))
    )
    .where(conversations.c.id == bindparam("conversation_id"))
)


async def read_message_outcome(database: Database, conversation_id: ConversationId, message_id: str) -> MessageOutcome:
    """Return what the message with this id has led to. One statement, because it runs on each phase event.

    Raises:
        NotFound: no such conversation.
    """
    row = await database.row(_OUTCOME, {"conversation_id": conversation_id, "message_id": message_id})
    if row is None:
        raise NotFound(f"no such conversation: {conversation_id!r}")
    finished = FinishedRound.model_validate(dict(row._mapping)) if row.round is not None else None
    return MessageOutcome(finished=finished, phase="closed" if row.closed_at else row.phase, stop_reason=row.closing)
