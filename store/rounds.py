"""Rounds, once they have ended, and the phases that a conversation goes through: each written once, and told.

Law: the changes of a conversation's phase are counted. One that was made already is not made again, however late.
"""

from datetime import datetime

from sqlalchemy import and_, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from groups.errors import NotFound
from groups.ids import ConversationId
from groups.model import Record
from groups.phases import PhaseChange
from groups.usage import Usage
from store.database import Database
from store.tables import conversations, messages, rounds
from store.telling import Telling, tell


class RoundRecord(Record):
    """What is kept of a round."""

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
    """A round as it was read back."""

    ended_at: datetime

    @property
    def usage(self) -> Usage:
        """What the round has cost."""
        return Usage(
            prompt_tokens=self.prompt_tokens, completion_tokens=self.completion_tokens, model_calls=self.model_calls
        )


async def change_phase(connection: AsyncConnection, conversation_id: ConversationId, change: PhaseChange) -> bool:
    """Write the phase and tell of it; whether that was still to be done."""
    changed = (
        update(conversations)
        .where(conversations.c.id == conversation_id, conversations.c.phase_number < change.number)
        .values(phase=change.phase, phase_number=change.number)
        .returning(conversations.c.id)
    )
    if (await connection.execute(changed)).first() is None:
        return False
    await tell(connection, conversation_id, [Telling(kind="phase", detail=change.model_dump(exclude={"number"}))])
    return True


async def announce_phase(database: Database, conversation_id: ConversationId, change: PhaseChange) -> None:
    """As `change_phase`, in a transaction of its own."""
    async with database.transaction() as connection:
        await change_phase(connection, conversation_id, change)


async def close_round(
    database: Database, conversation_id: ConversationId, record: RoundRecord, change: PhaseChange
) -> None:
    """Keep what came of a round; done before, it changes nothing."""
    async with database.transaction() as connection:
        values = {"conversation_id": conversation_id, **record.model_dump()}
        await connection.execute(insert(rounds).values(values).on_conflict_do_nothing())
        if await change_phase(connection, conversation_id, change):
            own = update(conversations).where(conversations.c.id == conversation_id)
            await connection.execute(own.values(stop_reason=record.stop_reason))


_COLUMNS = tuple(rounds.c[name] for name in FinishedRound.model_fields)


class Outcome(Record):
    """What has come of a message from outside."""

    finished: FinishedRound | None
    """Its round, if that has ended."""
    phase: str
    """The conversation's; `stop_reason` is its own as well."""
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


async def outcome_of(database: Database, conversation_id: ConversationId, message_id: str) -> Outcome:
    """What has come of the message of that id; one statement, for it is asked at each event of the conversation.

    Raises:
        NotFound: there is no such conversation.
    """
    row = await database.row(_OUTCOME, {"conversation_id": conversation_id, "message_id": message_id})
    if row is None:
        raise NotFound(f"no such conversation: {conversation_id!r}")
    finished = FinishedRound.model_validate(dict(row._mapping)) if row.round is not None else None
    return Outcome(finished=finished, phase="closed" if row.closed_at else row.phase, stop_reason=row.closing)
