"""The events of one conversation as they happen, for the API and for direct clients.

Invariant: every event once and in order, however often connections are cut. Readers do not poll: notifications wake
them.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from tertulia.core.errors import InvalidDefinition
from tertulia.core.records import ConversationEvent, Interrupted, StreamEvent
from tertulia.store.database import Database
from tertulia.store.events import read_events
from tertulia.store.notifications import Listener, Subscription
from tertulia.store.tables import conversations

PAGE_SIZE = 100
"""Events that a reader holds at a time, which bounds the memory of a slow reader."""
RETRY_SECONDS = 0.5
"""Shortest delay before a database that did not answer is read again."""
_RECONNECT_TIMEOUT_SECONDS = 5.0


async def has_more_events(database: Database, conversation_id: str, after: int) -> bool:
    """Return whether anything follows event `after`, now or later.

    Raises:
        InvalidDefinition: the conversation has no event `after` yet.
    """
    progress = await _read_progress(database, conversation_id)
    if progress is None:
        return True
    if after > progress.last_event:
        raise InvalidDefinition(f"no event {after}: the conversation has {progress.last_event}; start again with 0")
    return not progress.closed or after < progress.last_event


async def read_event_stream(
    database: Database, conversation_id: str, after: int, *, deltas: bool = False, listener: Listener | None = None
) -> AsyncGenerator[StreamEvent, None]:
    """Yield every event after `after`, once and in order, until the event that closes the conversation.

    Args:
        database: where the events are stored.
        conversation_id: the conversation.
        after: number of the last event already seen.
        deltas: also yield the text of the present turn while the model produces it.
        listener: receives the notifications of all readers of a process; without one, this stream opens its own.
    """
    if listener is None:
        async with Listener(database) as own_listener:
            stream = read_event_stream(database, conversation_id, after, deltas=deltas, listener=own_listener)
            async with aclosing(stream):
                async for event in stream:
                    yield event
        return
    with listener.subscribe(conversation_id, deltas=deltas) as subscription:
        reader = _EventReader(database, conversation_id, after, subscription)
        while not reader.closed:
            try:
                if reader.is_behind:
                    await reader.read_page()
            except (SQLAlchemyError, OSError, TimeoutError):
                if not reader.interrupted:
                    yield Interrupted()
                reader.interrupted = True
                await asyncio.sleep(RETRY_SECONDS)
                await listener.connected_within(_RECONNECT_TIMEOUT_SECONDS)
                continue
            reader.interrupted = False
            for event in reader.page:
                yield event
            reader.page = []
            if reader.is_behind or reader.closed:
                continue
            for delta in subscription.take_deltas():
                if delta.turn > reader.last_ended_turn:
                    yield delta
            await subscription.wait()


@dataclass(frozen=True)
class _EventProgress:
    last_event: int
    last_turn: int
    closed: bool


async def _read_progress(database: Database, conversation_id: str) -> _EventProgress | None:
    columns = conversations.c
    row = await database.row(
        select(columns.last_event, columns.last_turn, columns.phase).where(columns.id == conversation_id)
    )
    return _EventProgress(row.last_event, row.last_turn, row.phase == "closed") if row else None


class _EventReader:
    """The progress of one reader."""

    def __init__(self, database: Database, conversation_id: str, after: int, subscription: Subscription) -> None:
        self.page: list[ConversationEvent] = []
        self.closed = False
        self.last_ended_turn = 0
        """The last turn whose end was read."""
        self.interrupted = False
        self._database = database
        self._conversation_id = conversation_id
        self._after = after
        self._subscription = subscription
        self._is_progress_loaded = False
        self._last_event: int | None = None
        self._may_have_more = True

    @property
    def is_behind(self) -> bool:
        """True if there is, or may be, an event that was not read."""
        return self._may_have_more or self._subscription.newest > self._after or self._subscription.unsure

    async def read_page(self) -> None:
        """Read the next page."""
        self._subscription.unsure = False
        try:
            if not self._is_progress_loaded:
                await self._load_progress()
            self.page = await read_events(self._database, self._conversation_id, after=self._after, limit=PAGE_SIZE)
        except BaseException:
            self._subscription.unsure = True
            raise
        self._may_have_more = len(self.page) == PAGE_SIZE
        for event in self.page:
            self._after = event.number
            self.last_ended_turn = max(self.last_ended_turn, _turn_ended_by(event))
            self.closed = self.closed or event.is_end
        self.closed = self.closed or (self._last_event is not None and self._after >= self._last_event)

    async def _load_progress(self) -> None:
        """Load the last turn and, of a closed conversation, the last event.

        A reader that has seen the end must not wait for more, and deltas of finished turns are outdated.
        """
        progress = await _read_progress(self._database, self._conversation_id)
        self._is_progress_loaded = True
        if progress is not None:
            self.last_ended_turn = progress.last_turn
            self._last_event = progress.last_event if progress.closed else None


_TURN_END_KINDS = ("message", "turn_passed", "turn_failed", "turn_discarded", "turn_cancelled")


def _turn_ended_by(event: ConversationEvent) -> int:
    turn = event.data.get("turn") if event.kind in _TURN_END_KINDS else None
    return turn if isinstance(turn, int) else 0
