"""A turn that was recorded as dropped accepts no message later; its model call is charged once."""

import asyncio

import pytest

from tertulia.core.events import TurnOutcome
from tertulia.store.turns import find_turn
from tertulia.testing import eventually
from tests.activities.harness import ActivityHarness


@pytest.mark.parametrize("outcome", ["discarded", "cancelled"])
async def test_dropped_turn_refuses_late_text(harness: ActivityHarness, outcome: TurnOutcome) -> None:
    await harness.model.set_behaviour(delay_ms=600)
    calls = [asyncio.create_task(harness.take_turn(1, "Ana", seq=1, attempt=number)) for number in (1, 2)]
    await eventually(harness.model.calls, lambda calls: calls.in_flight == 2)
    dropped = await harness.record_silent_turn(
        1, "Ana", seq=1, outcome=outcome, error="removed while it spoke", attempts=0
    )
    assert (dropped.outcome, dropped.usage.model_calls, dropped.seq) == (outcome, 0, 1)
    late = await asyncio.gather(*calls)
    assert [one.outcome for one in late] == [outcome] * 2
    assert [message.seq for message in await harness.messages()] == [1]
    turn = await find_turn(harness.database, harness.conversation, 1)
    assert turn is not None
    assert (turn.outcome, turn.error, turn.model_calls) == (outcome, "removed while it spoke", 1)
    assert turn.prompt_tokens == late[-1].usage.prompt_tokens > 0
    assert (await harness.take_turn(2, "Ben", seq=1)).outcome == "spoke"


async def test_dropping_committed_turn_changes_nothing(harness: ActivityHarness) -> None:
    spoken = await harness.take_turn(1, "Ana", seq=1)
    kept = await harness.record_silent_turn(
        1, "Ana", seq=1, outcome="discarded", error="removed while it spoke", attempts=0
    )
    assert (kept.outcome, kept.text_preview, kept.usage) == ("spoke", spoken.text_preview, spoken.usage)
    assert len(await harness.messages()) == 2


async def test_dropped_turn_retry_calls_no_model(harness: ActivityHarness) -> None:
    await harness.record_silent_turn(1, "Ana", seq=1, outcome="cancelled", error="removed while it spoke", attempts=0)
    before = (await harness.model.calls()).total
    assert (await harness.take_turn(1, "Ana", seq=1, attempt=2)).outcome == "cancelled"
    assert (await harness.model.calls()).total == before


async def test_concluding_speaker_gets_reason(harness: ActivityHarness) -> None:
    plain = await harness.take_turn(1, "Ana", seq=1)
    reason = "sums up: the conversation has used 12 tokens of 10"
    concluding = await harness.take_turn(2, "Ben", seq=2, conclude=reason)
    assert (plain.outcome, concluding.outcome) == ("spoke", "spoke")
    managing = harness.members["Host"]
    host = await harness.take_turn(3, "Host", seq=3, conclude=reason, chosen_by="conclusion")
    assert (host.outcome, (await harness.messages())[-1].sender) == ("spoke", managing.name)
