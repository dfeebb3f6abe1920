"""The source of `tertulia watch`: what the database has anew, and about once a second what the workflow says of itself.

Nothing here ends a watch: a worker, a server or a database that does not answer is told of, and waited for.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, TypeAlias

from sqlalchemy.exc import DBAPIError

from groups.errors import NotFound, Unavailable
from groups.status import ConversationStatus
from starter.timeline import Backlog, Happening, pass_on
from store.database import Database
from store.membership import last_epoch_at, read_changes
from store.transcript import read_messages
from store.turns import last_turn_at, read_turns

if TYPE_CHECKING:
    from starter.client import Tertulia

POLL_SECONDS = 0.2
_STATUS_SECONDS = 1.0
_CHOOSING_SECONDS = 0.4
"""A speaker is chosen sooner than words are found, and then a reader wants to know who it is."""
_PATIENCE_SECONDS = 3.0
PAGE = 500

NO_WORKER = "no worker answers"
NO_DATABASE = "the database does not answer"


@dataclass(frozen=True)
class StatusSeen:
    """The conversation has answered. All that had happened until then has been told before."""

    status: ConversationStatus


@dataclass(frozen=True)
class Waiting:
    """Something that is needed does not answer."""

    reason: str


Sighting: TypeAlias = Happening | StatusSeen | Waiting


async def present_status(client: "Tertulia", conversation_id: str) -> ConversationStatus:
    """As the client's `status`, but a closed conversation is read from the database: that needs no worker.

    Raises:
        NotFound: there is no such conversation.
        Unavailable: no answer.
    """
    try:
        row = await client.conversation(conversation_id)
    except NotFound:
        # One that was started a moment ago has no row yet.
        return await client.status(conversation_id)
    if row.final_status is not None:
        return ConversationStatus.model_validate(row.final_status)
    return await client.status(conversation_id)


async def beginning(client: "Tertulia", conversation_id: str, *, last: int | None = None) -> Backlog:
    """Where to begin to watch: before the last so many messages; None = from the start.

    Raises:
        NotFound: there is no such conversation.
    """
    try:
        row = await client.conversation(conversation_id)
    except NotFound:
        if not await client.is_running(conversation_id):
            raise
        return Backlog()
    seq = 0 if last is None else max(row.last_seq - last, 0)
    if not seq:
        return Backlog()
    turn = await last_turn_at(client.database, conversation_id, seq)
    return Backlog(seq, turn, await last_epoch_at(client.database, conversation_id, seq))


async def watch(client: "Tertulia", conversation_id: str, backlog: Backlog) -> AsyncGenerator[Sighting, None]:
    """Everything after `backlog`, as it happens, without end."""
    question = _StatusQuestion(client, conversation_id)
    database_answers = True
    try:
        while True:
            # Asked before reading: then all that had happened when it was answered is read.
            answer = question.answer()
            try:
                happenings, backlog = pass_on(await read_on(client.database, conversation_id, backlog))
            except DBAPIError:
                if database_answers:
                    yield Waiting(NO_DATABASE)
                database_answers = False
                question.withhold(answer)
                await asyncio.sleep(_STATUS_SECONDS)
                continue
            database_answers = True
            for happening in happenings:
                yield happening
            if answer is not None:
                yield answer
            question.ask(soon=bool(happenings))
            await asyncio.sleep(POLL_SECONDS)
    finally:
        question.drop()


async def read_on(database: Database, conversation_id: str, backlog: Backlog) -> Backlog:
    """Read a page of messages; then all turns and changes that belong before the last of them, and maybe more."""
    messages = await read_messages(database, conversation_id, after_seq=backlog.seq, limit=PAGE)
    backlog = backlog.with_messages(messages)
    while True:
        turns = await read_turns(database, conversation_id, after_turn=backlog.turn, limit=PAGE)
        backlog = backlog.with_turns(turns)
        if len(turns) < PAGE or turns[-1].seq > backlog.seq:
            break
    while True:
        changes = await read_changes(database, conversation_id, after_epoch=backlog.epoch, limit=PAGE)
        backlog = backlog.with_changes(changes)
        if len(changes) < PAGE or changes[-1].after_seq > backlog.seq:
            return backlog


class _StatusQuestion:
    """Asks for the status beside the reading, so that a worker that does not answer holds nothing up."""

    def __init__(self, client: "Tertulia", conversation_id: str) -> None:
        self._client = client
        self._conversation_id = conversation_id
        self._asked: asyncio.Task[ConversationStatus] | None = None
        self._since = monotonic()
        self._pause = _STATUS_SECONDS
        self._told = False
        self._withheld: StatusSeen | Waiting | None = None
        self.ask(soon=True)

    def ask(self, *, soon: bool) -> None:
        """Ask again if it is time, or at once."""
        due = soon or monotonic() - self._since >= self._pause
        if self._asked is None and due:
            self._since = monotonic()
            self._asked = asyncio.create_task(present_status(self._client, self._conversation_id))

    def answer(self) -> StatusSeen | Waiting | None:
        """What came of the last question, told once; also that it remains without an answer."""
        if self._withheld is not None:
            withheld, self._withheld = self._withheld, None
            return withheld
        if self._asked is None:
            return None
        if not self._asked.done():
            return self._wait(NO_WORKER) if monotonic() - self._since > _PATIENCE_SECONDS else None
        asked, self._asked = self._asked, None
        try:
            status = asked.result()
        except Unavailable as error:
            return self._wait(str(error))
        except DBAPIError:
            return None
        self._told = False
        self._pause = _CHOOSING_SECONDS if status.phase == "choosing_speaker" else _STATUS_SECONDS
        return StatusSeen(status)

    def withhold(self, answer: StatusSeen | Waiting | None) -> None:
        """Keep an answer for later: what happened before it has not been read yet."""
        self._withheld = answer

    def drop(self) -> None:
        """Leave the question without waiting for its answer."""
        if self._asked is not None:
            self._asked.cancel()

    def _wait(self, reason: str) -> Waiting | None:
        if self._told:
            return None
        self._told = True
        return Waiting(reason)
