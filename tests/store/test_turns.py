"""Invariant: a turn commits once, whole or not at all."""

import asyncio

import pytest

from tertulia.core.agents import AgentPatch
from tertulia.core.ids import DEFAULT_ORGANISATION, AgentId, ConversationId
from tertulia.core.phases import PhaseChange
from tertulia.core.usage import Usage
from tertulia.store.agents import change_agent, save_agent
from tertulia.store.conversations import close_conversation, find_conversation
from tertulia.store.turns import OutOfStep, charge_turn, find_turn, read_turn_context, read_turns
from tests.store.harness import StoreHarness, post, unique_id


async def stored_counters(harness: StoreHarness) -> tuple[int, int, int]:
    """Return the conversation's last turn, last `seq` and number of messages."""
    row = await find_conversation(harness.database, harness.conversation_id)
    return row.last_turn, row.last_seq, len(await harness.messages())


async def test_commit_turn_writes_text_record_cursor(harness: StoreHarness) -> None:
    await harness.post(post("hello"))
    record = harness.record(speaker=1)
    assert await harness.commit(record, "good evening") is None
    turn = await find_turn(harness.database, harness.conversation_id, 1)
    assert turn is not None
    assert turn.model_dump(exclude={"finished_at"}) == record.model_dump()
    said = (await harness.messages())[-1]
    assert (said.seq, said.turn, said.role, said.text) == (2, 1, "assistant", "good evening")
    assert (said.sender_id, said.sender) == (harness.agents[1].id, harness.agents[1].name)
    assert [(await harness.member(index)).cursor for index in range(3)] == [0, 2, 0]
    assert await stored_counters(harness) == (1, 2, 2)


async def test_commit_turn_concurrent_attempts_one_wins(harness: StoreHarness) -> None:
    await harness.post(post("hello"))
    records = [harness.record(attempt=attempt, model=f"m{attempt}") for attempt in range(1, 11)]
    results = await asyncio.gather(*(harness.commit(record, f"words {record.attempt}") for record in records))
    assert results.count(None) == 1
    winner = records[results.index(None)]
    assert {result.attempt for result in results if result} == {winner.attempt}
    assert (await harness.messages())[-1].text == f"words {winner.attempt}"
    assert await stored_counters(harness) == (1, 2, 2)


async def test_commit_turn_late_returns_first_commit(harness: StoreHarness) -> None:
    await harness.post(post("hello"))
    await harness.commit_next_turn("one")
    await harness.commit_next_turn("two", speaker=1)
    earlier = await harness.commit(harness.record(turn=1, attempt=9), "late words")
    assert earlier is not None
    assert (earlier.turn, earlier.attempt) == (1, 1)
    assert [message.text for message in await harness.messages()] == ["hello", "one", "two"]


@pytest.mark.parametrize(("turn", "seq_before"), [(2, 1), (3, 1), (1, 0), (1, 2), (0, 1)])
async def test_commit_turn_out_of_step_writes_nothing(harness: StoreHarness, turn: int, seq_before: int) -> None:
    await harness.post(post("hello"))
    harness.seq = seq_before
    record = harness.record().model_copy(update={"turn": turn})
    with pytest.raises(OutOfStep, match=f"turn {turn} "):
        await harness.commit(record, "words")
    assert await stored_counters(harness) == (0, 1, 1)
    assert await read_turns(harness.database, harness.conversation_id) == []
    assert (await harness.member(0)).cursor == 0


@pytest.mark.parametrize(("outcome", "error"), [("passed", None), ("failed", "the model is down")])
async def test_commit_turn_without_text_adds_no_message(harness: StoreHarness, outcome: str, error: str | None) -> None:
    await harness.post(post("hello"))
    assert await harness.commit(harness.record(outcome=outcome, error=error, seq=1), None) is None
    assert await stored_counters(harness) == (1, 1, 1)
    turn = await find_turn(harness.database, harness.conversation_id, 1)
    assert turn is not None
    assert (turn.outcome, turn.error, turn.seq) == (outcome, error, 1)
    assert (await harness.member(0)).cursor == 1
    harness.turn, harness.seq = 1, 1
    await harness.commit_next_turn("next", speaker=1)
    assert await stored_counters(harness) == (2, 2, 2)


async def test_commit_turn_by_removed_member(harness: StoreHarness) -> None:
    await harness.commit_next_turn("words of an outsider", speaker=4)
    assert await stored_counters(harness) == (1, 1, 1)


async def test_read_turns_returns_pages(harness: StoreHarness) -> None:
    for number in range(7):
        await harness.commit_next_turn(str(number), speaker=number % 3)
    first = await read_turns(harness.database, harness.conversation_id, limit=4)
    rest = await read_turns(harness.database, harness.conversation_id, after_turn=first[-1].turn, limit=4)
    assert [turn.turn for turn in (*first, *rest)] == list(range(1, 8))
    assert await find_turn(harness.database, harness.conversation_id, 8) is None


async def test_turn_context_has_speaker_data(harness: StoreHarness) -> None:
    await harness.post(post("hello"))
    await harness.commit_next_turn("hi")
    context = await read_turn_context(harness.database, harness.conversation_id, harness.agents[1].id)
    assert context is not None
    assert context.agent == harness.agents[1]
    members = [(member.name, member.description, member.tags) for member in context.group_context.members]
    assert members == [(agent.name, agent.description, ()) for agent in harness.agents[:3]]
    assert (context.group_context.group_name, context.group_context.description) == (harness.group.name, "talks")
    assert (context.last_seq, context.last_turn, context.chars, context.visible_from) == (2, 1, 7, 0)


async def test_turn_context_for_manager_is_complete(harness: StoreHarness) -> None:
    context = await read_turn_context(harness.database, harness.conversation_id, harness.agents[4].id)
    assert context is not None
    assert (context.agent, context.visible_from) == (harness.agents[4], 0)
    assert len(context.group_context.members) == 3


async def test_turn_context_has_tags_of_members(harness: StoreHarness) -> None:
    await change_agent(harness.database, DEFAULT_ORGANISATION, harness.agents[1].id, AgentPatch(tags=("wise", "old")))
    context = await read_turn_context(harness.database, harness.conversation_id, harness.agents[4].id)
    assert context is not None
    assert [member.tags for member in context.group_context.members] == [(), ("old", "wise"), ()]


async def test_turn_context_reads_agent_each_turn(harness: StoreHarness) -> None:
    wiser = harness.agents[0].model_copy(update={"instructions": "Be wise."})
    await save_agent(harness.database, DEFAULT_ORGANISATION, wiser)
    context = await read_turn_context(harness.database, harness.conversation_id, wiser.id)
    assert context is not None
    assert context.agent.instructions == "Be wise."


async def test_turn_context_missing_rows_is_none(harness: StoreHarness) -> None:
    assert await read_turn_context(harness.database, harness.conversation_id, AgentId(unique_id("nobody"))) is None
    assert await read_turn_context(harness.database, ConversationId(unique_id("nowhere")), harness.agents[0].id) is None


async def test_commit_turn_closed_conversation_refused(harness: StoreHarness) -> None:
    """An attempt can outlive its conversation: a disconnected worker, a cancelled call."""
    await harness.post(post("hello"))
    await harness.commit_next_turn("one")
    await close_conversation(
        harness.database,
        harness.conversation_id,
        PhaseChange(number=1, phase="closed", round=0, reason="stop"),
        {},
    )
    with pytest.raises(OutOfStep, match="turn 2 "):
        await harness.commit(harness.record(), "late words")
    assert await stored_counters(harness) == (1, 2, 2)
    earlier = await harness.commit(harness.record(turn=1), "once more")
    assert earlier is not None
    assert earlier.turn == 1


@pytest.mark.parametrize("outcome", ["discarded", "cancelled"])
async def test_dropped_turn_refuses_late_commit(harness: StoreHarness, outcome: str) -> None:
    await harness.post(post("hello"))
    silent = harness.record(outcome=outcome, error="removed while it spoke", seq=1, model_calls=0)
    assert await harness.commit(silent, None) is None
    earlier = await harness.commit(harness.record(), "late words")
    assert earlier is not None
    assert (earlier.outcome, earlier.error) == (outcome, "removed while it spoke")
    assert await stored_counters(harness) == (1, 1, 1)


@pytest.mark.parametrize("outcome", ["discarded", "cancelled"])
async def test_charge_turn_charges_dropped_turn_once(harness: StoreHarness, outcome: str) -> None:
    silent = harness.record(outcome=outcome, seq=0, model_calls=0, model=None, prompt_tokens=0, completion_tokens=0)
    await harness.commit(silent, None)
    for cost in (Usage(prompt_tokens=7, completion_tokens=5, model_calls=2), Usage(prompt_tokens=99, model_calls=1)):
        await charge_turn(harness.database, harness.conversation_id, 1, cost)
    turn = await find_turn(harness.database, harness.conversation_id, 1)
    assert turn is not None
    assert (turn.prompt_tokens, turn.completion_tokens, turn.model_calls) == (7, 5, 2)


@pytest.mark.parametrize("outcome", ["spoke", "passed", "failed"])
async def test_charge_turn_ignores_completed_turn(harness: StoreHarness, outcome: str) -> None:
    said = "words" if outcome == "spoke" else None
    await harness.commit(harness.record(outcome=outcome, seq=1 if said else 0, model_calls=0, prompt_tokens=7), said)
    await charge_turn(harness.database, harness.conversation_id, 1, Usage(prompt_tokens=99, model_calls=1))
    turn = await find_turn(harness.database, harness.conversation_id, 1)
    assert turn is not None
    assert (turn.prompt_tokens, turn.model_calls) == (7, 0)


async def test_commit_turn_keeps_model_and_error(harness: StoreHarness) -> None:
    record = harness.record(model="spare", fallback=2, model_calls=6, error="main: 500", attempt=6)
    await harness.commit(record, "words")
    turn = await find_turn(harness.database, harness.conversation_id, 1)
    assert turn is not None
    assert (turn.outcome, turn.model, turn.fallback_index, turn.model_calls, turn.error) == (
        "spoke",
        "spare",
        2,
        6,
        "main: 500",
    )
