"""Parts of a group fail and come back: the talk goes on without them, says so, and loses nothing."""

from itertools import pairwise

from tertulia.core.events import TurnOutcome
from tertulia.core.records import FinishedTurn
from tertulia.core.status import ConversationStatus, MemberStatus
from tertulia.devstack.offline_model import Fault, Match
from tests.workflows.salon import Salon


def member(status: ConversationStatus, name: str) -> MemberStatus:
    """That member's line of the status."""
    return next(one for one in status.roster.members if one.name == name)


def spoken(turns: list[FinishedTurn]) -> list[FinishedTurn]:
    """The turns in which something was said."""
    return [turn for turn in turns if turn.outcome == "spoke"]


async def kinds(salon: Salon, conversation: str) -> list[str]:
    """What the audit says of health: `Ben isolated`, …"""
    changes = await salon.client.conversations.handle(conversation).members.changes()
    lines = []
    for change in changes:
        who = change.detail.get("member") or change.detail.get("manager")
        health = change.detail.get("health")
        if isinstance(who, dict) and isinstance(health, dict):
            lines.append(f"{str(who['name']).rpartition('-')[0]} {health['state']}")
    return lines


async def test_a_standby_takes_the_place_of_a_member_that_fails_and_leaves_it_when_it_recovers(salon: Salon) -> None:
    """Four members, of whom one's model fails for many attempts."""
    group = await salon.group(
        "Ana", "Ben", "Cleo", "Dora",
        standby=["Sam"],
        manager={"manager_type": "round_robin", "max_turns": 28},
        cool_down_turns=4,
    )  # fmt: skip
    ben = salon.name("Ben")
    await salon.model.behave(Fault(kind="server_error", times=5, match=Match(speaker=ben)))
    conversation = (await salon.client.conversations.create(group, "One.")).id
    status = await salon.until_idle(conversation, seconds=60)
    turns = await salon.turns(conversation)
    assert len(spoken(turns)) == 28, "a turn that another takes is not lost"
    seats = ["Ben" if turn.speaker == salon.name("Sam") else turn.speaker.rpartition("-")[0] for turn in spoken(turns)]
    assert seats == ["Ana", "Ben", "Cleo", "Dora"] * 7, "the stand-in has the failed one's place in the rotation"
    substituted = [turn for turn in turns if turn.speaker == salon.name("Sam")]
    assert substituted[0].chosen_by == "standby"
    assert all(f"in place of {ben}" in turn.reason for turn in substituted)
    history = [line for line in await kinds(salon, conversation) if line.startswith("Ben")]
    assert history[:3] == ["Ben suspect", "Ben isolated", "Ben probation"]
    assert history[-1] == "Ben healthy"
    assert ben in {turn.speaker for turn in turns[-4:]}
    assert member(status, ben).health.state == "healthy"
    assert member(status, salon.name("Sam")).state == "standby"


async def test_without_a_standby_the_talk_goes_on_without_it(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben", "Cleo", manager={"manager_type": "round_robin", "max_turns": 8})
    await salon.model.behave(Fault(kind="server_error", match=Match(speaker=salon.name("Ben"))))
    conversation = (await salon.client.conversations.create(group, "One.")).id
    status = await salon.until_idle(conversation, seconds=40)
    speakers = [turn.speaker.rpartition("-")[0] for turn in spoken(await salon.turns(conversation))]
    assert set(speakers) == {"Ana", "Cleo"}
    assert member(status, salon.name("Ben")).state == "isolated"
    assert "500" in member(status, salon.name("Ben")).health.reason


async def test_an_operator_reinstates_an_isolated_member_at_once(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben", isolate_after_failures=1, cool_down_turns=None, cool_down_seconds=None)
    ben = salon.name("Ben")
    await salon.model.behave(Fault(kind="server_error", match=Match(speaker=ben)))
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until_idle(conversation)
    await salon.model.reset()
    await salon.client.conversations.handle(conversation).members.reinstate(ben)
    await salon.client.conversations.handle(conversation).post("Two.")
    status = await salon.until_idle(conversation, rounds=2)
    assert ben in {turn.speaker for turn in spoken(await salon.turns(conversation))}
    assert member(status, ben).state == "active"


async def test_a_manager_that_is_down_for_ten_turns_loses_none_and_returns(salon: Salon) -> None:
    await salon.agents("Host", "Deputy")
    host = salon.name("Host")
    group = await salon.group(
        "Ana", "Ben", "Cleo",
        manager={
            "manager_type": "dynamic",
            "manager_agent_id": host,
            "fallback_manager_ids": [salon.name("Deputy")],
            "max_turns": 16,
        },
        cool_down_turns=3,
    )  # fmt: skip
    await salon.model.behave(Fault(kind="server_error", times=5, match=Match(speaker=host)))
    conversation = (await salon.client.conversations.create(group, "One.")).id
    status = await salon.until_idle(conversation, seconds=60)
    turns = await salon.turns(conversation)
    assert [turn.outcome for turn in turns] == ["spoke"] * 16
    by = [turn.chosen_by for turn in turns]
    assert set(by[:10]) == {"fallback_manager"}
    assert by[-1] == "manager"
    assert all(f"chosen by {salon.name('Deputy')}" in turn.reason for turn in turns[:10])
    assert [line for line in await kinds(salon, conversation) if line.startswith("Host")] == [
        "Host suspect", "Host isolated", "Host probation", "Host isolated", "Host probation", "Host healthy",
    ]  # fmt: skip
    assert status.roster.managers[0].health.state == "healthy"


async def test_with_no_manager_left_the_fallback_rule_chooses(salon: Salon) -> None:
    await salon.agents("Host", "Deputy")
    managers = {"manager_agent_id": salon.name("Host"), "fallback_manager_ids": [salon.name("Deputy")]}
    group = await salon.group("Ana", "Ben", "Cleo", manager={"manager_type": "dynamic", **managers, "max_turns": 6})
    await salon.model.behave(Fault(kind="server_error", match=Match(tool="choose_next_participant")))
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until_idle(conversation, seconds=40)
    turns = await salon.turns(conversation)
    assert [turn.speaker.rpartition("-")[0] for turn in turns] == ["Ana", "Ben", "Cleo"] * 2
    assert {turn.chosen_by for turn in turns} == {"fallback"}
    assert f"{salon.name('Host')} is isolated" in turns[-1].reason


async def test_all_models_are_down_then_back_the_conversation_pauses_and_resumes_by_itself(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben", "Cleo", probe_initial_seconds=0.4)
    await salon.model.behave(Fault(kind="server_error"))
    conversation = (await salon.client.conversations.create(group, "One.")).id
    status = await salon.until(conversation, lambda status: status.phase == "paused")
    assert status.paused_because == "no_available_participants"
    assert status.next_probe_at is not None
    await salon.until(conversation, lambda status: status.turn >= 5)
    probes = [turn for turn in await salon.turns(conversation) if turn.turn > 3]
    rests = [second.started_at - first.finished_at for first, second in pairwise(probes)]
    assert all(rest.total_seconds() > 0.7 for rest in rests), "the intervals grow"
    await salon.model.reset()
    status = await salon.until_idle(conversation, seconds=40)
    speakers = [turn.speaker.rpartition("-")[0] for turn in spoken(await salon.turns(conversation))]
    assert sorted(speakers) == ["Ana", "Ben", "Cleo"], "everyone has had its turn, nobody two"
    assert {one.health.state for one in status.roster.members} == {"healthy"}


async def test_someone_who_is_added_ends_the_want_of_members(salon: Salon) -> None:
    group = await salon.group("Ana", probe_initial_seconds=600)
    await salon.agents("Zoe")
    await salon.model.behave(Fault(kind="server_error", match=Match(speaker=salon.name("Ana"))))
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until(conversation, lambda status: status.phase == "paused")
    await salon.client.conversations.handle(conversation).members.add(salon.name("Zoe"))
    await salon.until_idle(conversation)
    assert spoken(await salon.turns(conversation))[0].speaker == salon.name("Zoe")


async def _removed_in_mid_call(
    salon: Salon, policy: str | None, **settings: str
) -> tuple[str, TurnOutcome, list[str], ConversationStatus]:
    group = await salon.group("Ana", "Ben", "Cleo", manager={"manager_type": "round_robin", "max_turns": 3}, **settings)
    await salon.model.behave(delay_ms=6_000 if policy == "cancel" else 1_500)
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until(conversation, lambda status: status.speaking == salon.name("Ana"))
    await salon.client.conversations.handle(conversation).members.remove(salon.name("Ana"), in_flight=policy)
    if policy == "cancel":
        status = await salon.until(conversation, lambda status: status.speaking == salon.name("Ben"), seconds=5)
    await salon.until(conversation, lambda status: status.turn >= 1)
    await salon.model.behave(delay_ms=0)
    status = await salon.until_idle(conversation)
    first = (await salon.turns(conversation))[0]
    assert salon.name("Ana") not in {one.name for one in status.roster.members}
    senders = [message.sender.rpartition("-")[0] for message in await salon.transcript(conversation)]
    return conversation, first.outcome, senders[1:], status


async def test_a_member_removed_while_it_speaks_finishes_by_default(salon: Salon) -> None:
    _, outcome, senders, _ = await _removed_in_mid_call(salon, None)
    assert (outcome, senders) == ("spoke", ["Ana", "Ben", "Cleo"])


async def test_a_member_removed_while_it_speaks_has_its_words_dropped(salon: Salon) -> None:
    conversation, outcome, senders, status = await _removed_in_mid_call(salon, "discard")
    assert outcome == "discarded"
    assert "Ana" not in senders
    turns = await salon.turns(conversation)
    assert turns[0].model_calls == 1, "what the call has cost is counted"
    assert sum(turn.prompt_tokens + turn.completion_tokens for turn in turns) == status.usage.total_tokens


async def test_a_member_removed_while_it_speaks_has_its_call_cancelled(salon: Salon) -> None:
    _, outcome, senders, _ = await _removed_in_mid_call(salon, "cancel")
    assert outcome == "cancelled"
    assert "Ana" not in senders


async def test_the_groups_setting_says_what_becomes_of_a_removed_speakers_turn(salon: Salon) -> None:
    _, outcome, _, _ = await _removed_in_mid_call(salon, None, in_flight="discard")
    assert outcome == "discarded"


async def test_a_budget_is_reached_and_the_conversation_concludes(salon: Salon) -> None:
    group = await salon.group(
        "Ana", "Ben", "Cleo",
        manager={"manager_type": "round_robin", "max_turns": 100},
        budgets=[{"tokens": 3_000}],
    )  # fmt: skip
    conversation = (await salon.client.conversations.create(group, "One.", continue_as_new_after_turns=2)).id
    status = await salon.until(conversation, lambda status: status.phase == "closed", seconds=40)
    turns = await salon.turns(conversation)
    assert (status.stop_reason, turns[-1].chosen_by) == ("token_budget", "conclusion")
    total = sum(turn.prompt_tokens + turn.completion_tokens for turn in turns)
    last = turns[-1].prompt_tokens + turns[-1].completion_tokens
    assert total == status.usage.total_tokens
    assert total - last >= 3_000 > total - last - turns[-2].prompt_tokens - turns[-2].completion_tokens
    assert turns[-1].speaker == turns[-2].speaker


async def test_a_member_that_has_spent_its_budget_has_a_last_word_and_falls_silent(salon: Salon) -> None:
    group = await salon.group(
        "Ana", "Ben", "Cleo",
        manager={"manager_type": "round_robin", "max_turns": 9},
        budgets=[{"scope": "member", "member": salon.name("Ben"), "model_calls": 2}],
    )  # fmt: skip
    conversation = (await salon.client.conversations.create(group, "One.")).id
    status = await salon.until_idle(conversation)
    turns = [turn for turn in await salon.turns(conversation) if turn.speaker == salon.name("Ben")]
    assert [turn.chosen_by for turn in turns] == ["round_robin", "round_robin", "conclusion"]
    assert member(status, salon.name("Ben")).state == "muted"
    change = (await salon.client.conversations.handle(conversation).members.changes())[-1]
    assert change.kind == "mute"
    assert "has used 3 model calls of 2" in str(change.detail["reason"])
