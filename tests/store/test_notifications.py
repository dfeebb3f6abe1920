"""Readers are woken at once, also for events that a cut connection lost, without polling."""

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
from tertulia.store.conversations import ConversationOpening, open_conversation
from tertulia.store.database import Database
from tertulia.store.notifications import LIVE_CHANNEL, MAX_DELTAS, Listener, Subscription
from tertulia.store.tables import conversations
from tertulia.testing import eventually
from tests.store.harness import StoreHarness, open_store_harness, post, unique_id

_CUT = text("select pg_terminate_backend(pid) from pg_stat_activity where query ~ '^LISTEN|^SELECT id, last_event'")
TIMEOUT_SECONDS = 10


@pytest.fixture
async def listener(database: Database) -> AsyncIterator[Listener]:
    async with Listener(database) as running:
        await asyncio.wait_for(running.connected.wait(), TIMEOUT_SECONDS)
        yield running


async def wait_for_wake(subscription: Subscription) -> None:
    await asyncio.wait_for(subscription.wait(), TIMEOUT_SECONDS)


async def last_event(harness: StoreHarness) -> int:
    row = await harness.database.row(
        select(conversations.c.last_event).where(conversations.c.id == harness.conversation_id)
    )
    assert row is not None
    return int(row.last_event)


async def say(harness: StoreHarness, turn: int, words: str, *, offset: int = 0, attempt: int = 1) -> None:
    """Publish live text as a worker does."""
    told = {"conversation_id": harness.conversation_id, "turn": turn, "attempt": attempt}
    payload = json.dumps({**told, "offset": offset, "text": words})
    await harness.database.rows(select(func.pg_notify(LIVE_CHANNEL, payload)))


async def test_subscriber_wakes_with_newest_event(listener: Listener, harness: StoreHarness) -> None:
    with listener.subscribe(harness.conversation_id) as subscription:
        await harness.post(post("one"))
        await wait_for_wake(subscription)
        assert subscription.newest == await last_event(harness)


async def test_unexpected_error_still_wakes_readers(
    database: Database, harness: StoreHarness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sweeps, sweep = 0, Listener._sweep

    async def failing_sweep(self: Listener, connection: psycopg.AsyncConnection[Any]) -> None:
        nonlocal sweeps
        sweeps += 1
        if sweeps == 1:
            raise KeyError("somebody's words")
        await sweep(self, connection)

    monkeypatch.setattr(Listener, "_sweep", failing_sweep)
    async with Listener(database) as listener:
        with listener.subscribe(harness.conversation_id) as subscription:
            await asyncio.wait_for(listener.connected.wait(), TIMEOUT_SECONDS)
            await harness.post(post("one"))
            await wait_for_wake(subscription)
    assert "KeyError at " in caplog.text and "failing_sweep" in caplog.text
    assert "somebody's words" not in caplog.text


async def test_events_coalesce_per_conversation(listener: Listener, database: Database, harness: StoreHarness) -> None:
    other = await open_store_harness(database)
    with listener.subscribe(harness.conversation_id) as subscription:
        await other.post(post("elsewhere"))
        for number in range(5):
            await harness.post(post(f"{number}"))

        async def newest() -> int:
            return subscription.newest

        last = await last_event(harness)
        await eventually(newest, lambda seen: seen == last)
        await wait_for_wake(subscription)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(subscription.wait(), 0.2)


async def test_missed_events_wake_after_reconnect(
    database: Database, harness: StoreHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "SWEEP_SECONDS", 3600)
    monkeypatch.setattr(notifications, "RECONNECT_SECONDS", 1)
    async with Listener(database) as listener:
        await asyncio.wait_for(listener.connected.wait(), TIMEOUT_SECONDS)
        with listener.subscribe(harness.conversation_id) as subscription:
            subscription.unsure = False
            await database.rows(_CUT)

            async def connected() -> bool:
                return listener.connected.is_set()

            await eventually(connected, lambda up: not up)
            assert subscription.unsure, "readers look for themselves"
            await harness.post(post("while nobody listened"))
            last = await last_event(harness)

            async def newest() -> int:
                return subscription.newest

            await eventually(newest, lambda seen: seen == last)
            assert listener.connected.is_set()


async def test_sweep_finds_unannounced_event(
    database: Database, harness: StoreHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "SWEEP_SECONDS", 0.2)
    async with Listener(database) as listener:
        await asyncio.wait_for(listener.connected.wait(), TIMEOUT_SECONDS)
        with listener.subscribe(harness.conversation_id) as subscription:
            await database.rows(
                conversations.update().where(conversations.c.id == harness.conversation_id).values(last_event=77)
            )
            await wait_for_wake(subscription)
            assert subscription.newest == 77


async def test_deltas_reach_only_subscribers_to_deltas(listener: Listener, harness: StoreHarness) -> None:
    with (
        listener.subscribe(harness.conversation_id, deltas=True) as hearer,
        listener.subscribe(harness.conversation_id) as reader,
    ):
        await say(harness, 3, "Well, ")
        await say(harness, 3, "“yes”", offset=6)
        heard: list[LiveDelta] = []
        while len(heard) < 2:
            await wait_for_wake(hearer)
            heard += hearer.take_deltas()
        assert [(delta.turn, delta.attempt, delta.offset, delta.text) for delta in heard] == [
            (3, 1, 0, "Well, "),
            (3, 1, 6, "“yes”"),
        ]
        assert reader.take_deltas() == []


async def test_delta_backlog_is_bounded(listener: Listener, harness: StoreHarness) -> None:
    with listener.subscribe(harness.conversation_id, deltas=True) as slow:
        for offset in range(MAX_DELTAS + 50):
            slow.push_delta(LiveDelta(turn=1, attempt=1, offset=offset, text="x"))
        kept = slow.take_deltas()
        assert len(kept) == MAX_DELTAS
        assert kept[-1].offset == MAX_DELTAS + 49


async def test_invalid_notifications_are_ignored(listener: Listener, harness: StoreHarness) -> None:
    with listener.subscribe(harness.conversation_id, deltas=True) as subscription:
        for payload in ("", "{", "[]", "null", json.dumps({"conversation_id": harness.conversation_id, "turn": "x"})):
            await harness.database.rows(select(func.pg_notify(LIVE_CHANNEL, payload)))
            await harness.database.rows(select(func.pg_notify("tertulia_events", payload)))
        await say(harness, 1, "fine")
        await wait_for_wake(subscription)
        assert [delta.text for delta in subscription.take_deltas()] == ["fine"]


async def is_marked(database: Database, conversation_id: str) -> bool:
    """Return whether the database records the wish for live text."""
    wanted = func.coalesce(conversations.c.watched_until > func.now(), False)
    row = await database.row(select(wanted).where(conversations.c.id == conversation_id))
    return bool(row and row[0])


async def test_watched_mark_follows_delta_subscribers(listener: Listener, harness: StoreHarness) -> None:
    with listener.subscribe(harness.conversation_id):
        await asyncio.sleep(0.2)
        assert not await is_marked(harness.database, harness.conversation_id)
        with listener.subscribe(harness.conversation_id, deltas=True):
            await eventually(lambda: is_marked(harness.database, harness.conversation_id), bool)


async def test_watched_mark_for_later_conversation(listener: Listener, harness: StoreHarness) -> None:
    coming = ConversationId(unique_id("c"))
    with listener.subscribe(coming, deltas=True):
        await asyncio.sleep(0.3)
        await open_conversation(
            harness.database, coming, ConversationOpening(group_id=harness.group.id, members=harness.roster.members)
        )
        await eventually(lambda: is_marked(harness.database, coming), bool)
