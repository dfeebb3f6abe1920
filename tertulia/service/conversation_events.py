"""The events of one conversation as they happen, after those that a reader has seen: for the API and `watch` alike.

Law: every event once and in order, however often connections are cut. A reader waits without asking: it is woken.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from tertulia.core.errors import InvalidDefinition
from tertulia.core.records import ConversationEvent
from tertulia.core.records import Interrupted as Interrupted
from tertulia.core.records import StreamEvent as StreamEvent
from tertulia.store.database import Database
from tertulia.store.events import read_events
from tertulia.store.notifications import Listener, Subscription
from tertulia.store.tables import conversations

PAGE = 100
"""How many events a reader holds at a time: one that reads slowly costs no more memory than that."""
REST_SECONDS = 0.5
"""How long to wait at least before a database that does not answer is asked again."""
_PATIENCE_SECONDS = 5.0


async def is_left_to_read(database: Database, conversation_id: str, after: int) -> bool:
    """Whether anything follows `after`, now or later: nothing does behind the end of a closed conversation.

    Raises:
        InvalidDefinition: the conversation has never reached `after`.
    """
    stand = await _stand(database, conversation_id)
    if stand is None:
        return True
    if after > stand.last_event:
        raise InvalidDefinition(f"no event {after}: the conversation has {stand.last_event}; begin again with 0")
    return not stand.closed or after < stand.last_event


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
    with listener.subscribe(conversation_id, deltas=deltas) as news:
        reading = _Reading(database, conversation_id, after, news)
        while not reading.closed:
            try:
                if reading.is_behind:
                    await reading.read()
            except (SQLAlchemyError, OSError, TimeoutError):
                if not reading.interrupted:
                    yield Interrupted()
                reading.interrupted = True
                await asyncio.sleep(REST_SECONDS)
                await listener.connected_within(_PATIENCE_SECONDS)
                continue
            reading.interrupted = False
            for event in reading.page:
                yield event
            reading.page = []
            if reading.is_behind or reading.closed:
                continue
            for delta in news.take_deltas():
                if delta.turn > reading.ended_turn:
                    yield delta
            await news.wait()


@dataclass(frozen=True)
class _Stand:
    last_event: int
    last_turn: int
    closed: bool


async def _stand(database: Database, conversation_id: str) -> _Stand | None:
    table = conversations.c
    row = await database.row(select(table.last_event, table.last_turn, table.phase).where(table.id == conversation_id))
    return _Stand(row.last_event, row.last_turn, row.phase == "closed") if row else None


class _Reading:
    """How far one reader has got."""

    def __init__(self, database: Database, conversation_id: str, after: int, news: Subscription) -> None:
        self.page: list[ConversationEvent] = []
        self.closed = False
        self.ended_turn = 0
        """The last turn of which it is known what was said."""
        self.interrupted = False
        self._database = database
        self._conversation_id = conversation_id
        self._after = after
        self._news = news
        self._placed = False
        self._end: int | None = None
        self._more = True

    @property
    def is_behind(self) -> bool:
        """Whether there is, or may be, an event that was not read."""
        return self._more or self._news.newest > self._after or self._news.unsure

    async def read(self) -> None:
        """Read the next page."""
        self._news.unsure = False
        try:
            if not self._placed:
                await self._find_place()
            self.page = await read_events(self._database, self._conversation_id, after=self._after, limit=PAGE)
        except BaseException:
            self._news.unsure = True
            raise
        self._more = len(self.page) == PAGE
        for event in self.page:
            self._after = event.number
            self.ended_turn = max(self.ended_turn, _ended_turn(event))
            self.closed = self.closed or event.is_end
        self.closed = self.closed or (self._end is not None and self._after >= self._end)

    async def _find_place(self) -> None:
        """One who has seen the end waits for nothing; and words of a turn whose end was seen before are not news."""
        stand = await _stand(self._database, self._conversation_id)
        self._placed = True
        if stand is not None:
            self.ended_turn = stand.last_turn
            self._end = stand.last_event if stand.closed else None


_ENDS_OF_TURNS = ("message", "turn_passed", "turn_failed", "turn_discarded", "turn_cancelled")


def _ended_turn(event: ConversationEvent) -> int:
    turn = event.data.get("turn") if event.kind in _ENDS_OF_TURNS else None
    return turn if isinstance(turn, int) else 0
