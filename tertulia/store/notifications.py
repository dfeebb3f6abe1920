"""Being woken when something happens in a conversation: one connection listens for everybody in this process.

Law: a reader is never left asleep over news. What a cut connection may have missed, and what was written before anybody
listened, is found by one look at all watched conversations: once on connecting, and every few seconds as a safety net.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import psycopg
from pydantic import ValidationError
from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from tertulia.core.errors import error_location
from tertulia.core.records import LiveDelta
from tertulia.store.database import Database
from tertulia.store.event_log import EVENTS_CHANNEL, PHASE_MARK
from tertulia.store.tables import conversations

LIVE_CHANNEL = "tertulia_live"
"""Where words are told of while they are said. They are not kept: the message is, once it is whole."""
SWEEP_SECONDS = 5.0
"""How often the watched conversations are looked at, by one query for all of them."""
REST_AFTER_TROUBLE_SECONDS = 0.2
MARK_SECONDS = 20.0
"""How often it is renewed that somebody wants to see words as they are said."""
WATCHED_SECONDS = 60
MAX_DELTAS = 256
"""How many pieces of speech wait for a reader; the oldest are forgotten."""
_MARK_AGAIN_SECONDS = 0.5
_PATIENCE_SECONDS = 10.0

logger = logging.getLogger("tertulia.listening")


class Subscription:
    """What one reader is woken for."""

    def __init__(self, *, deltas: bool, phases_only: bool) -> None:
        self.newest = 0
        """The highest number of an event that was heard of."""
        self.unsure = True
        """Whether there may be more: nothing was heard for a while. Whoever has read everything sets it back."""
        self._wants_deltas = deltas
        self._phases_only = phases_only
        self._deltas: deque[LiveDelta] = deque(maxlen=MAX_DELTAS)
        self._woken = asyncio.Event()

    async def wait(self) -> None:
        """Until there is something new; several things that happen meanwhile wake once."""
        await self._woken.wait()
        self._woken.clear()

    def take_deltas(self) -> list[LiveDelta]:
        """The words that have come since the last time."""
        taken = list(self._deltas)
        self._deltas.clear()
        return taken

    def tell(self, number: int, *, phase: bool = True) -> None:
        """There is an event of that number; `phase`: it may be that the conversation has come into another phase."""
        if number > self.newest:
            self.newest = number
            if phase or not self._phases_only:
                self._woken.set()

    def doubt(self) -> None:
        """Nothing is heard for a while."""
        self.unsure = True
        self._woken.set()

    def say(self, delta: LiveDelta) -> None:
        """Somebody says this."""
        if self._wants_deltas:
            self._deltas.append(delta)
            self._woken.set()


class Listener:
    """While the block runs, subscribers are woken. It outlives every trouble of the database.

    Args:
        database: one of its connections listens; another is used now and then.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._subscribers: dict[str, list[Subscription]] = {}
        self._hearers: dict[str, int] = {}
        """How many of a conversation's subscribers want words as they are said."""
        self._unmarked = asyncio.Event()
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self.connected = asyncio.Event()
        """Set while news come at once, and not only with a new connection."""

    async def __aenter__(self) -> Self:
        self._tasks = (asyncio.create_task(self._listen_for_ever()), asyncio.create_task(self._mark_for_ever()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def connected_within(self, seconds: float) -> bool:
        """Whether news come at once, or will within that time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.connected.wait()
        return self.connected.is_set()

    @contextmanager
    def subscribe(
        self, conversation_id: str, *, deltas: bool = False, phases_only: bool = False
    ) -> Iterator[Subscription]:
        """Be woken for that conversation's events while the block runs, or for those alone that bring it into another
        phase; and for words as they are said, if wanted."""
        subscription = Subscription(deltas=deltas, phases_only=phases_only)
        self._subscribers.setdefault(conversation_id, []).append(subscription)
        if deltas:
            self._count_hearer(conversation_id, 1)
        try:
            yield subscription
        finally:
            if deltas:
                self._count_hearer(conversation_id, -1)
            left = self._subscribers[conversation_id]
            left.remove(subscription)
            if not left:
                del self._subscribers[conversation_id]

    def _count_hearer(self, conversation_id: str, more: int) -> None:
        before = self._hearers.pop(conversation_id, 0)
        if before + more:
            self._hearers[conversation_id] = before + more
        if before == 0:
            self._unmarked.set()

    async def _listen_for_ever(self) -> None:
        while True:
            try:
                await self._listen()
            except (SQLAlchemyError, psycopg.Error, OSError, TimeoutError) as error:
                logger.debug("listening begins anew: %s", type(error).__name__)
            except Exception as error:
                # Whatever it is: without this task all readers would sleep for ever, and nothing would say so.
                logger.error("listening begins anew: %s", error_location(error))  # noqa: TRY400 - its words stay out of it
            if self.connected.is_set():
                self.connected.clear()
                self._doubt()
            await asyncio.sleep(REST_AFTER_TROUBLE_SECONDS)

    def _doubt(self) -> None:
        """Readers look for themselves whether it is the database that does not answer."""
        for subscriptions in self._subscribers.values():
            for subscription in subscriptions:
                subscription.doubt()

    async def _listen(self) -> None:
        async with AsyncExitStack() as open_until_trouble:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                connection = await open_until_trouble.enter_async_context(_raw_connection(self._database))
                for channel in (EVENTS_CHANNEL, LIVE_CHANNEL):
                    await connection.execute(f"LISTEN {channel}")
            while True:
                await self._sweep(connection)
                self.connected.set()
                async for notice in connection.notifies(timeout=SWEEP_SECONDS):
                    if notice.channel == EVENTS_CHANNEL:
                        self._hear_event(notice.payload)
                    else:
                        self._hear_words(notice.payload)

    async def _sweep(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Where each watched conversation stands; it also tells a connection that is cut from one that is quiet."""
        watched = list(self._subscribers)
        async with asyncio.timeout(_PATIENCE_SECONDS):
            cursor = await connection.execute(_STANDS, [watched])
            for conversation_id, last_event in await cursor.fetchall():
                self._tell(conversation_id, last_event)

    def _hear_event(self, payload: str) -> None:
        conversation_id, _, number = payload.removesuffix(PHASE_MARK).rpartition(" ")
        if number.isdecimal():
            self._tell(conversation_id, int(number), phase=payload.endswith(PHASE_MARK))

    def _hear_words(self, payload: str) -> None:
        with suppress(ValueError, KeyError, TypeError, ValidationError):
            told = json.loads(payload)
            subscribers = self._subscribers.get(told["conversation_id"])
            if subscribers:
                delta = LiveDelta.model_validate(told)
                for subscription in subscribers:
                    subscription.say(delta)

    def _tell(self, conversation_id: str, number: int, *, phase: bool = True) -> None:
        for subscription in self._subscribers.get(conversation_id, ()):
            subscription.tell(number, phase=phase)

    async def _mark_for_ever(self) -> None:
        """Keep in the database that words are wanted. A conversation that has no row yet soon has one."""
        while True:
            pause = _MARK_AGAIN_SECONDS
            self._unmarked.clear()
            wanted = sorted(self._hearers)
            with suppress(SQLAlchemyError, OSError, TimeoutError):
                if await mark_watched(self._database, wanted):
                    pause = MARK_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._unmarked.wait()


_STANDS = "SELECT id, last_event FROM conversations WHERE id = ANY(%s)"

_locked = (
    select(conversations.c.id)
    .where(conversations.c.id.in_(bindparam("ids", expanding=True)))
    # In the order of their ids: two processes that mark the same ones never wait for each other in a circle.
    .order_by(conversations.c.id)
    .with_for_update()
    .scalar_subquery()
)
_MARK = (
    update(conversations)
    .where(conversations.c.id.in_(_locked))
    .values(watched_until=func.now() + text(f"interval '{WATCHED_SECONDS} seconds'"))
    .returning(conversations.c.id)
)


async def mark_watched(database: Database, conversation_ids: list[str]) -> bool:
    """Keep that somebody wants to see words as they are said there; whether all these conversations exist."""
    if not conversation_ids:
        return True
    return len(await database.rows(_MARK, {"ids": conversation_ids})) == len(conversation_ids)


@asynccontextmanager
async def _raw_connection(database: Database) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A connection of one's own as the driver has it: only there can one wait for notifications."""
    async with database.own_connection() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        assert isinstance(raw, psycopg.AsyncConnection)
        yield raw
