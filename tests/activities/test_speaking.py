"""A turn is taken once, whatever happens to those who take it."""

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
from tests.activities.table import Table


async def test_a_turn_is_committed_with_its_record(table: Table) -> None:
    result = await table.take_turn(1, "Ana", seq=1)
    message = (await table.messages())[1]
    assert message.text.startswith(result.text_preview.rstrip("…")[:40])
    assert (result.outcome, result.seq) == ("spoke", 2)
    turn = await find_turn(table.database, table.conversation, 1)
    assert turn is not None
    assert (turn.speaker_id, turn.chosen_by, turn.reason) == (table.members["Ana"].agent_id, "manager", "because")
    assert turn.prompt_tokens == result.usage.prompt_tokens > 0


async def test_a_retried_turn_that_is_committed_returns_it_and_calls_no_model(table: Table) -> None:
    first = await table.take_turn(1, "Ana", seq=1)
    calls = (await table.model.calls()).total
    again = await table.take_turn(1, "Ana", seq=1, attempt=2)
    assert again.model_dump() == first.model_dump()
    assert (await table.model.calls()).total == calls
    assert len(await table.messages()) == 2


async def test_two_attempts_at_once_commit_one_turn_and_report_the_same(table: Table) -> None:
    await table.model.behave(delay_ms=100)
    results = await asyncio.gather(*(table.take_turn(1, "Ana", seq=1, attempt=number) for number in (1, 2, 3)))
    assert len({result.text_preview for result in results}) == 1
    assert len({result.attempt for result in results}) == 1
    assert len(await table.messages()) == 2


async def test_a_turn_out_of_step_is_refused_and_writes_nothing(table: Table) -> None:
    with pytest.raises(OutOfStep):
        await table.take_turn(2, "Ana", seq=1)
    with pytest.raises(OutOfStep):
        await table.take_turn(1, "Ana", seq=0)
    assert len(await table.messages()) == 1


async def test_a_turn_recorded_as_failed_keeps_what_was_said_after_all(table: Table) -> None:
    spoken = await table.take_turn(1, "Ana", seq=1)
    kept = await table.silence(1, "Ana", seq=1)
    assert (kept.outcome, kept.seq) == ("spoke", 2)
    assert kept.usage == spoken.usage
    failed = await table.silence(2, "Ben", seq=2)
    assert (failed.outcome, failed.text_preview, failed.seq) == ("failed", "(no answer)", 2)


async def test_the_termination_token_is_noticed(table: Table) -> None:
    result = await table.take_turn(1, "Ana", seq=1, tokens=("DONE!", "the"))
    assert result.tokens_found == ("the",)


async def test_the_preview_is_bounded_and_can_be_off(table: Table) -> None:
    assert len((await table.take_turn(1, "Ana", seq=1, preview_chars=12)).text_preview) <= 12
    assert (await table.take_turn(2, "Ben", seq=2, preview_chars=0)).text_preview == ""


@pytest.mark.parametrize("kind", ["rate_limit", "server_error", "garbage", "empty", "disconnect"])
async def test_a_models_failure_is_retried_until_the_attempts_are_spent(table: Table, kind: FaultKind) -> None:
    await table.model.behave(Fault(kind=kind, retry_after_s=3))
    result, errors = await table.insist_on_turn(1, "Ana", seq=1)
    assert [(error.type, error.non_retryable) for error in errors] == [(ErrorType.MODEL_FAILED, False)] * 2
    assert all(0 < len(error.message) <= 500 for error in errors)
    assert (result.outcome, result.seq, result.attempt) == ("failed", 1, 3)
    assert len(await table.messages()) == 1
    turn = await find_turn(table.database, table.conversation, 1)
    assert turn is not None
    assert (turn.outcome, turn.error, turn.attempt) == ("failed", errors[-1].message, 3)
    assert result.text_preview == f"({turn.error})"
    assert turn.model_calls == result.usage.model_calls == 3


async def test_a_rate_limits_retry_after_is_the_next_delay(table: Table) -> None:
    await table.model.behave(Fault(kind="rate_limit", retry_after_s=7))
    with pytest.raises(ApplicationError) as error:
        await table.take_turn(1, "Ana", seq=1)
    assert error.value.next_retry_delay == timedelta(seconds=7)


async def test_a_request_that_the_provider_refuses_is_not_tried_again(table: Table) -> None:
    agent = await find_agent(table.database, DEFAULT_ORGANISATION, table.members["Ana"].name)
    nonsense = ModelSettings(extra={"messages": "not a list"})
    await save_agent(table.database, DEFAULT_ORGANISATION, agent.model_copy(update={"model": nonsense}))
    result = await table.take_turn(1, "Ana", seq=1)
    assert (result.outcome, result.usage.model_calls) == ("failed", 1)
    assert "the model's provider answered 4" in result.error


async def test_a_hanging_model_is_given_up_in_time(table: Table) -> None:
    await table.model.behave(Fault(kind="hang"))
    with pytest.raises(ApplicationError, match="did not answer in time"):
        await table.take_turn(1, "Ana", seq=1, timeout_seconds=0.3)


async def test_a_speech_longer_than_the_limit_is_cut(table: Table) -> None:
    await table.model.behave(Fault(kind="oversize", size=500_000))
    result = await table.take_turn(1, "Ana", seq=1, max_message_chars=300)
    assert len((await table.messages())[1].text) == 300
    assert len(result.text_preview) <= 500


async def test_an_agent_that_is_gone_is_named(table: Table) -> None:
    gone = MemberRef(agent_id=AgentId("agent-gone"), name="Gone")
    with pytest.raises(NotFound, match="agent-gone"):
        await table.take_turn(1, "Ana", seq=1, speaker=gone)


async def test_a_fault_of_one_speaker_is_not_another_ones(table: Table) -> None:
    await table.model.behave(Fault(kind="server_error", match=Match(speaker=table.members["Ana"].name)))
    assert (await table.take_turn(1, "Ben", seq=1)).outcome == "spoke"
