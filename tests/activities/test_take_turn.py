"""A turn is committed once, whatever happens to its attempts."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.exceptions import ApplicationError

from tertulia.core.agents import ModelSettings
from tertulia.core.errors import ErrorType, NotFound
from tertulia.core.ids import DEFAULT_ORGANISATION, AgentId
from tertulia.core.roster import MemberRef
from tertulia.devstack.offline_model import Fault, FaultKind, Match
from tertulia.store.agents import find_agent, save_agent
from tertulia.store.turns import OutOfStep, find_turn
from tests.activities.harness import ActivityHarness


async def test_take_turn_commits_turn_record(harness: ActivityHarness) -> None:
    result = await harness.take_turn(1, "Ana", seq=1)
    message = (await harness.messages())[1]
    assert message.text.startswith(result.text_preview.rstrip("…")[:40])
    assert (result.outcome, result.seq) == ("spoke", 2)
    turn = await find_turn(harness.database, harness.conversation, 1)
    assert turn is not None
    assert (turn.speaker_id, turn.chosen_by, turn.reason) == (harness.members["Ana"].agent_id, "manager", "because")
    assert turn.prompt_tokens == result.usage.prompt_tokens > 0


async def test_take_turn_retry_returns_committed_turn(harness: ActivityHarness) -> None:
    first = await harness.take_turn(1, "Ana", seq=1)
    calls = (await harness.model.calls()).total
    again = await harness.take_turn(1, "Ana", seq=1, attempt=2)
    assert again.model_dump() == first.model_dump()
    assert (await harness.model.calls()).total == calls
    assert len(await harness.messages()) == 2


async def test_take_turn_parallel_attempts_commit_once(harness: ActivityHarness) -> None:
    await harness.model.set_behaviour(delay_ms=100)
    results = await asyncio.gather(*(harness.take_turn(1, "Ana", seq=1, attempt=number) for number in (1, 2, 3)))
    assert len({result.text_preview for result in results}) == 1
    assert len({result.attempt for result in results}) == 1
    assert len(await harness.messages()) == 2


async def test_take_turn_out_of_step_writes_nothing(harness: ActivityHarness) -> None:
    with pytest.raises(OutOfStep):
        await harness.take_turn(2, "Ana", seq=1)
    with pytest.raises(OutOfStep):
        await harness.take_turn(1, "Ana", seq=0)
    assert len(await harness.messages()) == 1


async def test_silent_turn_keeps_committed_text(harness: ActivityHarness) -> None:
    spoken = await harness.take_turn(1, "Ana", seq=1)
    kept = await harness.record_silent_turn(1, "Ana", seq=1)
    assert (kept.outcome, kept.seq) == ("spoke", 2)
    assert kept.usage == spoken.usage
    failed = await harness.record_silent_turn(2, "Ben", seq=2)
    assert (failed.outcome, failed.text_preview, failed.seq) == ("failed", "(no answer)", 2)


async def test_take_turn_reports_termination_token(harness: ActivityHarness) -> None:
    result = await harness.take_turn(1, "Ana", seq=1, tokens=("DONE!", "the"))
    assert result.tokens_found == ("the",)


async def test_take_turn_preview_is_bounded(harness: ActivityHarness) -> None:
    assert len((await harness.take_turn(1, "Ana", seq=1, preview_chars=12)).text_preview) <= 12
    assert (await harness.take_turn(2, "Ben", seq=2, preview_chars=0)).text_preview == ""


@pytest.mark.parametrize("kind", ["rate_limit", "server_error", "garbage", "empty", "disconnect"])
async def test_take_turn_retries_model_failures(harness: ActivityHarness, kind: FaultKind) -> None:
    await harness.model.set_behaviour(Fault(kind=kind, retry_after_s=3))
    result, errors = await harness.take_turn_until_result(1, "Ana", seq=1)
    assert [(error.type, error.non_retryable) for error in errors] == [(ErrorType.MODEL_FAILED, False)] * 2
    assert all(0 < len(error.message) <= 500 for error in errors)
    assert (result.outcome, result.seq, result.attempt) == ("failed", 1, 3)
    assert len(await harness.messages()) == 1
    turn = await find_turn(harness.database, harness.conversation, 1)
    assert turn is not None
    assert (turn.outcome, turn.error, turn.attempt) == ("failed", errors[-1].message, 3)
    assert result.text_preview == f"({turn.error})"
    assert turn.model_calls == result.usage.model_calls == 3


async def test_take_turn_waits_for_retry_after(harness: ActivityHarness) -> None:
    await harness.model.set_behaviour(Fault(kind="rate_limit", retry_after_s=7))
    with pytest.raises(ApplicationError) as error:
        await harness.take_turn(1, "Ana", seq=1)
    assert error.value.next_retry_delay == timedelta(seconds=7)


async def test_take_turn_refused_request_is_not_retried(harness: ActivityHarness) -> None:
    agent = await find_agent(harness.database, DEFAULT_ORGANISATION, harness.members["Ana"].name)
    nonsense = ModelSettings(extra={"messages": "not a list"})
    await save_agent(harness.database, DEFAULT_ORGANISATION, agent.model_copy(update={"model": nonsense}))
    result = await harness.take_turn(1, "Ana", seq=1)
    assert (result.outcome, result.usage.model_calls) == ("failed", 1)
    assert "the model's provider answered 4" in result.error


async def test_take_turn_times_out_on_hanging_model(harness: ActivityHarness) -> None:
    await harness.model.set_behaviour(Fault(kind="hang"))
    with pytest.raises(ApplicationError, match="did not answer in time"):
        await harness.take_turn(1, "Ana", seq=1, timeout_seconds=0.3)


async def test_take_turn_cuts_long_text(harness: ActivityHarness) -> None:
    await harness.model.set_behaviour(Fault(kind="oversize", size=500_000))
    result = await harness.take_turn(1, "Ana", seq=1, max_message_chars=300)
    assert len((await harness.messages())[1].text) == 300
    assert len(result.text_preview) <= 500


async def test_take_turn_names_missing_agent(harness: ActivityHarness) -> None:
    gone = MemberRef(agent_id=AgentId("agent-gone"), name="Gone")
    with pytest.raises(NotFound, match="agent-gone"):
        await harness.take_turn(1, "Ana", seq=1, speaker=gone)


async def test_take_turn_faults_are_per_speaker(harness: ActivityHarness) -> None:
    await harness.model.set_behaviour(Fault(kind="server_error", match=Match(speaker=harness.members["Ana"].name)))
    assert (await harness.take_turn(1, "Ben", seq=1)).outcome == "spoke"
