"""Watch a conversation: its events as they happen, and its status at the turning points.

Invariant: a worker, server or database that does not answer never ends a watch. It is reported once and waited for.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeAlias

from tertulia.client.conversation import Conversation
from tertulia.client.timeline import TextDelta, Timeline, TimelineItem, TransientItem, closing_notice
from tertulia.core.errors import EventsUnavailable, Unavailable
from tertulia.core.phases import PublicPhase
from tertulia.core.records import Interrupted, LiveDelta, StatusAt, StreamEvent
from tertulia.core.status import ConversationStatus

QUIET_SECONDS = 5.0
"""Time without an event during a round after which the status is queried, to see whether the workflow still runs."""
RETRY_SECONDS = 0.2
"""First delay before the status is queried again because it and the events are not at the same point."""
MAX_RETRY_SECONDS = 2.0
UNAVAILABLE_RETRY_SECONDS = 1.0
"""Delay before the status is queried again after a failed query."""
ANSWER_TIMEOUT_SECONDS = 3.0
"""Time without an answer after which `Waiting` is reported."""

NO_WORKER = "no worker answers"


@dataclass(frozen=True)
class Waiting:
    """Something that the conversation needs does not answer."""

    reason: str


@dataclass(frozen=True)
class StatusSeen:
    """A status. Every event up to it has been yielded before, and none after it."""

    status: ConversationStatus


WatchItem: TypeAlias = TimelineItem | TransientItem | StatusSeen | Waiting


async def watch(conversation: Conversation, after: int, *, deltas: bool = False) -> AsyncGenerator[WatchItem, None]:
    """Yield everything after event `after` as it happens, without end.

    Args:
        conversation: the conversation.
        after: number of the last event already seen.
        deltas: also yield the text of a turn while the model produces it.
    """
    source = _EventSource(conversation.events(after=after, deltas=deltas))
    poller = StatusPoller(conversation)
    watcher = _Watcher(after, poller)
    try:
        while True:
            awaited: set[asyncio.Future[Any]] = {source.next_event, *poller.running_query}
            await asyncio.wait(awaited, timeout=poller.idle_seconds(), return_when=asyncio.FIRST_COMPLETED)
            if source.next_event.done():
                items = watcher.on_event(source.take())
            else:
                items = watcher.on_answer(poller.poll())
            for item in items:
                yield item
    finally:
        await source.close()
        await poller.close()


class StatusPoller:
    """Queries the status beside the event stream, so that a query without an answer delays no event."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._query: asyncio.Task[StatusAt] | None = None
        self._started_at = monotonic()
        self._due_at: float | None = None
        self._is_owed = False
        """The last answer could not be used: the next query stays due, whatever events arrive."""
        self._is_outdated = False
        """The running query was sent before the event that the next answer has to cover."""
        self._retry_seconds = RETRY_SECONDS
        self._is_waiting_reported = False
        self.query()

    @property
    def running_query(self) -> set[asyncio.Task[StatusAt]]:
        """The query without an answer, if any."""
        return {self._query} if self._query else set()

    def query(self) -> None:
        """Query now; an answer to an earlier query no longer counts."""
        self._retry_seconds = RETRY_SECONDS
        self._is_outdated = True
        self._start_query()

    def query_later(self) -> None:
        """Query again after a delay that grows each time."""
        self._schedule(self._retry_seconds)
        self._retry_seconds = min(self._retry_seconds * 2, MAX_RETRY_SECONDS)

    def record_event(self, phase: PublicPhase | None) -> None:
        """Note that an event arrived; during a round, the next one is expected within `QUIET_SECONDS`."""
        if not self._is_owed:
            self._due_at = monotonic() + QUIET_SECONDS if phase in (None, "executing") else None

    def idle_seconds(self) -> float | None:
        """Return how long there is nothing to do; None = until something happens."""
        if self._query is None:
            return None if self._due_at is None else max(self._due_at - monotonic(), 0)
        if self._is_waiting_reported:
            return None
        return max(self._started_at + ANSWER_TIMEOUT_SECONDS - monotonic(), 0)

    def poll(self) -> StatusAt | Waiting | None:
        """Return the answer, `Waiting` once after `ANSWER_TIMEOUT_SECONDS` without one, else None.

        Starts the next query when it is due.
        """
        if self._query is None:
            if self._due_at is not None and monotonic() >= self._due_at:
                self._start_query()
            return None
        if not self._query.done():
            is_late = monotonic() - self._started_at >= ANSWER_TIMEOUT_SECONDS
            return self._report_waiting(NO_WORKER) if is_late else None
        query, self._query = self._query, None
        try:
            answer = query.result()
        except EventsUnavailable:
            self._schedule(UNAVAILABLE_RETRY_SECONDS)
            return None
        except Unavailable as error:
            self._schedule(UNAVAILABLE_RETRY_SECONDS)
            return self._report_waiting(str(error))
        self._is_waiting_reported = False
        if self._is_outdated:
            self._start_query()
            return None
        return answer

    def restart_timeout(self) -> None:
        """Wait for the running query as if it had been sent now."""
        self._is_waiting_reported, self._started_at = False, monotonic()

    async def close(self) -> None:
        """Cancel the running query and wait until it has released its connection."""
        if self._query is not None:
            self._query.cancel()
            await asyncio.wait({self._query})

    def _start_query(self) -> None:
        if self._query is None or self._query.done():
            self._started_at, self._due_at, self._is_owed, self._is_outdated = monotonic(), None, False, False
            self._query = asyncio.create_task(self._conversation.status_at())

    def _schedule(self, seconds: float) -> None:
        self._due_at, self._is_owed = monotonic() + seconds, True

    def _report_waiting(self, reason: str) -> Waiting | None:
        if self._is_waiting_reported:
            return None
        self._is_waiting_reported = True
        return Waiting(reason)


class _EventSource:
    """The next event as a future, so that other futures can be awaited beside it."""

    def __init__(self, stream: AsyncGenerator[StreamEvent, None]) -> None:
        self._stream = stream
        self.next_event: asyncio.Future[StreamEvent | None] = asyncio.ensure_future(anext(stream, None))

    def take(self) -> StreamEvent | None:
        """Return the event that arrived; None once, at the end of the stream."""
        event = self.next_event.result()
        if event is None:
            self.next_event = asyncio.get_running_loop().create_future()
        else:
            self.next_event = asyncio.ensure_future(anext(self._stream, None))
        return event

    async def close(self) -> None:
        self.next_event.cancel()
        await asyncio.wait({self.next_event})
        await self._stream.aclose()


class _Watcher:
    """Turns events and answers into items, and decides when the status is queried."""

    def __init__(self, after: int, poller: StatusPoller) -> None:
        self._last_event = after
        self._timeline = Timeline()
        self._poller = poller
        self._is_interrupted = False

    def on_event(self, event: StreamEvent | None) -> Iterator[WatchItem]:
        """Yield the items of an event; None = the stream has ended."""
        self._is_interrupted = isinstance(event, Interrupted)
        match event:
            case None:
                self._poller.query()
            case Interrupted(reason=reason):
                yield Waiting(reason)
            case LiveDelta():
                self._poller.record_event(self._timeline.phase)
                yield TextDelta(event)
            case _:
                self._last_event = event.number
                item = self._timeline.item_of(event)
                self._poller.record_event(self._timeline.phase)
                if event.kind == "phase" and self._timeline.phase != "executing":
                    self._poller.query()
                if item is not None:
                    yield item

    def on_answer(self, answer: StatusAt | Waiting | None) -> Iterator[WatchItem]:
        """Yield the status, if it and the events that were yielded are at the same point."""
        match answer:
            case Waiting(reason=reason) if reason == NO_WORKER and self._is_interrupted:
                # The database is down, so the query may not have reached the worker.
                self._poller.restart_timeout()
            case Waiting():
                yield answer
            case StatusAt(status=status, last_event=last_event):
                self._is_interrupted = False
                phase = self._timeline.phase
                if last_event != self._last_event or phase not in (None, public_phase(status)):
                    self._poller.query_later()
                    return
                if status.phase == "closed" and phase is None:
                    yield closing_notice(status)
                self._poller.record_event(public_phase(status))
                yield StatusSeen(status)


def public_phase(status: ConversationStatus) -> PublicPhase:
    """Return the phase as events report it."""
    phase = status.phase
    return phase if phase in ("ready", "paused", "closed") else "executing"
