"""Whatever a model answers has a defined outcome: words that stand, with a note if need be, or a counted failure."""

import pytest

from tertulia.core.agents import ModelSettings
from tertulia.core.errors import ErrorType
from tertulia.core.ids import DEFAULT_ORGANISATION
from tertulia.core.records import FinishedTurn
from tertulia.devstack.offline_model import Fault
from tertulia.store.agents import find_agent, save_agent
from tertulia.store.notifications import mark_watched
from tertulia.store.turns import find_turn
from tests.activities.table import Table


@pytest.fixture(params=[False, True], ids=["in one piece", "streamed"])
async def table(request: pytest.FixtureRequest, table: Table) -> Table:
    """Somebody watches, or nobody does: what comes of an answer is the same."""
    if request.param:
        assert await mark_watched(table.database, [table.conversation])
    return table


async def turn_of(table: Table, turn: int = 1) -> FinishedTurn:
    found = await find_turn(table.database, table.conversation, turn)
    assert found is not None
    return found


async def test_an_answer_cut_off_at_the_length_limit_stands_and_says_so(table: Table) -> None:
    await table.model.behave(Fault(kind="truncated"))
    result = await table.take_turn(1, "Ana", seq=1)
    assert result.outcome == "spoke"
    assert (await table.messages())[1].text
    assert "length limit" in result.error
    assert (await turn_of(table)).error == result.error


async def test_bytes_that_are_no_utf8_are_replaced_and_the_words_around_them_stand(table: Table) -> None:
    await table.model.behave(Fault(kind="bad_unicode"))
    result = await table.take_turn(1, "Ana", seq=1)
    text = (await table.messages())[1].text
    assert result.outcome == "spoke"
    assert "\ufffd" in text
    assert len(text.replace("\ufffd", "")) > 20


async def test_a_speech_that_is_too_long_is_cut_and_says_so(table: Table) -> None:
    await table.model.behave(Fault(kind="oversize", size=500_000))
    result = await table.take_turn(1, "Ana", seq=1, max_message_chars=300)
    assert len((await table.messages())[1].text) == 300
    assert "max_message_chars" in result.error


async def test_a_response_of_many_megabytes_is_not_read_to_its_end(table: Table) -> None:
    await table.model.behave(Fault(kind="oversize", size=40 * 2**20))
    result, errors = await table.insist_on_turn(1, "Ana", seq=1)
    assert result.outcome == "failed"
    assert all("bytes" in error.message and len(error.message) < 500 for error in errors)


async def test_an_answer_that_a_filter_withheld_is_not_asked_for_again(table: Table) -> None:
    await table.model.behave(Fault(kind="content_filter"))
    result = await table.take_turn(1, "Ana", seq=1)
    assert result.outcome == "failed"
    assert "filter" in result.error
    assert (await table.model.calls()).total == 1
    assert result.usage.total_tokens > 0, "what it cost is counted"


async def test_after_a_filter_the_agents_fallback_model_is_asked(table: Table) -> None:
    ana = await find_agent(table.database, DEFAULT_ORGANISATION, table.members["Ana"].name)
    models = ModelSettings.model_validate({"model": "offline-strict", "fallbacks": [{"model": "offline-mild"}]})
    await save_agent(table.database, DEFAULT_ORGANISATION, ana.model_copy(update={"model": models}))
    await table.model.behave(Fault.model_validate({"kind": "content_filter", "match": {"model": "offline-strict"}}))
    result, errors = await table.insist_on_turn(1, "Ana", seq=1, use_fallbacks=True)
    assert [error.type for error in errors] == [ErrorType.MODEL_REFUSED]
    assert (result.outcome, result.fallback_index) == ("spoke", 1)
    assert "filter" in result.error
    assert (await turn_of(table)).model_calls == 2


@pytest.mark.parametrize("kind", ["truncated", "content_filter"])
async def test_a_manager_whose_answer_is_spoilt_chooses_nobody_and_says_why(table: Table, kind: str) -> None:
    await table.model.behave(Fault.model_validate({"kind": kind}))
    choice = await table.choose(1, "Ana", "Ben")
    assert (choice.outcome, choice.agent_id) == ("failed", None)
    assert 0 < len(choice.reason) < 500
