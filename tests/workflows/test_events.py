"""Whoever follows a conversation is told each event once and in order, wherever one begins and whatever breaks."""

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
from tests.eventually import eventually
from tests.workflows.salon import Salon


@pytest.fixture
async def listener(salon: Salon, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Listener]:
    """One that has to do without its safety net."""
    monkeypatch.setattr(notifications, "SWEEP_SECONDS", 3_600)
    async with Listener(salon.client.scope.database) as running:
        await asyncio.wait_for(running.connected.wait(), 10)
        yield running


class Reader:
    """Collects what one is told, beside what else happens."""

    def __init__(self, salon: Salon, listener: Listener, conversation: str, after: int = 0) -> None:
        self.told: list[StreamEvent] = []
        self._source = read_event_stream(
            salon.client.scope.database, conversation, after, deltas=True, listener=listener
        )
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async with aclosing(self._source) as source:
            async for occurrence in source:
                self.told.append(occurrence)

    async def end(self) -> None:
        """Wait for the end of the conversation."""
        await asyncio.wait_for(self.task, 60)

    @property
    def events(self) -> list[ConversationEvent]:
        return [one for one in self.told if isinstance(one, ConversationEvent)]

    @property
    def numbers(self) -> list[int]:
        return [event.number for event in self.events]

    async def until(self, number: int) -> None:
        async def numbers() -> list[int]:
            return self.numbers

        await eventually(numbers, lambda seen: number in seen)


async def talk(salon: Salon, *, turns: int = 6, close: bool = True) -> str:
    group = await salon.group("Ana", "Ben", manager={"manager_type": "round_robin", "max_turns": turns})
    return (await salon.client.conversations.create(group, "Shall we?", close_after_round=close)).id


async def last_of(salon: Salon, conversation: str) -> int:
    return len(await read_events(salon.client.scope.database, conversation))


async def say(salon: Salon, conversation: str, turn: int, words: str) -> None:
    told = {"conversation_id": conversation, "turn": turn, "attempt": 1, "offset": 0, "text": words}
    await salon.client.scope.database.rows(select(func.pg_notify(LIVE_CHANNEL, json.dumps(told))))


async def test_one_who_is_there_before_the_conversation_is_told_everything(
    salon: Salon, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation_events, "PAGE_SIZE", 3)
    group = await salon.group("Ana", "Ben", manager={"manager_type": "round_robin", "max_turns": 6})
    conversation = salon.name("to-come")
    reader = Reader(salon, listener, conversation)
    await asyncio.sleep(0.2)
    await salon.client.conversations.create(group, "Shall we?", id=conversation, close_after_round=True)
    await reader.end()
    assert reader.numbers == list(range(1, len(reader.numbers) + 1))
    assert reader.events[-1].data["phase"] == "closed"
    transcript = await salon.transcript(conversation)
    assert [one.data["text"] for one in reader.events if one.kind == "message"] == [one.text for one in transcript]


async def test_a_turn_is_told_in_the_order_in_which_it_happens(salon: Salon, listener: Listener) -> None:
    conversation = await talk(salon, turns=2)
    reader = Reader(salon, listener, conversation)
    await reader.end()
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


async def test_one_who_begins_anywhere_is_told_the_rest(
    salon: Salon, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = await talk(salon, turns=4)
    whole = Reader(salon, listener, conversation)
    await whole.end()
    monkeypatch.setattr(conversation_events, "PAGE_SIZE", 4)
    for after in range(len(whole.events)):
        rest = Reader(salon, listener, conversation, after)
        await rest.end()
        assert rest.events == whole.events[after:]


async def test_nothing_is_left_behind_the_end_and_no_place_beyond_it(salon: Salon, listener: Listener) -> None:
    conversation = await talk(salon, turns=1)
    reader = Reader(salon, listener, conversation)
    await reader.end()
    last = reader.numbers[-1]
    assert await has_more_events(salon.client.scope.database, conversation, last - 1)
    assert not await has_more_events(salon.client.scope.database, conversation, last)
    with pytest.raises(InvalidDefinition, match=f"no event {last + 1}"):
        await has_more_events(salon.client.scope.database, conversation, last + 1)
    late = Reader(salon, listener, conversation, last)
    await late.end()
    assert late.told == []


async def test_a_conversation_that_was_closed_before_its_events_were_kept_has_an_end_too(
    salon: Salon, listener: Listener
) -> None:
    conversation = await talk(salon, turns=1)
    await salon.until(conversation, lambda status: status.phase == "closed")
    database, last = salon.client.scope.database, await last_of(salon, conversation)
    await database.rows(
        events_table.delete().where(events_table.c.conversation_id == conversation, events_table.c.number == last)
    )
    await database.rows(update(conversations).where(conversations.c.id == conversation).values(last_event=last - 1))
    reader = Reader(salon, listener, conversation)
    await reader.end()
    assert reader.numbers == list(range(1, last))


async def test_words_of_a_turn_that_is_over_are_not_told(salon: Salon, listener: Listener) -> None:
    conversation = await talk(salon, turns=2, close=False)
    await salon.until_idle(conversation)
    last = await last_of(salon, conversation)
    readers = Reader(salon, listener, conversation), Reader(salon, listener, conversation, last)
    await readers[0].until(last)
    for turn in (1, 2, 3):
        await say(salon, conversation, turn, f"of turn {turn}")

    for reader in readers:

        async def words(reader: Reader = reader) -> list[str]:
            return [one.text for one in reader.told if isinstance(one, LiveDelta)]

        assert await eventually(words, lambda heard: "of turn 3" in heard) == ["of turn 3"]
        reader.task.cancel()


async def test_a_database_that_is_cut_off_is_told_of_once_and_nothing_is_missed(
    salon: Salon, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import OperationalError

    conversation = await talk(salon, turns=1, close=False)
    await salon.until_idle(conversation)
    reader = Reader(salon, listener, conversation)
    await reader.until(await last_of(salon, conversation))
    away = True

    async def read(*arguments: object, **options: object) -> list[ConversationEvent]:
        if away:
            raise OperationalError("", {}, Exception("gone"))
        return await read_events(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(conversation_events, "read_events", read)
    monkeypatch.setattr(conversation_events, "RETRY_SECONDS", 0.05)
    cut = text("select pg_terminate_backend(pid) from pg_stat_activity where query ~ '^LISTEN|^SELECT id, last'")
    await salon.client.scope.database.rows(cut)

    async def interruptions() -> int:
        return sum(isinstance(one, Interrupted) for one in reader.told)

    await eventually(interruptions, bool)
    await salon.client.conversations.handle(conversation).post("Still there?")
    await salon.until_idle(conversation, rounds=2)
    await asyncio.sleep(0.3)
    away = False
    await salon.client.conversations.handle(conversation).stop()
    await reader.end()
    assert reader.numbers == list(range(1, len(reader.numbers) + 1))
    assert await interruptions() == 1
