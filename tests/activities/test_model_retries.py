"""Retries of model calls: attempts per model, fallback models, and failures that are counted and charged once."""

import pytest
from temporalio.exceptions import ApplicationError

from tertulia.activities.model_retries import RetryState
from tertulia.core.errors import ErrorType
from tertulia.core.ids import DEFAULT_ORGANISATION
from tertulia.core.records import FinishedTurn
from tertulia.core.usage import Usage
from tertulia.devstack.offline_model import Fault, FaultKind, Match
from tertulia.store.agents import find_agent, save_agent
from tertulia.store.selections import find_selection
from tertulia.store.turns import find_turn
from tests.activities.harness import ActivityHarness


def failing_models(*models: str, kind: FaultKind = "server_error") -> list[Fault]:
    return [Fault(kind=kind, match=Match(model=model)) for model in models]


async def calls_by_model(harness: ActivityHarness) -> dict[str, int]:
    """Return the number of calls of each model."""
    return (await harness.model.calls()).by_model


async def stored_turn(harness: ActivityHarness) -> FinishedTurn:
    found = await find_turn(harness.database, harness.conversation, 1)
    assert found is not None
    return found


async def test_next_model_after_attempts_are_exhausted(harness: ActivityHarness) -> None:
    await harness.set_models("Ana", "own", "spare", "last")
    await harness.model.set_behaviour(*failing_models("own", "spare"))
    result, errors = await harness.take_turn_until_result(1, "Ana", seq=1, model_attempts=2, use_fallbacks=True)
    assert await calls_by_model(harness) == {"own": 2, "spare": 2, "last": 1}
    assert (result.outcome, result.fallback_index, result.usage.model_calls) == ("spoke", 2, 5)
    assert result.error.startswith("spare: the model's provider answered 500")
    assert [error.type for error in errors] == [ErrorType.MODEL_FAILED] * 4
    waits = [error.next_retry_delay for error in errors]
    assert [wait is not None and wait.total_seconds() < 0.1 for wait in waits] == [False, True, False, True]
    turn = await stored_turn(harness)
    assert (turn.outcome, turn.model, turn.fallback_index, turn.model_calls) == ("spoke", "last", 2, 5)
    assert turn.error == result.error


async def test_recovered_model_keeps_the_turn(harness: ActivityHarness) -> None:
    await harness.set_models("Ana", "own", "spare")
    await harness.model.set_behaviour(Fault(kind="server_error", times=2, match=Match(model="own")))
    result, errors = await harness.take_turn_until_result(1, "Ana", seq=1, use_fallbacks=True)
    assert await calls_by_model(harness) == {"own": 3}
    assert (result.outcome, result.fallback_index, result.usage.model_calls, len(errors)) == ("spoke", 0, 3, 2)


async def test_unusable_answers_are_charged(harness: ActivityHarness) -> None:
    """An empty answer costs its prompt, and every attempt sends the same prompt."""
    await harness.set_models("Ana", "own", "spare")
    await harness.model.set_behaviour(*failing_models("own", kind="empty"))
    with pytest.raises(ApplicationError, match="empty answer"):
        await harness.take_turn(1, "Ana", seq=1)
    once = RetryState.model_validate(harness.heartbeats[-1][0]).usage
    assert (once.prompt_tokens > 0, once.model_calls) == (True, 1)
    result, _ = await harness.take_turn_until_result(1, "Ana", seq=1, model_attempts=2, use_fallbacks=True)
    assert (result.usage.prompt_tokens, result.usage.model_calls) == (3 * once.prompt_tokens, 3)
    turn = await stored_turn(harness)
    assert (turn.prompt_tokens, turn.completion_tokens, turn.model_calls) == tuple(result.usage.model_dump().values())


async def test_refused_request_moves_to_next_model(harness: ActivityHarness) -> None:
    await harness.set_models("Ana", "own", "spare")
    agent = await find_agent(harness.database, DEFAULT_ORGANISATION, harness.members["Ana"].name)
    refused = agent.model.model_copy(update={"extra": {"messages": "not a list"}})
    await save_agent(harness.database, DEFAULT_ORGANISATION, agent.model_copy(update={"model": refused}))
    result, errors = await harness.take_turn_until_result(1, "Ana", seq=1, use_fallbacks=True)
    assert [(error.type, error.non_retryable) for error in errors] == [(ErrorType.MODEL_REFUSED, False)]
    assert (result.outcome, result.fallback_index, result.usage.model_calls) == ("spoke", 1, 2)
    assert result.error.startswith("own: the model's provider answered 4")


async def test_turn_fails_when_all_models_failed(harness: ActivityHarness) -> None:
    await harness.set_models("Ana", "own", "spare")
    await harness.model.set_behaviour(*failing_models("own", "spare"))
    result, errors = await harness.take_turn_until_result(1, "Ana", seq=1, model_attempts=2, use_fallbacks=True)
    assert (result.outcome, result.seq, len(errors)) == ("failed", 1, 3)
    turn = await stored_turn(harness)
    assert (turn.outcome, turn.attempt, turn.model_calls) == ("failed", 4, 4)
    assert turn.error == result.error
    assert (turn.error or "").startswith("spare: ")
    calls = (await harness.model.calls()).total
    again = await harness.take_turn(1, "Ana", seq=1, attempt=9)
    assert again == result
    assert (await harness.model.calls()).total == calls
    assert len(await harness.messages()) == 1


async def test_fallback_models_are_off_without_step(harness: ActivityHarness) -> None:
    await harness.set_models("Ana", "own", "spare")
    await harness.model.set_behaviour(*failing_models("own"))
    result, _ = await harness.take_turn_until_result(1, "Ana", seq=1, use_fallbacks=False)
    assert result.outcome == "failed"
    assert await calls_by_model(harness) == {"own": 3}


async def test_turn_starts_at_given_fallback(harness: ActivityHarness) -> None:
    await harness.set_models("Ana", "own", "spare", "last")
    await harness.model.set_behaviour(*failing_models("spare"))
    result, _ = await harness.take_turn_until_result(
        1, "Ana", seq=1, model_attempts=1, use_fallbacks=True, first_fallback_index=1
    )
    assert (await calls_by_model(harness), result.fallback_index) == ({"spare": 1, "last": 1}, 2)


async def test_missing_fallback_uses_last_defined(harness: ActivityHarness) -> None:
    await harness.set_models("Ana", "own")
    result = await harness.take_turn(1, "Ana", seq=1, first_fallback_index=3, use_fallbacks=True)
    assert (await calls_by_model(harness), result.outcome, result.fallback_index) == ({"own": 1}, "spoke", 0)


async def test_retry_state_continues_from_heartbeat(harness: ActivityHarness) -> None:
    await harness.set_models("Ana", "own", "spare")
    left = RetryState(fallback_index=1, all_failures=3, usage=Usage(prompt_tokens=11, model_calls=3), error="own: 500")
    turn_input = harness.turn_input(1, "Ana", 1, use_fallbacks=True)
    left_details = left.model_dump(mode="json")
    assert (left_details["model"], left_details["trouble"]) == (1, "own: 500"), (
        "the names that the previous release reads"
    )
    result = await harness.run(
        harness.turn_activities.take_turn, turn_input, attempt=4, heartbeat_details=[left_details]
    )
    assert await calls_by_model(harness) == {"spare": 1}
    assert (result.fallback_index, result.error, result.usage.model_calls) == (1, "own: 500", 4)
    assert result.usage.prompt_tokens > 11


async def test_killed_attempts_do_not_count(harness: ActivityHarness) -> None:
    """Without heartbeat details, the ninth attempt is the model's first one."""
    turn_input = harness.turn_input(1, "Ana", 1)
    for details in ([], ["of an older version"], [{"model": "nonsense"}]):
        await harness.model.set_behaviour(Fault(kind="server_error", times=1))
        with pytest.raises(ApplicationError):
            await harness.run(harness.turn_activities.take_turn, turn_input, attempt=9, heartbeat_details=details)
        assert RetryState.model_validate(harness.heartbeats[-1][0]).failures == 1


async def test_manager_fallback_model_chooses(harness: ActivityHarness) -> None:
    await harness.set_models("Host", "own", "spare")
    await harness.model.set_behaviour(*failing_models("own"))
    choose_input = harness.choose_input(1, "Ana", "Ben", model_attempts=2, use_fallbacks=True)
    choice, errors = await harness.run_until_result(harness.selection_activities.choose_speaker, choose_input)
    assert await calls_by_model(harness) == {"own": 2, "spare": 1}
    assert (choice.outcome, choice.fallback_index, choice.usage.model_calls, len(errors)) == ("chosen", 1, 3, 2)
    assert choice.error.startswith("own: the model's provider answered 500")
    kept = await find_selection(harness.database, harness.key(1))
    assert kept is not None
    assert (kept.fallback, kept.error, kept.model_calls) == (1, choice.error, 3)


async def test_manager_without_models_is_stored_failed(harness: ActivityHarness) -> None:
    await harness.model.set_behaviour(Fault(kind="server_error"))
    choice, errors = await harness.run_until_result(
        harness.selection_activities.choose_speaker, harness.choose_input(1, "Ana", "Ben")
    )
    assert (choice.outcome, choice.usage.model_calls, len(errors)) == ("failed", 3, 2)
    assert "500" in choice.reason
    kept = await find_selection(harness.database, harness.key(1))
    assert kept is not None
    assert (kept.outcome, kept.attempts) == ("failed", 3)
    await harness.model.reset()
    assert await harness.choose(1, "Ana", "Ben", attempt=2) == choice, "the stored choice is final"


async def test_selections_are_stored_per_manager(harness: ActivityHarness) -> None:
    await harness.model.set_behaviour(Fault(kind="server_error"))
    failed, _ = await harness.run_until_result(
        harness.selection_activities.choose_speaker, harness.choose_input(1, "Ana", "Ben")
    )
    await harness.model.reset()
    deputy = harness.members["Cleo"].agent_id
    chosen = await harness.choose(1, "Ana", "Ben", manager_id=deputy)
    assert (failed.outcome, chosen.outcome) == ("failed", "chosen")
    assert await harness.choose(1, "Ana", "Ben", manager_id=deputy, attempt=2) == chosen
