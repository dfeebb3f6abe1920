"""Law of the attempts: a model is asked so often, then the next one is; what failed is counted and paid for once."""

from typing import Any

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
from tests.activities.table import Table


def down(*models: str, kind: FaultKind = "server_error") -> list[Fault]:
    return [Fault(kind=kind, match=Match(model=model)) for model in models]


async def asked(table: Table) -> dict[str, int]:
    """How often each model was asked."""
    return (await table.model.calls()).by_model


async def turn_of(table: Table) -> FinishedTurn:
    found = await find_turn(table.database, table.conversation, 1)
    assert found is not None
    return found


async def test_the_next_model_is_asked_when_the_attempts_with_the_one_before_are_spent(table: Table) -> None:
    await table.models("Ana", "own", "spare", "last")
    await table.model.behave(*down("own", "spare"))
    result, errors = await table.insist_on_turn(1, "Ana", seq=1, model_attempts=2, use_fallbacks=True)
    assert await asked(table) == {"own": 2, "spare": 2, "last": 1}
    assert (result.outcome, result.fallback_index, result.usage.model_calls) == ("spoke", 2, 5)
    assert result.error.startswith("spare: the model's provider answered 500")
    assert [error.type for error in errors] == [ErrorType.MODEL_FAILED] * 4
    waits = [error.next_retry_delay for error in errors]
    assert [wait is not None and wait.total_seconds() < 0.1 for wait in waits] == [False, True, False, True]
    turn = await turn_of(table)
    assert (turn.outcome, turn.model, turn.fallback_index, turn.model_calls) == ("spoke", "last", 2, 5)
    assert turn.error == result.error


async def test_a_model_that_recovers_within_its_attempts_answers_itself(table: Table) -> None:
    await table.models("Ana", "own", "spare")
    await table.model.behave(Fault(kind="server_error", times=2, match=Match(model="own")))
    result, errors = await table.insist_on_turn(1, "Ana", seq=1, use_fallbacks=True)
    assert await asked(table) == {"own": 3}
    assert (result.outcome, result.fallback_index, result.usage.model_calls, len(errors)) == ("spoke", 0, 3, 2)


async def test_unusable_answers_are_paid_for(table: Table) -> None:
    """An empty one has its prompt charged; and each attempt sends the same prompt."""
    await table.models("Ana", "own", "spare")
    await table.model.behave(*down("own", kind="empty"))
    with pytest.raises(ApplicationError, match="said nothing"):
        await table.take_turn(1, "Ana", seq=1)
    once = RetryState.model_validate(table.beats[-1][0]).usage
    assert (once.prompt_tokens > 0, once.model_calls) == (True, 1)
    result, _ = await table.insist_on_turn(1, "Ana", seq=1, model_attempts=2, use_fallbacks=True)
    assert (result.usage.prompt_tokens, result.usage.model_calls) == (3 * once.prompt_tokens, 3)
    turn = await turn_of(table)
    assert (turn.prompt_tokens, turn.completion_tokens, turn.model_calls) == tuple(result.usage.model_dump().values())


async def test_a_request_that_is_refused_goes_to_the_next_model_at_once(table: Table) -> None:
    await table.models("Ana", "own", "spare")
    agent = await find_agent(table.database, DEFAULT_ORGANISATION, table.members["Ana"].name)
    refused = agent.model.model_copy(update={"extra": {"messages": "not a list"}})
    await save_agent(table.database, DEFAULT_ORGANISATION, agent.model_copy(update={"model": refused}))
    result, errors = await table.insist_on_turn(1, "Ana", seq=1, use_fallbacks=True)
    assert [(error.type, error.non_retryable) for error in errors] == [(ErrorType.MODEL_REFUSED, False)]
    assert (result.outcome, result.fallback_index, result.usage.model_calls) == ("spoke", 1, 2)
    assert result.error.startswith("own: the model's provider answered 4")


async def test_with_all_models_spent_the_turn_has_failed_and_is_committed_with_its_reason(table: Table) -> None:
    await table.models("Ana", "own", "spare")
    await table.model.behave(*down("own", "spare"))
    result, errors = await table.insist_on_turn(1, "Ana", seq=1, model_attempts=2, use_fallbacks=True)
    assert (result.outcome, result.seq, len(errors)) == ("failed", 1, 3)
    turn = await turn_of(table)
    assert (turn.outcome, turn.attempt, turn.model_calls) == ("failed", 4, 4)
    assert turn.error == result.error
    assert (turn.error or "").startswith("spare: ")
    calls = (await table.model.calls()).total
    again = await table.take_turn(1, "Ana", seq=1, attempt=9)
    assert again == result
    assert (await table.model.calls()).total == calls
    assert len(await table.messages()) == 1


async def test_without_the_step_no_fallback_is_asked(table: Table) -> None:
    await table.models("Ana", "own", "spare")
    await table.model.behave(*down("own"))
    result, _ = await table.insist_on_turn(1, "Ana", seq=1, use_fallbacks=False)
    assert result.outcome == "failed"
    assert await asked(table) == {"own": 3}


async def test_a_turn_can_begin_with_a_fallback_and_has_those_after_it(table: Table) -> None:
    await table.models("Ana", "own", "spare", "last")
    await table.model.behave(*down("spare"))
    result, _ = await table.insist_on_turn(
        1, "Ana", seq=1, model_attempts=1, use_fallbacks=True, first_fallback_index=1
    )
    assert (await asked(table), result.fallback_index) == ({"spare": 1, "last": 1}, 2)


async def test_a_fallback_that_is_defined_no_more_gives_way_to_the_last_one_there_is(table: Table) -> None:
    await table.models("Ana", "own")
    result = await table.take_turn(1, "Ana", seq=1, first_fallback_index=3, use_fallbacks=True)
    assert (await asked(table), result.outcome, result.fallback_index) == ({"own": 1}, "spoke", 0)


async def test_what_an_earlier_attempt_has_carried_goes_on(table: Table) -> None:
    await table.models("Ana", "own", "spare")
    left = RetryState(model=1, all_failures=3, usage=Usage(prompt_tokens=11, model_calls=3), trouble="own: 500")
    work = table.work(1, "Ana", 1, use_fallbacks=True)
    carried: list[Any] = [left.model_dump(mode="json")]
    result = await table.run(table.speaking.take_turn, work, attempt=4, carried=carried)
    assert await asked(table) == {"spare": 1}
    assert (result.fallback_index, result.error, result.usage.model_calls) == (1, "own: 500", 4)
    assert result.usage.prompt_tokens > 11


async def test_attempts_that_died_without_a_failure_of_the_model_do_not_count(table: Table) -> None:
    """A killed worker carries nothing: the ninth attempt has all of the model's."""
    work = table.work(1, "Ana", 1)
    for details in ([], ["of an older version"], [{"model": "nonsense"}]):
        await table.model.behave(Fault(kind="server_error", times=1))
        with pytest.raises(ApplicationError):
            await table.run(table.speaking.take_turn, work, attempt=9, carried=details)
        assert RetryState.model_validate(table.beats[-1][0]).failures == 1


async def test_a_managers_fallback_model_chooses_in_its_place(table: Table) -> None:
    await table.models("Host", "own", "spare")
    await table.model.behave(*down("own"))
    question = table.question(1, "Ana", "Ben", model_attempts=2, use_fallbacks=True)
    choice, errors = await table.insist(table.choosing.choose_speaker, question)
    assert await asked(table) == {"own": 2, "spare": 1}
    assert (choice.outcome, choice.fallback_index, choice.usage.model_calls, len(errors)) == ("chosen", 1, 3, 2)
    assert choice.error.startswith("own: the model's provider answered 500")
    kept = await find_selection(table.database, table.key(1))
    assert kept is not None
    assert (kept.fallback, kept.error, kept.model_calls) == (1, choice.error, 3)


async def test_a_manager_without_a_model_left_has_failed_and_that_is_kept(table: Table) -> None:
    await table.model.behave(Fault(kind="server_error"))
    choice, errors = await table.insist(table.choosing.choose_speaker, table.question(1, "Ana", "Ben"))
    assert (choice.outcome, choice.usage.model_calls, len(errors)) == ("failed", 3, 2)
    assert "500" in choice.reason
    kept = await find_selection(table.database, table.key(1))
    assert kept is not None
    assert (kept.outcome, kept.attempts) == ("failed", 3)
    await table.model.reset()
    assert await table.choose(1, "Ana", "Ben", attempt=2) == choice, "it stays so, whoever asks again"


async def test_two_managers_choices_for_one_turn_are_kept_apart(table: Table) -> None:
    await table.model.behave(Fault(kind="server_error"))
    failed, _ = await table.insist(table.choosing.choose_speaker, table.question(1, "Ana", "Ben"))
    await table.model.reset()
    deputy = table.members["Cleo"].agent_id
    chosen = await table.choose(1, "Ana", "Ben", manager_id=deputy)
    assert (failed.outcome, chosen.outcome) == ("failed", "chosen")
    assert await table.choose(1, "Ana", "Ben", manager_id=deputy, attempt=2) == chosen
