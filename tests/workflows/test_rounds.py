"""Rounds: who speaks, in which order, when it ends, and what becomes of messages posted meanwhile."""

import asyncio

import pytest

from tertulia.core.errors import CommandRefused, ConversationClosed, NotFound
from tertulia.devstack.offline_model import Fault, Match
from tests.workflows.salon import Salon


async def test_everyone_speaks_once_in_order_and_the_conversation_waits(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben", "Cleo")
    conversation = (await salon.client.conversations.create(group, "Shall the library open at night?")).id
    status = await salon.until_idle(conversation)
    assert await salon.speakers(conversation) == ["Ana", "Ben", "Cleo"]
    messages = await salon.transcript(conversation)
    assert [message.turn for message in messages] == [None, 1, 2, 3]
    assert [message.role for message in messages] == ["user", "assistant", "assistant", "assistant"]
    assert messages[0].text == "Shall the library open at night?"
    assert all(message.text for message in messages)
    assert (status.turn, status.round, status.stop_reason) == (3, 1, "max_turns")
    turns = await salon.turns(conversation)
    assert status.usage.total_tokens == sum(turn.prompt_tokens + turn.completion_tokens for turn in turns)
    assert status.usage.model_calls == 3


async def test_the_rotation_goes_on_in_the_next_round(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben", "Cleo", manager={"manager_type": "round_robin", "max_turns": 2})
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until_idle(conversation)
    await salon.client.conversations.handle(conversation).post("Two.")
    status = await salon.until_idle(conversation, rounds=2)
    assert await salon.speakers(conversation) == ["Ana", "Ben", "Cleo", "Ana"]
    assert status.round == 2


async def test_with_close_the_conversation_ends_after_its_round_and_no_member_misses_the_last_words(
    salon: Salon,
) -> None:
    group = await salon.group("Ana", "Ben")
    conversation = (await salon.client.conversations.create(group, "One.", close_after_round=True)).id
    status = await salon.until(conversation, lambda status: status.phase == "closed")
    assert status.stop_reason == "max_turns"
    row = await salon.client.conversations.handle(conversation).retrieve()
    assert row.closed_at is not None
    assert row.last_seq == 3
    members = await salon.client.conversations.handle(conversation).members.list()
    assert {member.cursor for member in members} == {3}
    with pytest.raises(ConversationClosed):
        await salon.client.conversations.handle(conversation).post("Anyone?")


@pytest.mark.parametrize(
    ("intake", "order", "rounds"),
    [
        ("interject", ["User", "Ana", "first", "second", "Ben"], 1),
        ("queue", ["User", "Ana", "Ben", "first", "Ana", "Ben", "second", "Ana", "Ben"], 3),
        ("batch", ["User", "Ana", "Ben", "first", "second", "Ana", "Ben"], 2),
    ],
)
async def test_a_message_posted_while_a_round_runs_follows_the_intake(
    salon: Salon, intake: str, order: list[str], rounds: int
) -> None:
    group = await salon.group("Ana", "Ben", intake=intake)
    await salon.model.behave(delay_ms=400)
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until(conversation, lambda status: status.speaking == salon.name("Ana"))
    await salon.client.conversations.handle(conversation).post("first")
    await salon.client.conversations.handle(conversation).post("second")
    await salon.until_idle(conversation, rounds=rounds)
    messages = await salon.transcript(conversation)
    seen = [message.text if message.text in ("first", "second") else message.sender for message in messages]
    assert [name.rpartition("-")[0] or name for name in seen] == order


async def test_a_message_after_the_last_speaker_began_sets_off_a_new_round(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben")
    await salon.model.behave(delay_ms=400)
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until(conversation, lambda status: status.speaking == salon.name("Ben"))
    await salon.client.conversations.handle(conversation).post("late")
    status = await salon.until_idle(conversation, rounds=2)
    assert status.round == 2
    texts = [message.text for message in await salon.transcript(conversation)]
    assert texts.index("late") == 3
    assert await salon.speakers(conversation) == ["Ana", "Ben", "Ana", "Ben"]


async def test_a_participant_that_says_the_token_ends_the_round(salon: Salon) -> None:
    await salon.agents("Ana", "Ben")
    await salon.agents("Cleo", instructions='Say "DONE!" after 2 turns.')
    names = [salon.name(name) for name in ("Ana", "Ben", "Cleo")]
    group = await salon.group_of(names, {"manager_type": "round_robin", "max_turns": 30})
    conversation = (await salon.client.conversations.create(group, "One.")).id
    status = await salon.until_idle(conversation)
    assert status.stop_reason == "termination_token"
    assert status.turn == 3
    assert "DONE!" in (await salon.transcript(conversation))[-1].text


async def test_any_and_all_conditions_end_a_round(salon: Salon) -> None:
    termination = {
        "type": "all",
        "conditions": [{"type": "max_turns", "limit": 3}, {"type": "token_budget", "limit": 10}],
    }
    group = await salon.group(
        "Ana", "Ben", manager={"manager_type": "round_robin", "max_turns": 50}, termination=termination
    )
    conversation = (await salon.client.conversations.create(group, "One.")).id
    status = await salon.until_idle(conversation)
    assert (status.turn, status.stop_reason) == (3, "max_turns+token_budget")


async def test_members_that_all_pass_end_the_round_and_write_nothing(salon: Salon) -> None:
    await salon.agents("Ana", "Ben", instructions="Pass after 0 turns.")
    group = await salon.group_of(
        [salon.name("Ana"), salon.name("Ben")], {"manager_type": "round_robin", "max_turns": 30}
    )
    conversation = (await salon.client.conversations.create(group, "One.")).id
    status = await salon.until_idle(conversation)
    assert (status.stop_reason, status.turn, status.messages) == ("all_passed", 2, 1)
    assert [turn.outcome for turn in await salon.turns(conversation)] == ["passed", "passed"]


async def test_a_member_whose_model_refuses_is_skipped_and_the_talk_goes_on(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben", "Cleo")
    await salon.model.behave(Fault(kind="server_error", match=Match(speaker=salon.name("Ben"))))
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until_idle(conversation)
    turns = await salon.turns(conversation)
    assert [turn.outcome for turn in turns] == ["spoke", "failed", "spoke"]
    assert "500" in str(turns[1].error)
    assert turns[1].attempt == 2
    assert len(await salon.transcript(conversation)) == 3
    calls = await salon.model.calls()
    assert calls.by_speaker[salon.name("Ben")] == 2, "model_attempts is 2"


async def test_a_conversation_in_which_nobody_can_speak_pauses_and_can_be_resumed(salon: Salon) -> None:
    group = await salon.group(
        "Ana", "Ben", manager={"manager_type": "round_robin", "max_turns": 4}, probe_initial_seconds=600
    )
    await salon.model.behave(Fault(kind="server_error"))
    conversation = (await salon.client.conversations.create(group, "One.")).id
    status = await salon.until(conversation, lambda status: status.phase == "paused")
    assert status.paused_because == "no_available_participants"
    await salon.model.reset()
    await salon.client.conversations.handle(conversation).resume()
    await salon.until_idle(conversation)
    assert [turn.outcome for turn in await salon.turns(conversation)] == ["failed"] * 2 + ["spoke"] * 4


async def test_a_rate_limit_is_waited_out_as_long_as_the_provider_asks(salon: Salon) -> None:
    group = await salon.group("Ana")
    await salon.model.behave(Fault(kind="rate_limit", times=1, retry_after_s=0.7))
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until_idle(conversation)
    turn = (await salon.turns(conversation))[0]
    assert (turn.outcome, turn.attempt) == ("spoke", 2)
    row = await salon.client.conversations.handle(conversation).retrieve()
    assert (turn.finished_at - row.created_at).total_seconds() > 0.7


async def test_pause_holds_at_a_turn_boundary_and_resume_goes_on_there(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben", "Cleo")
    await salon.model.behave(delay_ms=300)
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until(conversation, lambda status: status.speaking == salon.name("Ana"))
    await salon.client.conversations.handle(conversation).pause("lunch")
    status = await salon.until(conversation, lambda status: status.phase == "paused")
    assert (status.turn, status.paused_because) == (1, "lunch")
    with pytest.raises(CommandRefused, match="already paused"):
        await salon.client.conversations.handle(conversation).pause()
    await salon.client.conversations.handle(conversation).post("while you rest")
    await asyncio.sleep(0.5)
    assert (await salon.client.conversations.handle(conversation).status(live=True)).turn == 1
    await salon.client.conversations.handle(conversation).resume()
    await salon.until_idle(conversation)
    assert await salon.speakers(conversation) == ["Ana", "Ben", "Cleo"]


async def test_an_idle_conversation_that_is_paused_says_so(salon: Salon) -> None:
    conversation = (await salon.client.conversations.create(await salon.group("Ana"), "One.")).id
    await salon.until_idle(conversation)
    await salon.client.conversations.handle(conversation).pause()
    await salon.until(conversation, lambda status: status.phase == "paused", seconds=3)
    await salon.client.conversations.handle(conversation).resume()
    await salon.until(conversation, lambda status: status.phase == "ready", seconds=3)


async def test_stop_lets_the_speaker_finish_records_what_waits_and_closes(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben", "Cleo", intake="queue")
    await salon.model.behave(delay_ms=300)
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until(conversation, lambda status: status.speaking == salon.name("Ana"))
    await salon.client.conversations.handle(conversation).post("unanswered")
    await salon.client.conversations.handle(conversation).stop("enough")
    status = await salon.until(conversation, lambda status: status.phase == "closed")
    assert (status.stop_reason, status.stop_explanation) == ("operator_stop", "enough")
    texts = [message.text for message in await salon.transcript(conversation)]
    assert len(texts) == 3
    assert texts[-1] == "unanswered"


async def test_cancelling_the_workflow_closes_the_conversation_in_order(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben")
    await salon.model.behave(delay_ms=5_000)
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until(conversation, lambda status: status.speaking == salon.name("Ana"))
    await salon.client.scope.workflow_handle(conversation).cancel()
    status = await salon.until(conversation, lambda status: status.phase == "closed")
    assert status.stop_reason == "cancelled"
    assert len(await salon.transcript(conversation)) == 1


async def test_unknown_groups_and_conversations_are_named(salon: Salon) -> None:
    with pytest.raises(NotFound, match="'nowhere'"):
        await salon.client.conversations.create("nowhere", "One.")
    with pytest.raises(NotFound, match="'nothing'"):
        await salon.client.conversations.handle("nothing").post("One.")
    with pytest.raises(NotFound, match="'nothing'"):
        await salon.client.conversations.handle("nothing").status(live=True)


async def test_an_id_starts_one_conversation(salon: Salon) -> None:
    group = await salon.group("Ana")
    conversation = (await salon.client.conversations.create(group, "One.", id=salon.name("talk"))).id
    with pytest.raises(CommandRefused, match="exists already"):
        await salon.client.conversations.create(group, "Two.", id=conversation)
    await salon.until_idle(conversation)
    assert len(await salon.transcript(conversation)) == 2
