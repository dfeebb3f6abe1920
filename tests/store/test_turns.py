"""Law of the turn: it commits once, whole or not at all."""

import asyncio

import pytest

from tertulia.core.ids import DEFAULT_ORGANISATION, AgentId, ConversationId
from tertulia.core.phases import PhaseChange
from tertulia.core.usage import Usage
from tertulia.store.agents import save_agent
from tertulia.store.conversations import close_conversation, find_conversation
from tertulia.store.turns import OutOfStep, charge_turn, find_turn, read_table, read_turns
from tests.store.salon import Salon, post, unique


async def standing(salon: Salon) -> tuple[int, int, int]:
    """Where the conversation stands: its last turn, its last `seq`, how many messages there are."""
    row = await find_conversation(salon.database, salon.conversation_id)
    return row.last_turn, row.last_seq, len(await salon.messages())


async def test_a_turn_writes_its_words_its_record_and_the_speakers_cursor(salon: Salon) -> None:
    await salon.post(post("hello"))
    record = salon.record(speaker=1)
    assert await salon.commit(record, "good evening") is None
    turn = await find_turn(salon.database, salon.conversation_id, 1)
    assert turn is not None
    assert turn.model_dump(exclude={"finished_at"}) == record.model_dump()
    said = (await salon.messages())[-1]
    assert (said.seq, said.turn, said.role, said.text) == (2, 1, "assistant", "good evening")
    assert (said.sender_id, said.sender) == (salon.agents[1].id, salon.agents[1].name)
    assert [(await salon.member(index)).cursor for index in range(3)] == [0, 2, 0]
    assert await standing(salon) == (1, 2, 2)


async def test_ten_attempts_at_one_turn_commit_one_and_the_others_get_that_one(salon: Salon) -> None:
    await salon.post(post("hello"))
    records = [salon.record(attempt=attempt, model=f"m{attempt}") for attempt in range(1, 11)]
    results = await asyncio.gather(*(salon.commit(record, f"words {record.attempt}") for record in records))
    assert results.count(None) == 1
    winner = records[results.index(None)]
    assert {result.attempt for result in results if result} == {winner.attempt}
    assert (await salon.messages())[-1].text == f"words {winner.attempt}"
    assert await standing(salon) == (1, 2, 2)


async def test_a_second_commit_finds_the_first_also_when_the_conversation_has_gone_on(salon: Salon) -> None:
    await salon.post(post("hello"))
    await salon.say("one")
    await salon.say("two", speaker=1)
    earlier = await salon.commit(salon.record(turn=1, attempt=9), "late words")
    assert earlier is not None
    assert (earlier.turn, earlier.attempt) == (1, 1)
    assert [message.text for message in await salon.messages()] == ["hello", "one", "two"]


@pytest.mark.parametrize(("turn", "seq_before"), [(2, 1), (3, 1), (1, 0), (1, 2), (0, 1)])
async def test_a_turn_out_of_step_is_an_error_and_writes_nothing(salon: Salon, turn: int, seq_before: int) -> None:
    await salon.post(post("hello"))
    salon.seq = seq_before
    record = salon.record().model_copy(update={"turn": turn})
    with pytest.raises(OutOfStep, match=f"turn {turn} "):
        await salon.commit(record, "words")
    assert await standing(salon) == (0, 1, 1)
    assert await read_turns(salon.database, salon.conversation_id) == []
    assert (await salon.member(0)).cursor == 0


@pytest.mark.parametrize(("outcome", "error"), [("passed", None), ("failed", "the model is down")])
async def test_a_turn_without_words_writes_no_message(salon: Salon, outcome: str, error: str | None) -> None:
    await salon.post(post("hello"))
    assert await salon.commit(salon.record(outcome=outcome, error=error, seq=1), None) is None
    assert await standing(salon) == (1, 1, 1)
    turn = await find_turn(salon.database, salon.conversation_id, 1)
    assert turn is not None
    assert (turn.outcome, turn.error, turn.seq) == (outcome, error, 1)
    assert (await salon.member(0)).cursor == 1
    salon.turn, salon.seq = 1, 1
    await salon.say("next", speaker=1)
    assert await standing(salon) == (2, 2, 2)


async def test_a_turn_can_be_committed_by_one_who_has_left(salon: Salon) -> None:
    await salon.say("words of an outsider", speaker=4)
    assert await standing(salon) == (1, 1, 1)


async def test_turns_are_read_in_pages(salon: Salon) -> None:
    for number in range(7):
        await salon.say(str(number), speaker=number % 3)
    first = await read_turns(salon.database, salon.conversation_id, limit=4)
    rest = await read_turns(salon.database, salon.conversation_id, after_turn=first[-1].turn, limit=4)
    assert [turn.turn for turn in (*first, *rest)] == list(range(1, 8))
    assert await find_turn(salon.database, salon.conversation_id, 8) is None


async def test_the_table_has_all_that_a_speaker_needs(salon: Salon) -> None:
    await salon.post(post("hello"))
    await salon.say("hi")
    table = await read_table(salon.database, salon.conversation_id, salon.agents[1].id)
    assert table is not None
    assert table.agent == salon.agents[1]
    assert table.company.members == tuple((agent.name, agent.description) for agent in salon.agents[:3])
    assert (table.company.group_name, table.company.description) == (salon.group.name, "talks")
    assert (table.last_seq, table.last_turn, table.chars, table.visible_from) == (2, 1, 7, 0)


async def test_a_manager_who_takes_no_part_sees_the_same_table(salon: Salon) -> None:
    table = await read_table(salon.database, salon.conversation_id, salon.agents[4].id)
    assert table is not None
    assert (table.agent, table.visible_from) == (salon.agents[4], 0)
    assert len(table.company.members) == 3


async def test_an_agent_is_read_anew_for_each_turn(salon: Salon) -> None:
    wiser = salon.agents[0].model_copy(update={"instructions": "Be wise."})
    await save_agent(salon.database, DEFAULT_ORGANISATION, wiser)
    table = await read_table(salon.database, salon.conversation_id, wiser.id)
    assert table is not None
    assert table.agent.instructions == "Be wise."


async def test_there_is_no_table_without_the_agent_or_the_conversation(salon: Salon) -> None:
    assert await read_table(salon.database, salon.conversation_id, AgentId(unique("nobody"))) is None
    assert await read_table(salon.database, ConversationId(unique("nowhere")), salon.agents[0].id) is None


async def test_a_closed_conversation_takes_no_turn(salon: Salon) -> None:
    """An attempt can outlive its conversation: a worker that was cut off, a call that was cancelled."""
    await salon.post(post("hello"))
    await salon.say("one")
    await close_conversation(
        salon.database,
        salon.conversation_id,
        PhaseChange(number=1, phase="closed", round=0, reason="stop"),
        {},
    )
    with pytest.raises(OutOfStep, match="turn 2 "):
        await salon.commit(salon.record(), "late words")
    assert await standing(salon) == (1, 2, 2)
    earlier = await salon.commit(salon.record(turn=1), "once more")
    assert earlier is not None
    assert earlier.turn == 1


@pytest.mark.parametrize("outcome", ["discarded", "cancelled"])
async def test_a_dropped_turn_refuses_the_words_that_come_late(salon: Salon, outcome: str) -> None:
    await salon.post(post("hello"))
    silent = salon.record(outcome=outcome, error="removed while it spoke", seq=1, model_calls=0)
    assert await salon.commit(silent, None) is None
    earlier = await salon.commit(salon.record(), "late words")
    assert earlier is not None
    assert (earlier.outcome, earlier.error) == (outcome, "removed while it spoke")
    assert await standing(salon) == (1, 1, 1)


@pytest.mark.parametrize("outcome", ["discarded", "cancelled"])
async def test_the_call_of_a_dropped_turn_is_charged_once(salon: Salon, outcome: str) -> None:
    silent = salon.record(outcome=outcome, seq=0, model_calls=0, model=None, prompt_tokens=0, completion_tokens=0)
    await salon.commit(silent, None)
    for cost in (Usage(prompt_tokens=7, completion_tokens=5, model_calls=2), Usage(prompt_tokens=99, model_calls=1)):
        await charge_turn(salon.database, salon.conversation_id, 1, cost)
    turn = await find_turn(salon.database, salon.conversation_id, 1)
    assert turn is not None
    assert (turn.prompt_tokens, turn.completion_tokens, turn.model_calls) == (7, 5, 2)


@pytest.mark.parametrize("outcome", ["spoke", "passed", "failed"])
async def test_a_turn_that_was_not_dropped_is_charged_nothing_afterwards(salon: Salon, outcome: str) -> None:
    said = "words" if outcome == "spoke" else None
    await salon.commit(salon.record(outcome=outcome, seq=1 if said else 0, model_calls=0, prompt_tokens=7), said)
    await charge_turn(salon.database, salon.conversation_id, 1, Usage(prompt_tokens=99, model_calls=1))
    turn = await find_turn(salon.database, salon.conversation_id, 1)
    assert turn is not None
    assert (turn.prompt_tokens, turn.model_calls) == (7, 0)


async def test_which_model_answered_and_what_failed_before_are_kept(salon: Salon) -> None:
    record = salon.record(model="spare", fallback=2, model_calls=6, error="main: 500", attempt=6)
    await salon.commit(record, "words")
    turn = await find_turn(salon.database, salon.conversation_id, 1)
    assert turn is not None
    assert (turn.outcome, turn.model, turn.fallback_index, turn.model_calls, turn.error) == (
        "spoke",
        "spare",
        2,
        6,
        "main: 500",
    )
