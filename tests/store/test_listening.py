"""Readers are woken at once, also for what a cut connection has missed, and none of them asks the database."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import func, select, text

from tertulia.core.ids import ConversationId
from tertulia.core.records import LiveDelta
from tertulia.store import notifications
from tertulia.store.conversations import Opening, open_conversation
from tertulia.store.database import Database
from tertulia.store.notifications import LIVE_CHANNEL, MAX_DELTAS, Listener, Subscription
from tertulia.store.tables import conversations
from tests.eventually import eventually
from tests.store.salon import Salon, opened, post, unique

_CUT = text("select pg_terminate_backend(pid) from pg_stat_activity where query ~ '^LISTEN|^SELECT id, last_event'")
SOON = 10


@pytest.fixture
async def listener(database: Database) -> AsyncIterator[Listener]:
    async with Listener(database) as running:
        await asyncio.wait_for(running.connected.wait(), SOON)
        yield running


async def woken(subscription: Subscription) -> None:
    await asyncio.wait_for(subscription.wait(), SOON)


async def last_event(salon: Salon) -> int:
    row = await salon.database.row(
        select(conversations.c.last_event).where(conversations.c.id == salon.conversation_id)
    )
    assert row is not None
    return int(row.last_event)


async def say(salon: Salon, turn: int, words: str, *, offset: int = 0, attempt: int = 1) -> None:
    """Let words be heard, as a worker does."""
    told = {"conversation_id": salon.conversation_id, "turn": turn, "attempt": attempt}
    payload = json.dumps({**told, "offset": offset, "text": words})
    await salon.database.rows(select(func.pg_notify(LIVE_CHANNEL, payload)))


async def test_a_subscriber_is_woken_by_each_event_and_told_how_far_they_go(listener: Listener, salon: Salon) -> None:
    with listener.subscribe(salon.conversation_id) as news:
        await salon.post(post("one"))
        await woken(news)
        assert news.newest == await last_event(salon)


async def test_an_error_that_nobody_foresaw_leaves_no_reader_asleep(
    database: Database, salon: Salon, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks, look = 0, Listener._sweep

    async def stumble(self: Listener, connection: psycopg.AsyncConnection[Any]) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise KeyError("somebody's words")
        await look(self, connection)

    monkeypatch.setattr(Listener, "_sweep", stumble)
    async with Listener(database) as listener:
        with listener.subscribe(salon.conversation_id) as news:
            await asyncio.wait_for(listener.connected.wait(), SOON)
            await salon.post(post("one"))
            await woken(news)
    assert "KeyError at " in caplog.text and "stumble" in caplog.text
    assert "somebody's words" not in caplog.text


async def test_several_events_wake_once_and_none_of_another_conversation_do(
    listener: Listener, database: Database, salon: Salon
) -> None:
    other = await opened(database)
    with listener.subscribe(salon.conversation_id) as news:
        await other.post(post("elsewhere"))
        for number in range(5):
            await salon.post(post(f"{number}"))

        async def newest() -> int:
            return news.newest

        last = await last_event(salon)
        await eventually(newest, lambda seen: seen == last)
        await woken(news)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(news.wait(), 0.2)


async def test_what_a_cut_connection_has_missed_wakes_as_well(
    database: Database, salon: Salon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "SWEEP_SECONDS", 3600)
    monkeypatch.setattr(notifications, "REST_AFTER_TROUBLE_SECONDS", 1)
    async with Listener(database) as listener:
        await asyncio.wait_for(listener.connected.wait(), SOON)
        with listener.subscribe(salon.conversation_id) as news:
            news.unsure = False
            await database.rows(_CUT)

            async def connected() -> bool:
                return listener.connected.is_set()

            await eventually(connected, lambda up: not up)
            assert news.unsure, "readers look for themselves"
            await salon.post(post("while nobody listened"))
            last = await last_event(salon)

            async def newest() -> int:
                return news.newest

            await eventually(newest, lambda seen: seen == last)
            assert listener.connected.is_set()


async def test_the_sweep_finds_an_event_that_nobody_was_told_of(
    database: Database, salon: Salon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "SWEEP_SECONDS", 0.2)
    async with Listener(database) as listener:
        await asyncio.wait_for(listener.connected.wait(), SOON)
        with listener.subscribe(salon.conversation_id) as news:
            await database.rows(
                conversations.update().where(conversations.c.id == salon.conversation_id).values(last_event=77)
            )
            await woken(news)
            assert news.newest == 77


async def test_words_are_heard_by_those_who_want_them(listener: Listener, salon: Salon) -> None:
    with (
        listener.subscribe(salon.conversation_id, deltas=True) as hearer,
        listener.subscribe(salon.conversation_id) as reader,
    ):
        await say(salon, 3, "Well, ")
        await say(salon, 3, "“yes”", offset=6)
        heard: list[LiveDelta] = []
        while len(heard) < 2:
            await woken(hearer)
            heard += hearer.take_deltas()
        assert [(delta.turn, delta.attempt, delta.offset, delta.text) for delta in heard] == [
            (3, 1, 0, "Well, "),
            (3, 1, 6, "“yes”"),
        ]
        assert reader.take_deltas() == []


async def test_words_wait_for_a_slow_reader_only_up_to_a_limit(listener: Listener, salon: Salon) -> None:
    with listener.subscribe(salon.conversation_id, deltas=True) as slow:
        for offset in range(MAX_DELTAS + 50):
            slow.say(LiveDelta(turn=1, attempt=1, offset=offset, text="x"))
        kept = slow.take_deltas()
        assert len(kept) == MAX_DELTAS
        assert kept[-1].offset == MAX_DELTAS + 49


async def test_nonsense_on_the_channels_disturbs_nobody(listener: Listener, salon: Salon) -> None:
    with listener.subscribe(salon.conversation_id, deltas=True) as news:
        for payload in ("", "{", "[]", "null", json.dumps({"conversation_id": salon.conversation_id, "turn": "x"})):
            await salon.database.rows(select(func.pg_notify(LIVE_CHANNEL, payload)))
            await salon.database.rows(select(func.pg_notify("tertulia_events", payload)))
        await say(salon, 1, "fine")
        await woken(news)
        assert [delta.text for delta in news.take_deltas()] == ["fine"]


async def is_marked(database: Database, conversation_id: str) -> bool:
    """Whether the database has it that words are wanted there."""
    wanted = func.coalesce(conversations.c.watched_until > func.now(), False)
    row = await database.row(select(wanted).where(conversations.c.id == conversation_id))
    return bool(row and row[0])


async def test_it_is_kept_that_words_are_wanted_while_somebody_wants_them(listener: Listener, salon: Salon) -> None:
    with listener.subscribe(salon.conversation_id):
        await asyncio.sleep(0.2)
        assert not await is_marked(salon.database, salon.conversation_id)
        with listener.subscribe(salon.conversation_id, deltas=True):
            await eventually(lambda: is_marked(salon.database, salon.conversation_id), bool)


async def test_a_conversation_that_is_not_there_yet_is_marked_as_soon_as_it_is(
    listener: Listener, salon: Salon
) -> None:
    coming = ConversationId(unique("c"))
    with listener.subscribe(coming, deltas=True):
        await asyncio.sleep(0.3)
        await open_conversation(salon.database, coming, Opening(group_id=salon.group.id, members=salon.roster.members))
        await eventually(lambda: is_marked(salon.database, coming), bool)
