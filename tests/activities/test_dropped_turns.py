"""Law of the removed speaker: once its turn is recorded as dropped, no words of it enter; its call is charged once."""

import asyncio

import pytest

from tertulia.core.events import TurnOutcome
from tertulia.store.turns import find_turn
from tests.activities.table import Table
from tests.eventually import eventually


@pytest.mark.parametrize("outcome", ["discarded", "cancelled"])
async def test_words_that_come_after_the_drop_are_refused_and_charged_once(table: Table, outcome: TurnOutcome) -> None:
    await table.model.behave(delay_ms=600)
    calls = [asyncio.create_task(table.take_turn(1, "Ana", seq=1, attempt=number)) for number in (1, 2)]
    await eventually(table.model.calls, lambda calls: calls.in_flight == 2)
    dropped = await table.silence(1, "Ana", seq=1, outcome=outcome, error="removed while it spoke", attempts=0)
    assert (dropped.outcome, dropped.usage.model_calls, dropped.seq) == (outcome, 0, 1)
    late = await asyncio.gather(*calls)
    assert [one.outcome for one in late] == [outcome] * 2
    assert [message.seq for message in await table.messages()] == [1]
    turn = await find_turn(table.database, table.conversation, 1)
    assert turn is not None
    assert (turn.outcome, turn.error, turn.model_calls) == (outcome, "removed while it spoke", 1)
    assert turn.prompt_tokens == late[-1].usage.prompt_tokens > 0
    assert (await table.take_turn(2, "Ben", seq=1)).outcome == "spoke"


async def test_a_drop_that_comes_after_the_words_changes_nothing(table: Table) -> None:
    spoken = await table.take_turn(1, "Ana", seq=1)
    kept = await table.silence(1, "Ana", seq=1, outcome="discarded", error="removed while it spoke", attempts=0)
    assert (kept.outcome, kept.text_preview, kept.usage) == ("spoke", spoken.text_preview, spoken.usage)
    assert len(await table.messages()) == 2


async def test_a_dropped_turn_asks_no_model_when_it_is_tried_again(table: Table) -> None:
    await table.silence(1, "Ana", seq=1, outcome="cancelled", error="removed while it spoke", attempts=0)
    before = (await table.model.calls()).total
    assert (await table.take_turn(1, "Ana", seq=1, attempt=2)).outcome == "cancelled"
    assert (await table.model.calls()).total == before


async def test_the_last_speaker_is_told_that_it_concludes_and_why(table: Table) -> None:
    plain = await table.take_turn(1, "Ana", seq=1)
    reason = "sums up: the conversation has used 12 tokens of 10"
    concluding = await table.take_turn(2, "Ben", seq=2, conclude=reason)
    assert (plain.outcome, concluding.outcome) == ("spoke", "spoke")
    managing = table.members["Host"]
    host = await table.take_turn(3, "Host", seq=3, conclude=reason, chosen_by="conclusion")
    assert (host.outcome, (await table.messages())[-1].sender) == ("spoke", managing.name)
