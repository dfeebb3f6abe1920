"""Every answer of a model gives a message, possibly with a note, or a counted failure."""

import pytest

from tertulia.core.agents import ModelSettings
from tertulia.core.errors import ErrorType
from tertulia.core.ids import DEFAULT_ORGANISATION
from tertulia.core.records import FinishedTurn
from tertulia.devstack.offline_model import Fault
from tertulia.store.agents import find_agent, save_agent
from tertulia.store.notifications import mark_watched
from tertulia.store.turns import find_turn
from tests.activities.harness import ActivityHarness


@pytest.fixture(params=[False, True], ids=["in one piece", "streamed"])
async def harness(request: pytest.FixtureRequest, harness: ActivityHarness) -> ActivityHarness:
    """Run each test with and without a watcher: the result must be the same."""
    if request.param:
        assert await mark_watched(harness.database, [harness.conversation])
    return harness


async def stored_turn(harness: ActivityHarness, turn: int = 1) -> FinishedTurn:
    found = await find_turn(harness.database, harness.conversation, turn)
    assert found is not None
    return found


async def test_truncated_answer_is_kept_with_note(harness: ActivityHarness) -> None:
    await harness.model.set_behaviour(Fault(kind="truncated"))
    result = await harness.take_turn(1, "Ana", seq=1)
    assert result.outcome == "spoke"
    assert (await harness.messages())[1].text
    assert "length limit" in result.error
    assert (await stored_turn(harness)).error == result.error


async def test_invalid_utf8_is_replaced(harness: ActivityHarness) -> None:
    await harness.model.set_behaviour(Fault(kind="bad_unicode"))
    result = await harness.take_turn(1, "Ana", seq=1)
    text = (await harness.messages())[1].text
    assert result.outcome == "spoke"
    assert "\ufffd" in text
    assert len(text.replace("\ufffd", "")) > 20


async def test_long_answer_is_cut_with_note(harness: ActivityHarness) -> None:
    await harness.model.set_behaviour(Fault(kind="oversize", size=500_000))
    result = await harness.take_turn(1, "Ana", seq=1, max_message_chars=300)
    assert len((await harness.messages())[1].text) == 300
    assert "max_message_chars" in result.error


async def test_oversize_response_is_not_read_to_end(harness: ActivityHarness) -> None:
    await harness.model.set_behaviour(Fault(kind="oversize", size=40 * 2**20))
    result, errors = await harness.take_turn_until_result(1, "Ana", seq=1)
    assert result.outcome == "failed"
    assert all("bytes" in error.message and len(error.message) < 500 for error in errors)


async def test_filtered_answer_is_not_retried(harness: ActivityHarness) -> None:
    await harness.model.set_behaviour(Fault(kind="content_filter"))
    result = await harness.take_turn(1, "Ana", seq=1)
    assert result.outcome == "failed"
    assert "filter" in result.error
    assert (await harness.model.calls()).total == 1
    assert result.usage.total_tokens > 0, "its cost is counted"


async def test_filtered_answer_tries_fallback_model(harness: ActivityHarness) -> None:
    ana = await find_agent(harness.database, DEFAULT_ORGANISATION, harness.members["Ana"].name)
    models = ModelSettings.model_validate({"model": "offline-strict", "fallbacks": [{"model": "offline-mild"}]})
    await save_agent(harness.database, DEFAULT_ORGANISATION, ana.model_copy(update={"model": models}))
    await harness.model.set_behaviour(
        Fault.model_validate({"kind": "content_filter", "match": {"model": "offline-strict"}})
    )
    result, errors = await harness.take_turn_until_result(1, "Ana", seq=1, use_fallbacks=True)
    assert [error.type for error in errors] == [ErrorType.MODEL_REFUSED]
    assert (result.outcome, result.fallback_index) == ("spoke", 1)
    assert "filter" in result.error
    assert (await stored_turn(harness)).model_calls == 2


@pytest.mark.parametrize("kind", ["truncated", "content_filter"])
async def test_spoilt_manager_answer_fails_selection(harness: ActivityHarness, kind: str) -> None:
    await harness.model.set_behaviour(Fault.model_validate({"kind": kind}))
    choice = await harness.choose(1, "Ana", "Ben")
    assert (choice.outcome, choice.agent_id) == ("failed", None)
    assert 0 < len(choice.reason) < 500
