"""Wake readers when something happens in a conversation. One connection listens for all readers of a process.

Invariant: no reader misses an event. Notifications that a cut connection lost, and events from before the subscription,
are found by a sweep over all watched conversations: on connecting, and every `SWEEP_SECONDS`.
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
"""Notification channel of text that models produce at the moment. It is not stored; the message is, once complete."""
SWEEP_SECONDS = 5.0
"""Interval of the sweep: one query for all watched conversations."""
RECONNECT_SECONDS = 0.2
MARK_SECONDS = 20.0
"""Interval at which the wish for live text is renewed in the database."""
WATCHED_SECONDS = 60
MAX_DELTAS = 256
"""Live-text pieces buffered for one reader; the oldest are dropped."""
_RETRY_MARK_SECONDS = 0.5
_TIMEOUT_SECONDS = 10.0

logger = logging.getLogger("tertulia.notifications")


class Subscription:
    """One reader's subscription to a conversation."""

    def __init__(self, *, deltas: bool, phases_only: bool) -> None:
        self.newest = 0
        """Highest event number of which the reader was notified."""
        self.unsure = True
        """True if events may have been missed. The reader resets it when it has read everything."""
        self._wants_deltas = deltas
        self._phases_only = phases_only
        self._deltas: deque[LiveDelta] = deque(maxlen=MAX_DELTAS)
        self._woken = asyncio.Event()

    async def wait(self) -> None:
        """Wait until there is something new. Several notifications in between wake the reader once."""
        await self._woken.wait()
        self._woken.clear()

    def take_deltas(self) -> list[LiveDelta]:
        """Return the live text since the last call."""
        taken = list(self._deltas)
        self._deltas.clear()
        return taken

    def notify(self, number: int, *, phase: bool = True) -> None:
        """Wake the subscriber for event `number`.

        Args:
            number: the event.
            phase: the event may change the phase.
        """
        if number > self.newest:
            self.newest = number
            if phase or not self._phases_only:
                self._woken.set()

    def invalidate(self) -> None:
        """Wake the subscriber because notifications may have been lost."""
        self.unsure = True
        self._woken.set()

    def push_delta(self, delta: LiveDelta) -> None:
        """Pass on live text."""
        if self._wants_deltas:
            self._deltas.append(delta)
            self._woken.set()


class Listener:
    """Context manager that listens for all subscribers. It survives every failure of the database.

    Args:
        database: one connection listens, another is used for sweeps.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._subscribers: dict[str, list[Subscription]] = {}
        self._delta_subscribers: dict[str, int] = {}
        """Number of subscribers that want live text, by conversation."""
        self._has_unmarked = asyncio.Event()
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self.connected = asyncio.Event()
        """Set while notifications arrive, cleared while the connection is down."""

    async def __aenter__(self) -> Self:
        self._tasks = (asyncio.create_task(self._keep_listening()), asyncio.create_task(self._keep_marking()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def connected_within(self, seconds: float) -> bool:
        """Wait up to `seconds` for the connection; return whether it is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.connected.wait()
        return self.connected.is_set()

    @contextmanager
    def subscribe(
        self, conversation_id: str, *, deltas: bool = False, phases_only: bool = False
    ) -> Iterator[Subscription]:
        """Context manager: subscribe to a conversation.

        Args:
            conversation_id: the conversation.
            deltas: also receive live text.
            phases_only: wake only for events that may change the phase.
        """
        subscription = Subscription(deltas=deltas, phases_only=phases_only)
        self._subscribers.setdefault(conversation_id, []).append(subscription)
        if deltas:
            self._count_delta_subscriber(conversation_id, 1)
        try:
            yield subscription
        finally:
            if deltas:
                self._count_delta_subscriber(conversation_id, -1)
            others = self._subscribers[conversation_id]
            others.remove(subscription)
            if not others:
                del self._subscribers[conversation_id]

    def _count_delta_subscriber(self, conversation_id: str, change: int) -> None:
        before = self._delta_subscribers.pop(conversation_id, 0)
        if before + change:
            self._delta_subscribers[conversation_id] = before + change
        if before == 0:
            self._has_unmarked.set()

    async def _keep_listening(self) -> None:
        while True:
            try:
                await self._listen()
            except (SQLAlchemyError, psycopg.Error, OSError, TimeoutError) as error:
                logger.debug("the notification listener reconnects: %s", type(error).__name__)
            except Exception as error:
                # Without this task all readers would wait forever, and nothing would report it.
                logger.error("the notification listener reconnects: %s", error_location(error))  # noqa: TRY400 - the message may contain text of a conversation
            if self.connected.is_set():
                self.connected.clear()
                self._invalidate_all()
            await asyncio.sleep(RECONNECT_SECONDS)

    def _invalidate_all(self) -> None:
        """Let every reader check the database itself."""
        for subscriptions in self._subscribers.values():
            for subscription in subscriptions:
                subscription.invalidate()

    async def _listen(self) -> None:
        async with AsyncExitStack() as resources:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                connection = await resources.enter_async_context(_raw_connection(self._database))
                for channel in (EVENTS_CHANNEL, LIVE_CHANNEL):
                    await connection.execute(f"LISTEN {channel}")
            while True:
                await self._sweep(connection)
                self.connected.set()
                async for notice in connection.notifies(timeout=SWEEP_SECONDS):
                    if notice.channel == EVENTS_CHANNEL:
                        self._on_event(notice.payload)
                    else:
                        self._on_live_text(notice.payload)

    async def _sweep(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Read the newest event number of every watched conversation. Also detects a cut connection."""
        watched = list(self._subscribers)
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            cursor = await connection.execute(_NEWEST_EVENTS, [watched])
            for conversation_id, last_event in await cursor.fetchall():
                self._notify(conversation_id, last_event)

    def _on_event(self, payload: str) -> None:
        conversation_id, _, number = payload.removesuffix(PHASE_MARK).rpartition(" ")
        if number.isdecimal():
            self._notify(conversation_id, int(number), phase=payload.endswith(PHASE_MARK))

    def _on_live_text(self, payload: str) -> None:
        with suppress(ValueError, KeyError, TypeError, ValidationError):
            fields = json.loads(payload)
            subscribers = self._subscribers.get(fields["conversation_id"])
            if subscribers:
                delta = LiveDelta.model_validate(fields)
                for subscription in subscribers:
                    subscription.push_delta(delta)

    def _notify(self, conversation_id: str, number: int, *, phase: bool = True) -> None:
        for subscription in self._subscribers.get(conversation_id, ()):
            subscription.notify(number, phase=phase)

    async def _keep_marking(self) -> None:
        """Keep the wish for live text recorded. A conversation without a row yet gets one soon."""
        while True:
            delay = _RETRY_MARK_SECONDS
            self._has_unmarked.clear()
            subscribed = sorted(self._delta_subscribers)
            with suppress(SQLAlchemyError, OSError, TimeoutError):
                if await mark_watched(self._database, subscribed):
                    delay = MARK_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._has_unmarked.wait()


_NEWEST_EVENTS = "SELECT id, last_event FROM conversations WHERE id = ANY(%s)"

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
    """Record that live text of these conversations has readers; return whether all of them exist."""
    if not conversation_ids:
        return True
    return len(await database.rows(_MARK, {"ids": conversation_ids})) == len(conversation_ids)


@asynccontextmanager
async def _raw_connection(database: Database) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Context manager: a connection of its own as psycopg has it, which can wait for notifications."""
    async with database.own_connection() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        assert isinstance(raw, psycopg.AsyncConnection)
        yield raw
