"""Members and managers fail and recover: the conversation continues without them, reports it and loses no turn."""

from itertools import pairwise

from tertulia.core.events import TurnOutcome
from tertulia.core.records import FinishedTurn
from tertulia.core.status import ConversationStatus, MemberStatus
from tertulia.devstack.offline_model import Fault, Match
from tertulia.testing import WorkflowHarness


def member(status: ConversationStatus, name: str) -> MemberStatus:
    """Return the status of one member."""
    return next(one for one in status.roster.members if one.name == name)


def spoken_turns(turns: list[FinishedTurn]) -> list[FinishedTurn]:
    """Return the turns with a message."""
    return [turn for turn in turns if turn.outcome == "spoke"]


async def health_changes(harness: WorkflowHarness, conversation: str) -> list[str]:
    """Return the changes of health in the audit log, such as `Ben isolated`."""
    changes = await harness.handle(conversation).members.changes()
    lines = []
    for change in changes:
        agent = change.detail.get("member") or change.detail.get("manager")
        health = change.detail.get("health")
        if isinstance(agent, dict) and isinstance(health, dict):
            lines.append(f"{str(agent['name']).rpartition('-')[0]} {health['state']}")
    return lines


async def test_standby_replaces_failing_member(harness: WorkflowHarness) -> None:
    group = await harness.group(
        "Ana", "Ben", "Cleo", "Dora",
        standby=["Sam"],
        manager={"manager_type": "round_robin", "max_turns": 28},
        cool_down_turns=4,
    )  # fmt: skip
    ben = harness.name("Ben")
    await harness.model.set_behaviour(Fault(kind="server_error", times=5, match=Match(speaker=ben)))
    conversation = await harness.start(group, "One.")
    status = await harness.wait_until_idle(conversation, seconds=60)
    turns = await harness.turns(conversation)
    assert len(spoken_turns(turns)) == 28, "a substituted turn is not lost"
    seats = [
        "Ben" if turn.speaker == harness.name("Sam") else turn.speaker.rpartition("-")[0]
        for turn in spoken_turns(turns)
    ]
    assert seats == ["Ana", "Ben", "Cleo", "Dora"] * 7, "the substitute has the failed member's place in the rotation"
    substituted = [turn for turn in turns if turn.speaker == harness.name("Sam")]
    assert substituted[0].chosen_by == "standby"
    assert all(f"in place of {ben}" in turn.reason for turn in substituted)
    history = [line for line in await health_changes(harness, conversation) if line.startswith("Ben")]
    assert history[:3] == ["Ben suspect", "Ben isolated", "Ben probation"]
    assert history[-1] == "Ben healthy"
    assert ben in {turn.speaker for turn in turns[-4:]}
    assert member(status, ben).health.state == "healthy"
    assert member(status, harness.name("Sam")).state == "standby"


async def test_failing_member_without_standby(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben", "Cleo", manager={"manager_type": "round_robin", "max_turns": 8})
    await harness.model.set_behaviour(Fault(kind="server_error", match=Match(speaker=harness.name("Ben"))))
    conversation = await harness.start(group, "One.")
    status = await harness.wait_until_idle(conversation, seconds=40)
    speakers = [turn.speaker.rpartition("-")[0] for turn in spoken_turns(await harness.turns(conversation))]
    assert set(speakers) == {"Ana", "Cleo"}
    assert member(status, harness.name("Ben")).state == "isolated"
    assert "500" in member(status, harness.name("Ben")).health.reason


async def test_reinstate_isolated_member(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben", isolate_after_failures=1, cool_down_turns=None, cool_down_seconds=None)
    ben = harness.name("Ben")
    await harness.model.set_behaviour(Fault(kind="server_error", match=Match(speaker=ben)))
    conversation = await harness.start(group, "One.")
    await harness.wait_until_idle(conversation)
    await harness.model.reset()
    await harness.handle(conversation).members.reinstate(ben)
    await harness.handle(conversation).post("Two.")
    status = await harness.wait_until_idle(conversation, rounds=2)
    assert ben in {turn.speaker for turn in spoken_turns(await harness.turns(conversation))}
    assert member(status, ben).state == "active"


async def test_manager_outage_costs_no_turn(harness: WorkflowHarness) -> None:
    await harness.agents("Host", "Deputy")
    host = harness.name("Host")
    group = await harness.group(
        "Ana", "Ben", "Cleo",
        manager={
            "manager_type": "dynamic",
            "manager_agent_id": host,
            "fallback_manager_ids": [harness.name("Deputy")],
            "max_turns": 16,
        },
        cool_down_turns=3,
    )  # fmt: skip
    await harness.model.set_behaviour(Fault(kind="server_error", times=5, match=Match(speaker=host)))
    conversation = await harness.start(group, "One.")
    status = await harness.wait_until_idle(conversation, seconds=60)
    turns = await harness.turns(conversation)
    assert [turn.outcome for turn in turns] == ["spoke"] * 16
    by = [turn.chosen_by for turn in turns]
    assert set(by[:10]) == {"fallback_manager"}
    assert by[-1] == "manager"
    assert all(f"chosen by {harness.name('Deputy')}" in turn.reason for turn in turns[:10])
    assert [line for line in await health_changes(harness, conversation) if line.startswith("Host")] == [
        "Host suspect", "Host isolated", "Host probation", "Host isolated", "Host probation", "Host healthy",
    ]  # fmt: skip
    assert status.roster.managers[0].health.state == "healthy"


async def test_fallback_rule_without_managers(harness: WorkflowHarness) -> None:
    await harness.agents("Host", "Deputy")
    managers = {"manager_agent_id": harness.name("Host"), "fallback_manager_ids": [harness.name("Deputy")]}
    group = await harness.group("Ana", "Ben", "Cleo", manager={"manager_type": "dynamic", **managers, "max_turns": 6})
    await harness.model.set_behaviour(Fault(kind="server_error", match=Match(tool="choose_next_participant")))
    conversation = await harness.start(group, "One.")
    await harness.wait_until_idle(conversation, seconds=40)
    turns = await harness.turns(conversation)
    assert [turn.speaker.rpartition("-")[0] for turn in turns] == ["Ana", "Ben", "Cleo"] * 2
    assert {turn.chosen_by for turn in turns} == {"fallback"}
    assert f"{harness.name('Host')} is isolated" in turns[-1].reason


async def test_outage_pauses_and_resumes(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben", "Cleo", probe_initial_seconds=0.2)
    await harness.model.set_behaviour(Fault(kind="server_error"))
    conversation = await harness.start(group, "One.")
    status = await harness.wait_until(conversation, lambda status: status.phase == "paused")
    assert status.paused_because == "no_available_participants"
    assert status.next_probe_at is not None
    await harness.wait_until(conversation, lambda status: status.turn >= 5)
    probes = [turn for turn in await harness.turns(conversation) if turn.turn > 3]
    rests = [second.started_at - first.finished_at for first, second in pairwise(probes)]
    assert all(rest.total_seconds() > 0.35 for rest in rests), "the intervals grow"
    await harness.model.reset()
    status = await harness.wait_until_idle(conversation, seconds=40)
    speakers = [turn.speaker.rpartition("-")[0] for turn in spoken_turns(await harness.turns(conversation))]
    assert sorted(speakers) == ["Ana", "Ben", "Cleo"], "every member has exactly one turn"
    assert {one.health.state for one in status.roster.members} == {"healthy"}


async def test_added_member_ends_outage(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", probe_initial_seconds=600)
    await harness.agents("Zoe")
    await harness.model.set_behaviour(Fault(kind="server_error", match=Match(speaker=harness.name("Ana"))))
    conversation = await harness.start(group, "One.")
    await harness.wait_until(conversation, lambda status: status.phase == "paused")
    await harness.handle(conversation).members.add(harness.name("Zoe"))
    await harness.wait_until_idle(conversation)
    assert spoken_turns(await harness.turns(conversation))[0].speaker == harness.name("Zoe")


async def _remove_during_call(
    harness: WorkflowHarness, policy: str | None, **settings: str
) -> tuple[str, TurnOutcome, list[str], ConversationStatus]:
    group = await harness.group(
        "Ana", "Ben", "Cleo", manager={"manager_type": "round_robin", "max_turns": 3}, **settings
    )
    await harness.model.set_behaviour(delay_ms=6_000 if policy == "cancel" else 1_500)
    conversation = await harness.start(group, "One.")
    await harness.wait_until(conversation, lambda status: status.speaking == harness.name("Ana"))
    # Ana's call keeps its delay; Ben's is only long enough to be seen.
    await harness.model.set_behaviour(delay_ms=500 if policy == "cancel" else 1_500)
    await harness.handle(conversation).members.remove(harness.name("Ana"), in_flight=policy)
    if policy == "cancel":
        status = await harness.wait_until(
            conversation, lambda status: status.speaking == harness.name("Ben"), seconds=5
        )
    await harness.wait_until(conversation, lambda status: status.turn >= 1)
    await harness.model.set_behaviour(delay_ms=0)
    status = await harness.wait_until_idle(conversation)
    first = (await harness.turns(conversation))[0]
    assert harness.name("Ana") not in {one.name for one in status.roster.members}
    senders = [message.sender.rpartition("-")[0] for message in await harness.transcript(conversation)]
    return conversation, first.outcome, senders[1:], status


async def test_removed_speaker_finishes_by_default(harness: WorkflowHarness) -> None:
    _, outcome, senders, _ = await _remove_during_call(harness, None)
    assert (outcome, senders) == ("spoke", ["Ana", "Ben", "Cleo"])


async def test_removed_speaker_turn_is_discarded(harness: WorkflowHarness) -> None:
    conversation, outcome, senders, status = await _remove_during_call(harness, "discard")
    assert outcome == "discarded"
    assert "Ana" not in senders
    turns = await harness.turns(conversation)
    assert turns[0].model_calls == 1, "the cost of the call is counted"
    assert sum(turn.prompt_tokens + turn.completion_tokens for turn in turns) == status.usage.total_tokens


async def test_removed_speaker_call_is_cancelled(harness: WorkflowHarness) -> None:
    _, outcome, senders, _ = await _remove_during_call(harness, "cancel")
    assert outcome == "cancelled"
    assert "Ana" not in senders


async def test_in_flight_setting_of_group_applies(harness: WorkflowHarness) -> None:
    _, outcome, _, _ = await _remove_during_call(harness, None, in_flight="discard")
    assert outcome == "discarded"


async def test_budget_concludes_conversation(harness: WorkflowHarness) -> None:
    group = await harness.group(
        "Ana", "Ben", "Cleo",
        manager={"manager_type": "round_robin", "max_turns": 100},
        budgets=[{"tokens": 3_000}],
    )  # fmt: skip
    conversation = await harness.start(group, "One.", continue_as_new_after_turns=2)
    status = await harness.wait_until(conversation, lambda status: status.phase == "closed", seconds=40)
    turns = await harness.turns(conversation)
    assert (status.stop_reason, turns[-1].chosen_by) == ("token_budget", "conclusion")
    total = sum(turn.prompt_tokens + turn.completion_tokens for turn in turns)
    last = turns[-1].prompt_tokens + turns[-1].completion_tokens
    assert total == status.usage.total_tokens
    assert total - last >= 3_000 > total - last - turns[-2].prompt_tokens - turns[-2].completion_tokens
    assert turns[-1].speaker == turns[-2].speaker


async def test_member_budget_gives_one_last_turn(harness: WorkflowHarness) -> None:
    group = await harness.group(
        "Ana", "Ben", "Cleo",
        manager={"manager_type": "round_robin", "max_turns": 9},
        budgets=[{"scope": "member", "member": harness.name("Ben"), "model_calls": 3}],
    )  # fmt: skip
    conversation = await harness.start(group, "One.")
    status = await harness.wait_until_idle(conversation)
    turns = [turn for turn in await harness.turns(conversation) if turn.speaker == harness.name("Ben")]
    assert [turn.chosen_by for turn in turns] == ["round_robin", "round_robin", "conclusion"]
    assert member(status, harness.name("Ben")).state == "muted"
    change = (await harness.handle(conversation).members.changes())[-1]
    assert change.kind == "mute"
    assert "has used 3 of 3 model calls" in str(change.detail["reason"])
