"""Law of the budgets: what is spent is counted in the state; a spent budget ends what it is for, once and in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tertulia.core.base import format_validation_error
from tertulia.core.budgets import Budget, check_budget
from tertulia.core.commands import COMMANDS
from tertulia.core.decisions import Finish
from tertulia.core.errors import ConversationClosed
from tertulia.core.group import DynamicConfig, GroupSettings, RoundRobinConfig
from tertulia.core.roster import Roster
from tertulia.core.roster_changes import MemberMuted
from tertulia.core.state import ConversationState
from tertulia.core.usage import Usage
from tests.unit.strategies import DEPUTY, MANAGER, TimelineItem, happenings, makers, play
from tests.unit.world import World

MEMBER = {"scope": "member"}


def talk(*budgets: dict[str, object], **options: object) -> World:
    """A conversation under these budgets, run until it rests. Each turn costs 3 tokens, a call and a second."""
    settings = GroupSettings(budgets=tuple(Budget.model_validate(budget) for budget in budgets))
    world = World.loaded(**{"rules": RoundRobinConfig(max_turns=9), "settings": settings, **options})
    world.post("m")
    world.run()
    return world


def by(world: World) -> list[tuple[str, str]]:
    """Who spoke, and chosen by what."""
    return [(turn.speaker.agent_id, turn.chosen_by) for turn in world.turns]


@pytest.mark.parametrize(
    ("budget", "reason", "explanation"),
    [
        ({"tokens": 10}, "token_budget", "the conversation has used 12 tokens of 10"),
        ({"model_calls": 4}, "model_call_budget", "the conversation has used 4 model calls of 4"),
        ({"seconds": 4}, "time_budget", "the conversation has used 4 seconds of 4"),
    ],
)
def test_a_conversation_concludes_and_closes_with_the_reason(
    budget: dict[str, object], reason: str, explanation: str
) -> None:
    world = talk(budget)
    assert by(world)[3:] == [("a0", "round_robin"), ("a0", "conclusion")]
    assert world.took[-1].conclude == world.turns[-1].reason == f"sums up: {explanation}"
    assert (world.state.phase, world.state.stop_reason) == ("closed", reason)
    assert (world.state.stop_explanation or "").startswith("the conversation has used ")
    with pytest.raises(ConversationClosed):
        world.post("late")


def test_a_conversation_that_is_to_stop_closes_at_once() -> None:
    world = talk({"tokens": 10, "on_reached": "stop"})
    assert by(world) == [("a0", "round_robin"), ("a1", "round_robin"), ("a2", "round_robin"), ("a0", "round_robin")]
    assert (world.state.phase, world.state.stop_reason) == ("closed", "token_budget")
    assert world.state.stop_explanation == "the conversation has used 12 tokens of 10"


def test_the_manager_sums_up_or_else_the_first_that_is_well() -> None:
    rules = DynamicConfig(manager_agent_id=MANAGER, fallback_manager_ids=(DEPUTY,))
    world = talk({"tokens": 20}, rules=rules)
    assert by(world)[-1] == ("manager", "conclusion")
    deputy = talk({"tokens": 20}, rules=rules, down=lambda turn: {MANAGER})
    assert by(deputy)[-1] == ("deputy", "conclusion")
    member = talk({"tokens": 50}, rules=rules, down=lambda turn: {MANAGER, DEPUTY})
    assert by(member)[-1] == (member.turns[-2].speaker.agent_id, "conclusion")
    assert [one.state.phase for one in (world, deputy, member)] == ["closed"] * 3


def test_a_conclusion_that_fails_closes_the_conversation_all_the_same() -> None:
    world = talk({"tokens": 10}, down=lambda turn: {"a0"} if turn == 5 else ())
    assert [(turn.chosen_by, turn.outcome) for turn in world.turns[-2:]] == [
        ("round_robin", "spoke"),
        ("conclusion", "failed"),
    ]
    assert (world.state.phase, world.state.stop_reason) == ("closed", "token_budget")


def test_what_is_posted_before_the_end_is_in_the_transcript() -> None:
    world = World.loaded(settings=GroupSettings(budgets=(Budget(tokens=3),)))
    world.post("first")
    world.turn()
    world.post("second")
    assert isinstance(world.run(), Finish)
    assert world.recorded() == ["first", "second"]


def test_a_budget_that_is_spent_between_two_rounds_lets_the_next_one_conclude_only() -> None:
    world = talk({"tokens": 1_000})
    world.command("update_settings", "u", budgets=[{"tokens": 20}])
    world.post("again")
    world.run()
    assert by(world)[9:] == [("a2", "conclusion")]
    assert world.state.phase == "closed"


def test_a_member_has_its_last_word_once_and_falls_silent_with_the_reason() -> None:
    world = talk({**MEMBER, "member": "Agent1", "model_calls": 2})
    assert by(world) == [
        ("a0", "round_robin"), ("a1", "round_robin"), ("a2", "round_robin"),
        ("a0", "round_robin"), ("a1", "round_robin"), ("a1", "conclusion"), ("a2", "round_robin"),
        ("a0", "round_robin"), ("a2", "round_robin"), ("a0", "round_robin"),
    ]  # fmt: skip
    muted = world.changes[-1]
    assert isinstance(muted, MemberMuted)
    assert (muted.command_id, muted.reason) == ("auto:2", "Agent1 has used 3 model calls of 2")
    assert world.state.roster.get("a1").state == "muted"
    assert (world.state.phase, world.state.stop_reason) == ("ready", "max_turns")


def test_a_member_that_is_to_stop_falls_silent_at_once() -> None:
    world = talk({**MEMBER, "member": "a1", "tokens": 6, "on_reached": "stop"})
    assert world.speakers() == ["a0", "a1", "a2", "a0", "a1", "a2", "a0", "a2", "a0"]
    assert [change.describe() for change in world.changes] == ["Agent1 is muted: Agent1 has used 6 tokens of 6"]


def test_a_last_word_neither_skips_nor_doubles_another() -> None:
    world = talk({**MEMBER, "member": "a1", "model_calls": 1}, rules=RoundRobinConfig(max_turns=6))
    spoken = [who for who, chosen_by in by(world) if chosen_by != "conclusion"]
    assert spoken == ["a0", "a1", "a2", "a0", "a2", "a0"], "a2 before a0 again; and the last word is none of the six"


def test_a_last_word_that_fails_was_the_last_one() -> None:
    world = talk({**MEMBER, "member": "a1", "model_calls": 1}, down=lambda turn: {"a1"} if turn == 3 else ())
    assert [turn.outcome for turn in world.turns if turn.speaker.agent_id == "a1"] == ["spoke", "failed"]
    assert world.state.roster.get("a1").state == "muted"


def test_a_members_last_word_is_not_the_conversations() -> None:
    world = talk({**MEMBER, "member": "a0", "model_calls": 1}, {"tokens": 12})
    assert by(world) == [
        ("a0", "round_robin"), ("a0", "conclusion"), ("a1", "round_robin"), ("a2", "round_robin"),
        ("a2", "conclusion"),
    ]  # fmt: skip
    assert world.state.phase == "closed"


def test_a_budget_of_each_member_silences_one_after_the_other_and_then_the_conversation_rests() -> None:
    world = talk({**MEMBER, "model_calls": 1}, rules=RoundRobinConfig(max_turns=50))
    assert world.speakers() == ["a0", "a0", "a1", "a1", "a2", "a2"]
    assert {member.state for member in world.state.roster.members} == {"muted"}
    assert world.state.phase == "paused"
    world.command("add_member", "a", agent="a5")
    world.run()
    assert world.speakers()[-2:] == ["a5", "a5"]


def test_one_that_a_budget_has_muted_speaks_again_when_the_budget_is_raised() -> None:
    world = talk(
        {**MEMBER, "member": "a1", "model_calls": 1, "on_reached": "stop"}, rules=RoundRobinConfig(max_turns=3)
    )
    world.command("unmute_member", "u", agent="a1")
    world.run()
    assert world.state.roster.get("a1").state == "muted", "its budget is spent still"
    world.command("update_settings", "s", budgets=[])
    world.command("unmute_member", "v", agent="a1")
    world.post("again")
    world.run()
    assert "a1" in world.speakers()[3:]


def test_failed_calls_count() -> None:
    world = talk({"model_calls": 4, "on_reached": "stop"}, down=lambda turn: {"a1"})
    assert [turn.outcome for turn in world.turns] == ["spoke", "failed", "spoke", "spoke"]


@given(makers(), happenings(tuple(COMMANDS)), st.sets(st.integers(0, 60)))
def test_the_sums_are_what_was_spent_also_after_continue_as_new(
    make: object, happened: list[TimelineItem], points: set[int]
) -> None:
    assert callable(make)
    world: World = make()
    for number, happening in enumerate(happened):
        play(world, happening)
        if number in points:
            world.state = ConversationState.model_validate_json(world.state.model_dump_json())
    assert world.state.usage == world.spent
    for member in world.state.roster.members:
        own = [turn for turn in world.turns if turn.speaker == member.ref and turn.turn > member.joined_turn]
        assert member.usage == sum((turn.usage for turn in own), Usage())
        assert member.seconds == sum(turn.seconds for turn in own)


@given(makers(), happenings(tuple(COMMANDS)), st.sampled_from(["conclude", "stop"]), st.integers(1, 60))
def test_a_budget_is_exceeded_by_one_turn_and_its_choice_and_by_the_conclusion_at_most(
    make: object, happened: list[TimelineItem], on_reached: str, limit: int
) -> None:
    assert callable(make)
    world: World = make()
    budget = {"model_calls": limit, "on_reached": on_reached}
    world.command("update_settings", "limit", budgets=[budget])
    for happening in happened:
        if getattr(happening, "name", "") != "update_settings":
            play(world, happening)
    over = world.spent.model_calls - limit
    # One turn, for which up to three managers were asked, and the conclusion.
    assert over <= 3 + 1 + 1
    closing = [taken for taken in world.took if taken.chosen.closes_conversation]
    assert len(closing) <= (1 if on_reached == "conclude" else 0)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "a budget limits at least one of tokens, model_calls and seconds"),
        ({"tokens": 0}, "tokens: "),
        ({"seconds": -1}, "seconds: "),
        ({"seconds": float("nan")}, "seconds: "),
        ({"tokens": 5, "member": "Agent1"}, "member: only a budget with scope 'member' names one"),
        ({"tokens": 5, "on_reached": "explode"}, "on_reached: "),
        ({"tokens": 5, "scope": "group"}, "scope: "),
        ({"token": 5}, "token: unknown field"),
    ],
)
def test_a_budget_that_cannot_be_is_refused_by_the_fields_name(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError) as error:
        Budget.model_validate(fields)
    assert says in format_validation_error(error.value)


def test_a_budget_is_reached_at_its_limit_not_before() -> None:
    budget = Budget(tokens=10, model_calls=3, seconds=5)
    assert check_budget(budget, Usage(prompt_tokens=5, completion_tokens=4, model_calls=2), 4.9, "x") is None
    for usage, seconds, reason in (
        (Usage(prompt_tokens=5, completion_tokens=5), 0, "token_budget"),
        (Usage(model_calls=3), 0, "model_call_budget"),
        (Usage(), 5, "time_budget"),
    ):
        spent = check_budget(budget, usage, seconds, "x")
        assert spent is not None
        assert (spent.reason, spent.concludes) == (reason, True)


def test_the_manager_that_concludes_is_charged_to_nobody_of_the_roster() -> None:
    world = talk({"tokens": 20}, rules=DynamicConfig(manager_agent_id=MANAGER))
    assert by(world)[-1] == ("manager", "conclusion")
    of_members = sum((member.usage for member in world.state.roster.members), Usage())
    asked = [one for one in world.decisions if type(one).__name__ == "AskManager"]
    assert world.state.usage.model_calls == of_members.model_calls + len(asked) + 1
    assert isinstance(world.state.roster, Roster)
