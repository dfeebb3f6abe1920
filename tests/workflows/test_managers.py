"""Dynamic groups: the manager chooses, errs, fails and finishes; the conversation goes on."""

import itertools

from tertulia.devstack.offline_model import Fault, Match
from tests.workflows.salon import Salon


async def _managed(salon: Salon, instructions: str = "", **manager: object) -> str:
    await salon.agents("Host", instructions=instructions)
    config = {"manager_type": "dynamic", "manager_agent_id": salon.name("Host"), "max_turns": 6, **manager}
    return await salon.group("Ana", "Ben", "Cleo", manager=config)


async def test_the_manager_chooses_with_a_reason_and_never_the_last_speaker(salon: Salon) -> None:
    conversation = (await salon.client.conversations.create(await _managed(salon), "One.")).id
    status = await salon.until_idle(conversation)
    turns = await salon.turns(conversation)
    assert len(turns) == 6
    assert {turn.chosen_by for turn in turns} == {"manager"}
    assert all(turn.reason for turn in turns)
    assert all(first.speaker != second.speaker for first, second in itertools.pairwise(turns))
    assert status.usage.model_calls == 12, "each turn is one call of the manager and one of the speaker"


async def test_the_manager_finishes_the_round(salon: Salon) -> None:
    group = await _managed(salon, "Finish after 4 turns.", max_turns=30)
    conversation = (await salon.client.conversations.create(group, "One.")).id
    status = await salon.until_idle(conversation)
    assert (status.stop_reason, status.turn) == ("manager_finish", 4)
    await salon.client.conversations.handle(conversation).post("Two.")
    status = await salon.until_idle(conversation, rounds=2)
    assert (status.stop_reason, status.turn) == ("manager_finish", 8), "finishing one round does not finish the next"


async def test_a_bad_answer_is_fed_back_and_the_second_one_counts(salon: Salon) -> None:
    group = await _managed(salon, max_turns=1)
    await salon.model.behave(Fault(kind="bad_choice", times=1, match=Match(tool="choose_next_participant")))
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until_idle(conversation)
    turn = (await salon.turns(conversation))[0]
    assert turn.chosen_by == "manager"
    assert (await salon.model.calls()).total == 3


async def test_after_bad_answers_the_least_recently_heard_speaks_and_the_reason_says_so(salon: Salon) -> None:
    group = await _managed(salon, max_turns=4, max_selection_attempts=2)
    await salon.model.behave(Fault(kind="bad_choice", match=Match(tool="choose_next_participant")))
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until_idle(conversation)
    turns = await salon.turns(conversation)
    assert [turn.speaker for turn in turns] == [salon.name(short) for short in ("Ana", "Ben", "Cleo", "Ana")]
    assert {turn.chosen_by for turn in turns} == {"fallback"}
    assert "after 2 attempts" in turns[0].reason
    assert "least recently heard" in turns[0].reason


async def test_a_manager_whose_model_is_down_loses_no_turn(salon: Salon) -> None:
    group = await _managed(salon, max_turns=3)
    await salon.model.behave(Fault(kind="server_error", match=Match(speaker=salon.name("Host"))))
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until_idle(conversation)
    turns = await salon.turns(conversation)
    assert [turn.outcome for turn in turns] == ["spoke"] * 3
    assert {turn.chosen_by for turn in turns} == {"fallback"}
    assert f"{salon.name('Host')} did not choose" in turns[0].reason


async def test_a_starving_member_goes_before_the_managers_choice(salon: Salon) -> None:
    await salon.agents("Host")
    group = await salon.group(
        "Ana",
        "Ben",
        "Cleo",
        manager={
            "manager_type": "dynamic",
            "manager_agent_id": salon.name("Host"),
            "max_turns": 6,
            "starvation_turns": 2,
        },
    )
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until_idle(conversation)
    turns = await salon.turns(conversation)
    assert "starvation" in {turn.chosen_by for turn in turns}
    for name in (salon.name(short) for short in ("Ana", "Ben", "Cleo")):
        spoke = [turn.turn for turn in turns if turn.speaker == name]
        assert max(b - a for a, b in zip([0, *spoke], [*spoke, 7], strict=True)) <= 4


async def test_the_manager_cannot_become_a_participant(salon: Salon) -> None:
    conversation = (await salon.client.conversations.create(await _managed(salon, max_turns=1), "One.")).id
    await salon.until_idle(conversation)
    await salon.client.scope.workflow_handle(conversation).signal("add_member", {"agent": salon.name("Host")})
    status = await salon.until(conversation, lambda status: bool(status.rejected))
    assert "manages this conversation" in status.rejected[0].reason
