"""`Conversation.wait_for_round` against a backend whose answers arrive in every awkward order."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from tertulia.client import conversation as conversation_module
from tertulia.client.backend import ConversationBackend
from tertulia.client.conversation import Conversation
from tertulia.core.errors import NotFound, Unavailable
from tertulia.core.records import Interrupted, LiveDelta, StreamEvent
from tertulia.core.status import ConversationStatus, PendingStatus
from tests.client.test_watch import event, message, phase, status

RUNNING, READY = status("executing"), status("ready", stop_reason="max_turns")
WAITING = status("ready", pending=PendingStatus(messages=1, commands=0))


@dataclass
class FakeBackend:
    """As much of a backend as `wait_for_round` uses."""

    statuses: list[ConversationStatus | Exception]
    """Answers to status queries in order; the last one stays."""
    stored: list[StreamEvent] = field(default_factory=list)
    """Events so far."""
    after_status: Sequence[StreamEvent] = ()
    """Events that happen while the first status is on its way."""
    ends: bool = False
    """The event stream ends after the stored events if this is true."""
    queries: int = 0
    open_streams: int = 0
    happened: asyncio.Event = field(default_factory=asyncio.Event)

    async def event_cursor(self, _: str, *, last: int | None = None) -> int:
        assert last == 0
        return len(self.stored)

    async def status(self, _: str) -> ConversationStatus:
        self.queries += 1
        answer = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if self.queries == 1:
            self.stored += self.after_status
        await asyncio.sleep(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def events(self, _: str, *, after: int) -> AsyncGenerator[StreamEvent, None]:
        self.open_streams += 1
        try:
            while True:
                for one in self.stored[after:]:
                    yield one
                if self.ends:
                    return
                after = len(self.stored)
                self.happened.clear()
                await self.happened.wait()
        finally:
            self.open_streams -= 1

    def add(self, one: StreamEvent) -> None:
        self.stored.append(one)
        self.happened.set()


def handle(backend: FakeBackend) -> Conversation:
    return Conversation(cast(ConversationBackend, backend), "c")


@pytest.fixture(autouse=True)
def only_events_end_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the regular check of the status, a missed event is a wait without end."""
    monkeypatch.setattr(conversation_module, "_STATUS_CHECK_SECONDS", 60.0)


async def test_finished_round_returns_at_once() -> None:
    backend = FakeBackend([READY])
    assert await handle(backend).wait_for_round(timeout_seconds=5) == READY
    assert (backend.queries, backend.open_streams) == (1, 0)


@pytest.mark.parametrize("first", [RUNNING, WAITING, status("loading"), status("paused", next_probe_at=1.0)])
async def test_phase_event_ends_the_wait(first: ConversationStatus) -> None:
    backend = FakeBackend([first, READY])
    waiting = asyncio.create_task(handle(backend).wait_for_round(timeout_seconds=5))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    backend.add(phase(1, "ready", "max_turns"))
    assert await waiting == READY
    assert (backend.queries, backend.open_streams) == (2, 0)


async def test_event_during_status_query_is_seen() -> None:
    backend = FakeBackend([RUNNING, READY], after_status=[message(1, 1), phase(2, "ready", "max_turns")])
    assert await handle(backend).wait_for_round(timeout_seconds=5) == READY


async def test_other_events_do_not_end_the_wait() -> None:
    delta = LiveDelta(turn=1, attempt=1, offset=0, text="Well")
    backend = FakeBackend([RUNNING, READY])
    waiting = asyncio.create_task(handle(backend).wait_for_round(timeout_seconds=5))
    for one in (message(1, 1), delta, Interrupted(), event(4, "turn_started", turn=1, speaker="A")):
        await asyncio.sleep(0.01)
        backend.add(one)
    await asyncio.sleep(0.01)
    assert not waiting.done() and backend.queries == 1
    backend.add(phase(5, "ready", "max_turns"))
    assert await waiting == READY


async def test_second_round_is_waited_for() -> None:
    backend = FakeBackend([RUNNING, WAITING, RUNNING, READY])
    waiting = asyncio.create_task(handle(backend).wait_for_round(timeout_seconds=5))
    for number, name in enumerate(("ready", "executing", "ready"), start=1):
        await asyncio.sleep(0.02)
        assert not waiting.done()
        backend.add(phase(number, cast(Any, name)))
    assert await waiting == READY


async def test_stream_that_ends_is_no_failure() -> None:
    backend = FakeBackend([RUNNING, status("closed")], stored=[phase(1, "closed")], ends=True)
    assert (await handle(backend).wait_for_round(timeout_seconds=5)).phase == "closed"


async def test_missed_event_is_found_by_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation_module, "_STATUS_CHECK_SECONDS", 0.05)
    backend = FakeBackend([RUNNING, RUNNING, READY])
    assert await handle(backend).wait_for_round(timeout_seconds=5) == READY
    assert backend.queries == 3


async def test_timeout_and_cancel_close_the_stream() -> None:
    backend = FakeBackend([RUNNING])
    with pytest.raises(TimeoutError):
        await handle(backend).wait_for_round(timeout_seconds=0.05)
    assert backend.open_streams == 0
    waiting = asyncio.create_task(handle(backend).wait_for_round())
    await asyncio.sleep(0.05)
    assert backend.open_streams == 1
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert backend.open_streams == 0


@pytest.mark.parametrize("error", [NotFound("no such conversation"), Unavailable("no answer")])
async def test_errors_of_the_status_are_raised(error: Exception) -> None:
    with pytest.raises(type(error)):
        await handle(FakeBackend([RUNNING, error], after_status=[phase(1, "ready")])).wait_for_round(timeout_seconds=5)
