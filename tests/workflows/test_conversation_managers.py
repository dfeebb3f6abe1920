"""Dynamic groups: the manager chooses, makes mistakes, fails and finishes the round."""

import itertools

from tertulia.devstack.offline_model import Fault, Match
from tertulia.testing import WorkflowHarness


async def _create_managed_group(harness: WorkflowHarness, instructions: str = "", **manager: object) -> str:
    await harness.agents("Host", instructions=instructions)
    config = {"manager_type": "dynamic", "manager_agent_id": harness.name("Host"), "max_turns": 6, **manager}
    return await harness.group("Ana", "Ben", "Cleo", manager=config)


async def test_manager_never_chooses_last_speaker(harness: WorkflowHarness) -> None:
    conversation = await harness.start(await _create_managed_group(harness), "One.")
    status = await harness.wait_until_idle(conversation)
    turns = await harness.turns(conversation)
    assert len(turns) == 6
    assert {turn.chosen_by for turn in turns} == {"manager"}
    assert all(turn.reason for turn in turns)
    assert all(first.speaker != second.speaker for first, second in itertools.pairwise(turns))
    assert status.usage.model_calls == 12, "each turn is one call of the manager and one of the speaker"


async def test_manager_finishes_the_round(harness: WorkflowHarness) -> None:
    group = await _create_managed_group(harness, "Finish after 4 turns.", max_turns=30)
    conversation = await harness.start(group, "One.")
    status = await harness.wait_until_idle(conversation)
    assert (status.stop_reason, status.turn) == ("manager_finish", 4)
    await harness.handle(conversation).post("Two.")
    status = await harness.wait_until_idle(conversation, rounds=2)
    assert (status.stop_reason, status.turn) == ("manager_finish", 8), "finishing one round does not finish the next"


async def test_bad_choice_is_fed_back(harness: WorkflowHarness) -> None:
    group = await _create_managed_group(harness, max_turns=1)
    await harness.model.set_behaviour(Fault(kind="bad_choice", times=1, match=Match(tool="choose_next_participant")))
    conversation = await harness.start(group, "One.")
    await harness.wait_until_idle(conversation)
    turn = (await harness.turns(conversation))[0]
    assert turn.chosen_by == "manager"
    assert (await harness.model.calls()).total == 3


async def test_bad_choices_use_fallback_rule(harness: WorkflowHarness) -> None:
    group = await _create_managed_group(harness, max_turns=4, max_selection_attempts=2)
    await harness.model.set_behaviour(Fault(kind="bad_choice", match=Match(tool="choose_next_participant")))
    conversation = await harness.start(group, "One.")
    await harness.wait_until_idle(conversation)
    turns = await harness.turns(conversation)
    assert [turn.speaker for turn in turns] == [harness.name(short) for short in ("Ana", "Ben", "Cleo", "Ana")]
    assert {turn.chosen_by for turn in turns} == {"fallback"}
    assert "after 2 attempts" in turns[0].reason
    assert "has waited longest" in turns[0].reason


async def test_manager_model_outage_loses_no_turn(harness: WorkflowHarness) -> None:
    group = await _create_managed_group(harness, max_turns=3)
    await harness.model.set_behaviour(Fault(kind="server_error", match=Match(speaker=harness.name("Host"))))
    conversation = await harness.start(group, "One.")
    await harness.wait_until_idle(conversation)
    turns = await harness.turns(conversation)
    assert [turn.outcome for turn in turns] == ["spoke"] * 3
    assert {turn.chosen_by for turn in turns} == {"fallback"}
    assert f"{harness.name('Host')} did not choose" in turns[0].reason


async def test_starving_member_precedes_manager(harness: WorkflowHarness) -> None:
    await harness.agents("Host")
    group = await harness.group(
        "Ana",
        "Ben",
        "Cleo",
        manager={
            "manager_type": "dynamic",
            "manager_agent_id": harness.name("Host"),
            "max_turns": 6,
            "starvation_turns": 2,
        },
    )
    conversation = await harness.start(group, "One.")
    await harness.wait_until_idle(conversation)
    turns = await harness.turns(conversation)
    assert "starvation" in {turn.chosen_by for turn in turns}
    for name in (harness.name(short) for short in ("Ana", "Ben", "Cleo")):
        spoke = [turn.turn for turn in turns if turn.speaker == name]
        assert max(b - a for a, b in zip([0, *spoke], [*spoke, 7], strict=True)) <= 4


async def test_manager_cannot_become_a_member(harness: WorkflowHarness) -> None:
    conversation = await harness.start(await _create_managed_group(harness, max_turns=1), "One.")
    await harness.wait_until_idle(conversation)
    await harness.client.scope.workflow_handle(conversation).signal("add_member", {"agent": harness.name("Host")})
    status = await harness.wait_until(conversation, lambda status: bool(status.rejected))
    assert "manages this conversation" in status.rejected[0].reason
