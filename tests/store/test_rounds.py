"""Invariant: each change of a round or phase is stored and reported once, however often it is written."""

import asyncio
from datetime import UTC, datetime

from tertulia.core.phases import PhaseChange
from tertulia.store.events import read_events
from tertulia.store.rounds import RoundRecord, announce_phase, close_round, read_message_outcome
from tertulia.store.transcript import record_posts
from tests.store.harness import StoreHarness, post

BEGINS = PhaseChange(number=1, phase="executing", round=1)
ENDS = PhaseChange(number=2, phase="ready", round=1, reason="max_turns", explanation="enough")
HELD = PhaseChange(number=3, phase="paused", round=1, reason="lunch")
RECORD = RoundRecord(
    round=1, turns=0, seq=1, stop_reason="max_turns", explanation="enough", started_at=datetime(2026, 1, 1, tzinfo=UTC)
)


async def test_round_start_and_end_are_idempotent(harness: StoreHarness) -> None:
    database, here = harness.database, harness.conversation_id
    for _ in range(2):
        begun = (record_posts(database, here, [post("a", "one")], round=1, begins=BEGINS) for _ in range(4))
        assert await asyncio.gather(*begun) == [1] * 4
    for _ in range(2):
        await asyncio.gather(*(close_round(database, here, RECORD, ENDS) for _ in range(4)))
        await asyncio.gather(*(announce_phase(database, here, HELD) for _ in range(4)))
    # An attempt that comes late changes nothing any more.
    assert await record_posts(database, here, [post("a", "one")], round=1, begins=BEGINS) == 1
    await close_round(database, here, RECORD, ENDS)
    told = [(event.number, event.kind, event.data.get("phase")) for event in await read_events(database, here)]
    assert told == [(1, "phase", "executing"), (2, "message", None), (3, "phase", "ready"), (4, "phase", "paused")]
    outcome = await read_message_outcome(database, here, "one")
    assert outcome.phase == "paused"
    assert outcome.finished is not None and outcome.finished.stop_reason == "max_turns"
