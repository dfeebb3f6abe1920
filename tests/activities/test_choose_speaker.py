"""The manager's choice: a forced tool call, validated, returned to the manager if invalid, committed once."""

import pytest
from temporalio.exceptions import ApplicationError

from tertulia.core.errors import ErrorType
from tertulia.devstack.offline_model import Fault, Match
from tertulia.store.selections import find_selection
from tests.activities.harness import ActivityHarness

BAD = Match(tool="choose_next_participant")


async def test_choose_speaker_stores_choice_and_reason(harness: ActivityHarness) -> None:
    choice = await harness.choose(1, "Ana", "Ben")
    assert choice.outcome == "chosen"
    assert choice.speaker in {harness.members["Ana"].name, harness.members["Ben"].name}
    assert choice.reason
    kept = await find_selection(harness.database, harness.key(1))
    assert kept is not None
    assert (kept.agent_id, kept.reason, kept.attempts) == (choice.agent_id, choice.reason, 1)


async def test_choose_speaker_retry_calls_no_model(harness: ActivityHarness) -> None:
    first = await harness.choose(1, "Ana", "Ben", "Cleo")
    calls = (await harness.model.calls()).total
    assert await harness.choose(1, "Ana", "Ben", "Cleo", attempt=2) == first
    assert (await harness.model.calls()).total == calls


async def test_choose_speaker_feeds_back_bad_choice(harness: ActivityHarness) -> None:
    await harness.model.set_behaviour(Fault(kind="bad_choice", times=2, match=BAD))
    choice = await harness.choose(1, "Ana", "Ben")
    assert (choice.outcome, choice.usage.model_calls) == ("chosen", 3)


async def test_choose_speaker_fails_after_bad_answers(harness: ActivityHarness) -> None:
    await harness.model.set_behaviour(Fault(kind="bad_choice", match=BAD))
    choice = await harness.choose(1, "Ana", "Ben")
    assert (choice.outcome, choice.agent_id, choice.usage.model_calls) == ("failed", None, 3)
    assert "cannot be chosen" in choice.reason


async def test_choose_speaker_rejects_missing_tool_call(harness: ActivityHarness) -> None:
    await harness.model.set_behaviour(Fault(kind="empty"))
    assert (await harness.choose(1, "Ana", "Ben", max_selection_attempts=1)).outcome == "failed"


async def test_choose_speaker_retries_model_failure(harness: ActivityHarness) -> None:
    await harness.model.set_behaviour(Fault(kind="server_error"))
    with pytest.raises(ApplicationError) as error:
        await harness.choose(1, "Ana", "Ben")
    assert (error.value.type, error.value.non_retryable) == (ErrorType.MODEL_FAILED, False)
    assert await find_selection(harness.database, harness.key(1)) is None
