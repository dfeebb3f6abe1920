"""The manager's choice: forced, checked, fed back, and made once."""

import pytest
from temporalio.exceptions import ApplicationError

from tertulia.core.errors import ErrorType
from tertulia.devstack.offline_model import Fault, Match
from tertulia.store.selections import find_selection
from tests.activities.table import Table

BAD = Match(tool="choose_next_participant")


async def test_a_choice_has_a_reason_and_is_kept(table: Table) -> None:
    choice = await table.choose(1, "Ana", "Ben")
    assert choice.outcome == "chosen"
    assert choice.speaker in {table.members["Ana"].name, table.members["Ben"].name}
    assert choice.reason
    kept = await find_selection(table.database, table.key(1))
    assert kept is not None
    assert (kept.agent_id, kept.reason, kept.attempts) == (choice.agent_id, choice.reason, 1)


async def test_a_retried_choice_that_is_kept_asks_no_model(table: Table) -> None:
    first = await table.choose(1, "Ana", "Ben", "Cleo")
    calls = (await table.model.calls()).total
    assert await table.choose(1, "Ana", "Ben", "Cleo", attempt=2) == first
    assert (await table.model.calls()).total == calls


async def test_someone_who_cannot_be_chosen_is_fed_back(table: Table) -> None:
    await table.model.behave(Fault(kind="bad_choice", times=2, match=BAD))
    choice = await table.choose(1, "Ana", "Ben")
    assert (choice.outcome, choice.usage.model_calls) == ("chosen", 3)


async def test_after_the_last_bad_answer_the_choice_has_failed_with_its_reason(table: Table) -> None:
    await table.model.behave(Fault(kind="bad_choice", match=BAD))
    choice = await table.choose(1, "Ana", "Ben")
    assert (choice.outcome, choice.agent_id, choice.usage.model_calls) == ("failed", None, 3)
    assert "cannot be chosen" in choice.reason


async def test_an_answer_without_a_tool_call_is_a_bad_answer(table: Table) -> None:
    await table.model.behave(Fault(kind="empty"))
    assert (await table.choose(1, "Ana", "Ben", max_selection_attempts=1)).outcome == "failed"


async def test_a_manager_whose_model_fails_is_retried_by_temporal(table: Table) -> None:
    await table.model.behave(Fault(kind="server_error"))
    with pytest.raises(ApplicationError) as error:
        await table.choose(1, "Ana", "Ben")
    assert (error.value.type, error.value.non_retryable) == (ErrorType.MODEL_FAILED, False)
    assert await find_selection(table.database, table.key(1)) is None
