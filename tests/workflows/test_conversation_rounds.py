"""Rounds: order of the speakers, termination, pause and stop, and messages posted during a round."""

import asyncio

import pytest

from tertulia.core.errors import CommandRefused, ConversationClosed, NotFound
from tertulia.devstack.offline_model import Fault, Match
from tertulia.testing import WorkflowHarness


async def test_round_robin_order_then_waits(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben", "Cleo")
    conversation = await harness.start(group, "Shall the library open at night?")
    status = await harness.wait_until_idle(conversation)
    assert await harness.speakers(conversation) == ["Ana", "Ben", "Cleo"]
    messages = await harness.transcript(conversation)
    assert [message.turn for message in messages] == [None, 1, 2, 3]
    assert [message.role for message in messages] == ["user", "assistant", "assistant", "assistant"]
    assert messages[0].text == "Shall the library open at night?"
    assert all(message.text for message in messages)
    assert (status.turn, status.round, status.stop_reason) == (3, 1, "max_turns")
    turns = await harness.turns(conversation)
    assert status.usage.total_tokens == sum(turn.prompt_tokens + turn.completion_tokens for turn in turns)
    assert status.usage.model_calls == 3


async def test_rotation_continues_in_next_round(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben", "Cleo", manager={"manager_type": "round_robin", "max_turns": 2})
    conversation = await harness.start(group, "One.")
    await harness.wait_until_idle(conversation)
    await harness.handle(conversation).post("Two.")
    status = await harness.wait_until_idle(conversation, rounds=2)
    assert await harness.speakers(conversation) == ["Ana", "Ben", "Cleo", "Ana"]
    assert status.round == 2


async def test_close_after_round_reaches_all_members(
    harness: WorkflowHarness,
) -> None:
    group = await harness.group("Ana", "Ben")
    conversation = await harness.start(group, "One.", close_after_round=True)
    status = await harness.wait_until(conversation, lambda status: status.phase == "closed")
    assert status.stop_reason == "max_turns"
    row = await harness.handle(conversation).retrieve()
    assert row.closed_at is not None
    assert row.last_seq == 3
    members = await harness.handle(conversation).members.list()
    assert {member.cursor for member in members} == {3}
    with pytest.raises(ConversationClosed):
        await harness.handle(conversation).post("Anyone?")


@pytest.mark.parametrize(
    ("intake", "order", "rounds"),
    [
        ("interject", ["User", "Ana", "first", "second", "Ben"], 1),
        ("queue", ["User", "Ana", "Ben", "first", "Ana", "Ben", "second", "Ana", "Ben"], 3),
        ("batch", ["User", "Ana", "Ben", "first", "second", "Ana", "Ben"], 2),
    ],
)
async def test_intake_decides_about_posts_in_a_round(
    harness: WorkflowHarness, intake: str, order: list[str], rounds: int
) -> None:
    group = await harness.group("Ana", "Ben", intake=intake)
    await harness.model.set_behaviour(delay_ms=400)
    conversation = await harness.start(group, "One.")
    await harness.wait_until(conversation, lambda status: status.speaking == harness.name("Ana"))
    await harness.handle(conversation).post("first")
    await harness.handle(conversation).post("second")
    await harness.wait_until_idle(conversation, rounds=rounds)
    messages = await harness.transcript(conversation)
    seen = [message.text if message.text in ("first", "second") else message.sender for message in messages]
    assert [name.rpartition("-")[0] or name for name in seen] == order


async def test_late_post_starts_a_new_round(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben")
    await harness.model.set_behaviour(delay_ms=400)
    conversation = await harness.start(group, "One.")
    await harness.wait_until(conversation, lambda status: status.speaking == harness.name("Ben"))
    await harness.handle(conversation).post("late")
    status = await harness.wait_until_idle(conversation, rounds=2)
    assert status.round == 2
    texts = [message.text for message in await harness.transcript(conversation)]
    assert texts.index("late") == 3
    assert await harness.speakers(conversation) == ["Ana", "Ben", "Ana", "Ben"]


async def test_termination_token_ends_round(harness: WorkflowHarness) -> None:
    await harness.agents("Ana", "Ben")
    await harness.agents("Cleo", instructions='Say "DONE!" after 2 turns.')
    names = [harness.name(name) for name in ("Ana", "Ben", "Cleo")]
    group = await harness.group_of(names, {"manager_type": "round_robin", "max_turns": 30})
    conversation = await harness.start(group, "One.")
    status = await harness.wait_until_idle(conversation)
    assert status.stop_reason == "termination_token"
    assert status.turn == 3
    assert "DONE!" in (await harness.transcript(conversation))[-1].text


async def test_combined_conditions_end_round(harness: WorkflowHarness) -> None:
    termination = {
        "type": "all",
        "conditions": [{"type": "max_turns", "limit": 3}, {"type": "token_budget", "limit": 10}],
    }
    group = await harness.group(
        "Ana", "Ben", manager={"manager_type": "round_robin", "max_turns": 50}, termination=termination
    )
    conversation = await harness.start(group, "One.")
    status = await harness.wait_until_idle(conversation)
    assert (status.turn, status.stop_reason) == (3, "max_turns+token_budget")


async def test_all_passing_ends_round(harness: WorkflowHarness) -> None:
    await harness.agents("Ana", "Ben", instructions="Pass after 0 turns.")
    group = await harness.group_of(
        [harness.name("Ana"), harness.name("Ben")], {"manager_type": "round_robin", "max_turns": 30}
    )
    conversation = await harness.start(group, "One.")
    status = await harness.wait_until_idle(conversation)
    assert (status.stop_reason, status.turn, status.messages) == ("all_passed", 2, 1)
    assert [turn.outcome for turn in await harness.turns(conversation)] == ["passed", "passed"]


async def test_failing_member_is_skipped(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben", "Cleo")
    await harness.model.set_behaviour(Fault(kind="server_error", match=Match(speaker=harness.name("Ben"))))
    conversation = await harness.start(group, "One.")
    await harness.wait_until_idle(conversation)
    turns = await harness.turns(conversation)
    assert [turn.outcome for turn in turns] == ["spoke", "failed", "spoke"]
    assert "500" in str(turns[1].error)
    assert turns[1].attempt == 2
    assert len(await harness.transcript(conversation)) == 3
    calls = await harness.model.calls()
    assert calls.by_speaker[harness.name("Ben")] == 2, "model_attempts is 2"


async def test_outage_pauses_until_resume(harness: WorkflowHarness) -> None:
    group = await harness.group(
        "Ana", "Ben", manager={"manager_type": "round_robin", "max_turns": 4}, probe_initial_seconds=600
    )
    await harness.model.set_behaviour(Fault(kind="server_error"))
    conversation = await harness.start(group, "One.")
    status = await harness.wait_until(conversation, lambda status: status.phase == "paused")
    assert status.paused_because == "no_available_participants"
    await harness.model.reset()
    await harness.handle(conversation).resume()
    await harness.wait_until_idle(conversation)
    assert [turn.outcome for turn in await harness.turns(conversation)] == ["failed"] * 2 + ["spoke"] * 4


async def test_rate_limit_retry_after_is_awaited(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana")
    await harness.model.set_behaviour(Fault(kind="rate_limit", times=1, retry_after_s=0.7))
    conversation = await harness.start(group, "One.")
    await harness.wait_until_idle(conversation)
    turn = (await harness.turns(conversation))[0]
    assert (turn.outcome, turn.attempt) == ("spoke", 2)
    row = await harness.handle(conversation).retrieve()
    assert (turn.finished_at - row.created_at).total_seconds() > 0.7


async def test_pause_at_turn_boundary_and_resume(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben", "Cleo")
    await harness.model.set_behaviour(delay_ms=300)
    conversation = await harness.start(group, "One.")
    await harness.wait_until(conversation, lambda status: status.speaking == harness.name("Ana"))
    await harness.handle(conversation).pause("lunch")
    status = await harness.wait_until(conversation, lambda status: status.phase == "paused")
    assert (status.turn, status.paused_because) == (1, "lunch")
    with pytest.raises(CommandRefused, match="already paused"):
        await harness.handle(conversation).pause()
    await harness.handle(conversation).post("while you rest")
    await asyncio.sleep(0.5)
    assert (await harness.handle(conversation).status(live=True)).turn == 1
    await harness.handle(conversation).resume()
    await harness.wait_until_idle(conversation)
    assert await harness.speakers(conversation) == ["Ana", "Ben", "Cleo"]


async def test_pause_idle_conversation_is_shown(harness: WorkflowHarness) -> None:
    conversation = await harness.start(await harness.group("Ana"), "One.")
    await harness.wait_until_idle(conversation)
    await harness.handle(conversation).pause()
    await harness.wait_until(conversation, lambda status: status.phase == "paused", seconds=3)
    await harness.handle(conversation).resume()
    await harness.wait_until(conversation, lambda status: status.phase == "ready", seconds=3)


async def test_stop_finishes_turn_and_records_posts(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben", "Cleo", intake="queue")
    await harness.model.set_behaviour(delay_ms=300)
    conversation = await harness.start(group, "One.")
    await harness.wait_until(conversation, lambda status: status.speaking == harness.name("Ana"))
    await harness.handle(conversation).post("unanswered")
    await harness.handle(conversation).stop("enough")
    status = await harness.wait_until(conversation, lambda status: status.phase == "closed")
    assert (status.stop_reason, status.stop_explanation) == ("operator_stop", "enough")
    texts = [message.text for message in await harness.transcript(conversation)]
    assert len(texts) == 3
    assert texts[-1] == "unanswered"


async def test_cancel_closes_conversation(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben")
    await harness.model.set_behaviour(delay_ms=5_000)
    conversation = await harness.start(group, "One.")
    await harness.wait_until(conversation, lambda status: status.speaking == harness.name("Ana"))
    await harness.client.scope.workflow_handle(conversation).cancel()
    status = await harness.wait_until(conversation, lambda status: status.phase == "closed")
    assert status.stop_reason == "cancelled"
    assert len(await harness.transcript(conversation)) == 1


async def test_unknown_ids_are_named_in_errors(harness: WorkflowHarness) -> None:
    with pytest.raises(NotFound, match="'nowhere'"):
        await harness.client.conversations.create("nowhere", "One.")
    with pytest.raises(NotFound, match="'nothing'"):
        await harness.handle("nothing").post("One.")
    with pytest.raises(NotFound, match="'nothing'"):
        await harness.handle("nothing").status(live=True)


async def test_conversation_id_is_used_once(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana")
    conversation = await harness.start(group, "One.", id=harness.name("talk"))
    with pytest.raises(CommandRefused, match="exists already"):
        await harness.client.conversations.create(group, "Two.", id=conversation)
    await harness.wait_until_idle(conversation)
    assert len(await harness.transcript(conversation)) == 2
