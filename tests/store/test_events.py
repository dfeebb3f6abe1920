"""The start of a turn is one row and two events."""

import asyncio
from typing import Any

from sqlalchemy import insert, update

from tertulia.store.database import Database
from tertulia.store.events import read_events
from tertulia.store.tables import conversations, events
from tertulia.store.turns import record_turn_start
from tests.store.harness import StoreHarness

STARTED: dict[str, Any] = {"turn": 1, "round": 1, "speaker_id": "a", "speaker": "Ana"}
CHOSEN: dict[str, Any] = {**STARTED, "chosen_by": "round_robin", "reason": "next in rotation"}


async def events_of(database: Database, harness: StoreHarness, **place: int) -> list[tuple[int, str, dict[str, Any]]]:
    return [(one.number, one.kind, one.data) for one in await read_events(database, harness.conversation_id, **place)]


async def test_begin_turn_is_idempotent(database: Database, harness: StoreHarness) -> None:
    before = len(await events_of(database, harness))
    here = harness.conversation_id
    await asyncio.gather(*(record_turn_start(database, here, 1, start_detail=CHOSEN) for _ in range(4)))
    both = [(before + 1, "speaker_chosen", CHOSEN), (before + 2, "turn_started", STARTED)]
    assert (await events_of(database, harness))[before:] == both


async def test_event_page_may_split_turn_start(database: Database, harness: StoreHarness) -> None:
    before = len(await events_of(database, harness))
    for turn in (1, 2):
        await record_turn_start(database, harness.conversation_id, turn, start_detail={**CHOSEN, "turn": turn})
    whole = await events_of(database, harness)
    for limit in (1, 2, 3):
        paged, after = whole[:before], before
        while page := await events_of(database, harness, after=after, limit=limit):
            assert len(page) <= limit
            paged, after = paged + page, page[-1][0]
        assert paged == whole


async def test_old_turn_start_rows_are_readable(database: Database, harness: StoreHarness) -> None:
    last = len(await events_of(database, harness))
    here = harness.conversation_id
    rows = [("speaker_chosen", CHOSEN), ("turn_started", STARTED)]
    values = [
        {"conversation_id": here, "number": number, "kind": kind, "subject": 1, "detail": detail}
        for number, (kind, detail) in enumerate(rows, start=last + 1)
    ]
    await database.rows(insert(events), values)
    await database.rows(update(conversations).where(conversations.c.id == here).values(last_event=last + 2))
    assert (await events_of(database, harness))[last:] == [(last + 1, *rows[0]), (last + 2, *rows[1])]
