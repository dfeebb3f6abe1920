"""Readers of events get each event once and in order, from any starting point and through any interruption."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from sqlalchemy import func, select, text, update

from tertulia.core.errors import InvalidDefinition
from tertulia.core.records import ConversationEvent, Interrupted, LiveDelta, StreamEvent
from tertulia.service import conversation_events
from tertulia.service.conversation_events import has_more_events, read_event_stream
from tertulia.store import notifications
from tertulia.store.events import read_events
from tertulia.store.notifications import LIVE_CHANNEL, Listener
from tertulia.store.tables import conversations
from tertulia.store.tables import events as events_table
from tertulia.testing import WorkflowHarness, eventually


@pytest.fixture
async def listener(harness: WorkflowHarness, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Listener]:
    """A listener without its regular sweep, so that only notifications wake readers."""
    monkeypatch.setattr(notifications, "SWEEP_SECONDS", 3_600)
    async with Listener(harness.client.scope.database) as running:
        await asyncio.wait_for(running.connected.wait(), 10)
        yield running


class EventCollector:
    """Collects the events of one reader in a task of its own."""

    def __init__(self, harness: WorkflowHarness, listener: Listener, conversation: str, after: int = 0) -> None:
        self.received: list[StreamEvent] = []
        self._source = read_event_stream(
            harness.client.scope.database, conversation, after, deltas=True, listener=listener
        )
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async with aclosing(self._source) as source:
            async for event in source:
                self.received.append(event)

    async def wait_for_end(self) -> None:
        """Wait for the end of the conversation."""
        await asyncio.wait_for(self.task, 60)

    @property
    def events(self) -> list[ConversationEvent]:
        return [one for one in self.received if isinstance(one, ConversationEvent)]

    @property
    def numbers(self) -> list[int]:
        return [event.number for event in self.events]

    async def wait_until(self, number: int) -> None:
        async def numbers() -> list[int]:
            return self.numbers

        await eventually(numbers, lambda seen: number in seen)


async def start_conversation(harness: WorkflowHarness, *, turns: int = 6, close: bool = True) -> str:
    group = await harness.group("Ana", "Ben", manager={"manager_type": "round_robin", "max_turns": turns})
    return await harness.start(group, "Shall we?", close_after_round=close)


async def last_event_number(harness: WorkflowHarness, conversation: str) -> int:
    return len(await read_events(harness.client.scope.database, conversation))


async def notify_delta(harness: WorkflowHarness, conversation: str, turn: int, delta_text: str) -> None:
    received = {"conversation_id": conversation, "turn": turn, "attempt": 1, "offset": 0, "text": delta_text}
    await harness.client.scope.database.rows(select(func.pg_notify(LIVE_CHANNEL, json.dumps(received))))


async def test_early_reader_gets_every_event(
    harness: WorkflowHarness, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation_events, "PAGE_SIZE", 3)
    group = await harness.group("Ana", "Ben", manager={"manager_type": "round_robin", "max_turns": 6})
    conversation = harness.name("to-come")
    reader = EventCollector(harness, listener, conversation)
    await asyncio.sleep(0.2)
    await harness.client.conversations.create(group, "Shall we?", id=conversation, close_after_round=True)
    await reader.wait_for_end()
    assert reader.numbers == list(range(1, len(reader.numbers) + 1))
    assert reader.events[-1].data["phase"] == "closed"
    transcript = await harness.transcript(conversation)
    assert [one.data["text"] for one in reader.events if one.kind == "message"] == [one.text for one in transcript]


async def test_turn_events_are_in_order(harness: WorkflowHarness, listener: Listener) -> None:
    conversation = await start_conversation(harness, turns=2)
    reader = EventCollector(harness, listener, conversation)
    await reader.wait_for_end()
    assert [event.kind for event in reader.events][:8] == [
        "phase",
        "message",
        "speaker_chosen",
        "turn_started",
        "message",
        "speaker_chosen",
        "turn_started",
        "message",
    ]
    assert {event.kind for event in reader.events[8:]} == {"phase"}


async def test_reader_can_start_anywhere(
    harness: WorkflowHarness, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = await start_conversation(harness, turns=4)
    whole = EventCollector(harness, listener, conversation)
    await whole.wait_for_end()
    monkeypatch.setattr(conversation_events, "PAGE_SIZE", 4)
    for after in range(len(whole.events)):
        rest = EventCollector(harness, listener, conversation, after)
        await rest.wait_for_end()
        assert rest.events == whole.events[after:]


async def test_read_past_the_end_is_refused(harness: WorkflowHarness, listener: Listener) -> None:
    conversation = await start_conversation(harness, turns=1)
    reader = EventCollector(harness, listener, conversation)
    await reader.wait_for_end()
    last = reader.numbers[-1]
    assert await has_more_events(harness.client.scope.database, conversation, last - 1)
    assert not await has_more_events(harness.client.scope.database, conversation, last)
    with pytest.raises(InvalidDefinition, match=f"no event {last + 1}"):
        await has_more_events(harness.client.scope.database, conversation, last + 1)
    late = EventCollector(harness, listener, conversation, last)
    await late.wait_for_end()
    assert late.received == []


async def test_end_of_conversation_without_end_event(harness: WorkflowHarness, listener: Listener) -> None:
    conversation = await start_conversation(harness, turns=1)
    await harness.wait_until(conversation, lambda status: status.phase == "closed")
    database, last = harness.client.scope.database, await last_event_number(harness, conversation)
    await database.rows(
        events_table.delete().where(events_table.c.conversation_id == conversation, events_table.c.number == last)
    )
    await database.rows(update(conversations).where(conversations.c.id == conversation).values(last_event=last - 1))
    reader = EventCollector(harness, listener, conversation)
    await reader.wait_for_end()
    assert reader.numbers == list(range(1, last))


async def test_deltas_of_finished_turn_are_dropped(harness: WorkflowHarness, listener: Listener) -> None:
    conversation = await start_conversation(harness, turns=2, close=False)
    await harness.wait_until_idle(conversation)
    last = await last_event_number(harness, conversation)
    readers = EventCollector(harness, listener, conversation), EventCollector(harness, listener, conversation, last)
    await readers[0].wait_until(last)
    for turn in (1, 2, 3):
        await notify_delta(harness, conversation, turn, f"of turn {turn}")

    for reader in readers:

        async def delta_texts(reader: EventCollector = reader) -> list[str]:
            return [one.text for one in reader.received if isinstance(one, LiveDelta)]

        assert await eventually(delta_texts, lambda texts: "of turn 3" in texts) == ["of turn 3"]
        reader.task.cancel()


async def test_cut_connection_is_reported_once(
    harness: WorkflowHarness, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import OperationalError

    conversation = await start_conversation(harness, turns=1, close=False)
    await harness.wait_until_idle(conversation)
    reader = EventCollector(harness, listener, conversation)
    await reader.wait_until(await last_event_number(harness, conversation))
    is_unavailable = True

    async def read(*arguments: object, **options: object) -> list[ConversationEvent]:
        if is_unavailable:
            raise OperationalError("", {}, Exception("gone"))
        return await read_events(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(conversation_events, "read_events", read)
    monkeypatch.setattr(conversation_events, "RETRY_SECONDS", 0.05)
    cut = text("select pg_terminate_backend(pid) from pg_stat_activity where query ~ '^LISTEN|^SELECT id, last'")
    await harness.client.scope.database.rows(cut)

    async def interruptions() -> int:
        return sum(isinstance(one, Interrupted) for one in reader.received)

    await eventually(interruptions, bool)
    await harness.handle(conversation).post("Still there?")
    await harness.wait_until_idle(conversation, rounds=2)
    await asyncio.sleep(0.3)
    is_unavailable = False
    await harness.handle(conversation).stop()
    await reader.wait_for_end()
    assert reader.numbers == list(range(1, len(reader.numbers) + 1))
    assert await interruptions() == 1
