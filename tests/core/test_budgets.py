"""Budgets: usage is counted in the state; a spent budget closes the conversation or mutes the member, once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tertulia.core.base import format_validation_error
from tertulia.core.budgets import Budget, check_budget
from tertulia.core.commands import COMMANDS
from tertulia.core.decisions import Finish
from tertulia.core.errors import ConversationClosed
from tertulia.core.group import DynamicConfig, GroupSettings, ManagerConfig, RoundRobinConfig
from tertulia.core.roster import Roster
from tertulia.core.roster_changes import MemberMuted
from tertulia.core.state import ConversationState
from tertulia.core.usage import Usage
from tests.core.simulator import CoreSimulator
from tests.core.strategies import DEPUTY, MANAGER, Action, action_lists, perform_action, simulator_factories

MEMBER = {"scope": "member"}


def run_with_budgets(*budgets: dict[str, object], **options: object) -> CoreSimulator:
    """Run a conversation with these budgets until it waits. Each turn uses 3 tokens, one call and one second."""
    settings = GroupSettings(budgets=tuple(Budget.model_validate(budget) for budget in budgets))
    simulator = CoreSimulator.loaded(**{"rules": RoundRobinConfig(max_turns=9), "settings": settings, **options})
    simulator.post("m")
    simulator.run()
    return simulator


def speaker_choices(simulator: CoreSimulator) -> list[tuple[str, str]]:
    """Return speaker and `chosen_by` of each turn."""
    return [(turn.speaker.agent_id, turn.chosen_by) for turn in simulator.turns]


@pytest.mark.parametrize(
    ("budget", "reason", "explanation"),
    [
        ({"tokens": 10}, "token_budget", "the conversation has used 12 tokens; the limit is 10"),
        (
            {"model_calls": 5},
            "model_call_budget",
            "the conversation has used 4 of 5 model calls; the rest is reserved for the conclusion",
        ),
        ({"seconds": 4}, "time_budget", "the conversation has used 4 of 4 seconds"),
    ],
)
def test_budget_concludes_and_closes(budget: dict[str, object], reason: str, explanation: str) -> None:
    simulator = run_with_budgets(budget)
    assert speaker_choices(simulator)[3:] == [("a0", "round_robin"), ("a0", "conclusion")]
    assert simulator.turn_decisions[-1].conclude == simulator.turns[-1].reason == f"sums up: {explanation}"
    assert (simulator.state.phase, simulator.state.stop_reason) == ("closed", reason)
    assert (simulator.state.stop_explanation or "").startswith("the conversation has used ")
    with pytest.raises(ConversationClosed):
        simulator.post("late")


def test_budget_stop_closes_at_once() -> None:
    simulator = run_with_budgets({"tokens": 10, "on_reached": "stop"})
    assert speaker_choices(simulator) == [
        ("a0", "round_robin"),
        ("a1", "round_robin"),
        ("a2", "round_robin"),
        ("a0", "round_robin"),
    ]
    assert (simulator.state.phase, simulator.state.stop_reason) == ("closed", "token_budget")
    assert simulator.state.stop_explanation == "the conversation has used 12 tokens; the limit is 10"


def test_conclusion_speaker_is_manager_or_first() -> None:
    rules = DynamicConfig(manager_agent_id=MANAGER, fallback_manager_ids=(DEPUTY,), max_turns=20)
    simulator = run_with_budgets({"tokens": 20}, rules=rules)
    assert speaker_choices(simulator)[-1] == ("manager", "conclusion")
    deputy = run_with_budgets({"tokens": 20}, rules=rules, down=lambda turn: {MANAGER})
    assert speaker_choices(deputy)[-1] == ("deputy", "conclusion")
    member = run_with_budgets({"tokens": 50}, rules=rules, down=lambda turn: {MANAGER, DEPUTY})
    assert speaker_choices(member)[-1] == (member.turns[-2].speaker.agent_id, "conclusion")
    assert [one.state.phase for one in (simulator, deputy, member)] == ["closed"] * 3


def test_failed_conclusion_still_closes() -> None:
    simulator = run_with_budgets({"tokens": 10}, down=lambda turn: {"a0"} if turn == 5 else ())
    assert [(turn.chosen_by, turn.outcome) for turn in simulator.turns[-2:]] == [
        ("round_robin", "spoke"),
        ("conclusion", "failed"),
    ]
    assert (simulator.state.phase, simulator.state.stop_reason) == ("closed", "token_budget")


def test_posts_before_closing_are_recorded() -> None:
    simulator = CoreSimulator.loaded(settings=GroupSettings(budgets=(Budget(tokens=3),)))
    simulator.post("first")
    simulator.turn()
    simulator.post("second")
    assert isinstance(simulator.run(), Finish)
    assert simulator.recorded_ids() == ["first", "second"]


def test_budget_spent_between_rounds_concludes() -> None:
    simulator = run_with_budgets({"tokens": 1_000})
    simulator.command("update_settings", "u", budgets=[{"tokens": 20}])
    simulator.post("again")
    simulator.run()
    assert speaker_choices(simulator)[9:] == [("a2", "conclusion")]
    assert simulator.state.phase == "closed"


def test_member_budget_gives_one_last_turn() -> None:
    simulator = run_with_budgets({**MEMBER, "member": "Agent1", "model_calls": 3})
    assert speaker_choices(simulator) == [
        ("a0", "round_robin"), ("a1", "round_robin"), ("a2", "round_robin"),
        ("a0", "round_robin"), ("a1", "round_robin"), ("a1", "conclusion"), ("a2", "round_robin"),
        ("a0", "round_robin"), ("a2", "round_robin"), ("a0", "round_robin"),
    ]  # fmt: skip
    muted = simulator.changes[-1]
    assert isinstance(muted, MemberMuted)
    assert (muted.command_id, muted.reason) == ("auto:2", "Agent1 has used 3 of 3 model calls")
    assert simulator.state.roster.get("a1").state == "muted"
    assert (simulator.state.phase, simulator.state.stop_reason) == ("ready", "max_turns")


def test_member_budget_stop_mutes_at_once() -> None:
    simulator = run_with_budgets({**MEMBER, "member": "a1", "tokens": 6, "on_reached": "stop"})
    assert simulator.speakers() == ["a0", "a1", "a2", "a0", "a1", "a2", "a0", "a2", "a0"]
    assert [change.describe() for change in simulator.changes] == ["Agent1 is muted: Agent1 has used 6 of 6 tokens"]


def test_last_turn_keeps_rotation() -> None:
    simulator = run_with_budgets({**MEMBER, "member": "a1", "model_calls": 2}, rules=RoundRobinConfig(max_turns=6))
    spoken = [who for who, chosen_by in speaker_choices(simulator) if chosen_by != "conclusion"]
    assert spoken == ["a0", "a1", "a2", "a0", "a2", "a0"], (
        "a2 before a0 again; and the concluding turn is not one of the six"
    )


def test_failed_last_turn_is_final() -> None:
    simulator = run_with_budgets(
        {**MEMBER, "member": "a1", "model_calls": 2}, down=lambda turn: {"a1"} if turn == 3 else ()
    )
    assert [turn.outcome for turn in simulator.turns if turn.speaker.agent_id == "a1"] == ["spoke", "failed"]
    assert simulator.state.roster.get("a1").state == "muted"


def test_member_and_conversation_conclusions() -> None:
    simulator = run_with_budgets({**MEMBER, "member": "a0", "model_calls": 2}, {"tokens": 12})
    assert speaker_choices(simulator) == [
        ("a0", "round_robin"), ("a0", "conclusion"), ("a1", "round_robin"), ("a2", "round_robin"),
        ("a2", "conclusion"),
    ]  # fmt: skip
    assert simulator.state.phase == "closed"


def test_member_budgets_mute_all_then_pause() -> None:
    simulator = run_with_budgets({**MEMBER, "model_calls": 2}, rules=RoundRobinConfig(max_turns=50))
    assert simulator.speakers() == ["a0", "a0", "a1", "a1", "a2", "a2"]
    assert {member.state for member in simulator.state.roster.members} == {"muted"}
    assert simulator.state.phase == "paused"
    simulator.command("add_member", "a", agent="a5")
    simulator.run()
    assert simulator.speakers()[-2:] == ["a5", "a5"]


def test_raised_budget_allows_unmute() -> None:
    simulator = run_with_budgets(
        {**MEMBER, "member": "a1", "model_calls": 1, "on_reached": "stop"}, rules=RoundRobinConfig(max_turns=3)
    )
    simulator.command("unmute_member", "u", agent="a1")
    simulator.run()
    assert simulator.state.roster.get("a1").state == "muted", "its budget is spent still"
    simulator.command("update_settings", "s", budgets=[])
    simulator.command("unmute_member", "v", agent="a1")
    simulator.post("again")
    simulator.run()
    assert "a1" in simulator.speakers()[3:]


def test_failed_calls_count_against_budget() -> None:
    simulator = run_with_budgets({"model_calls": 4, "on_reached": "stop"}, down=lambda turn: {"a1"})
    assert [turn.outcome for turn in simulator.turns] == ["spoke", "failed", "spoke", "spoke"]


@given(simulator_factories(), action_lists(tuple(COMMANDS)), st.sets(st.integers(0, 60)))
def test_usage_sums_survive_continue_as_new(make: object, actions: list[Action], points: set[int]) -> None:
    assert callable(make)
    simulator: CoreSimulator = make()
    for number, action in enumerate(actions):
        perform_action(simulator, action)
        if number in points:
            simulator.state = ConversationState.model_validate_json(simulator.state.model_dump_json())
    assert simulator.state.usage == simulator.spent
    for member in simulator.state.roster.members:
        own = [turn for turn in simulator.turns if turn.speaker == member.ref and turn.turn > member.joined_turn]
        assert member.usage == sum((turn.usage for turn in own), Usage())
        assert member.seconds == sum(turn.seconds for turn in own)


@given(simulator_factories(), action_lists(tuple(COMMANDS)), st.sampled_from(["conclude", "stop"]), st.integers(1, 60))
def test_budget_overrun_is_bounded(make: object, actions: list[Action], on_reached: str, limit: int) -> None:
    assert callable(make)
    simulator: CoreSimulator = make()
    budget = {"model_calls": limit, "on_reached": on_reached}
    simulator.command("update_settings", "limit", budgets=[budget])
    for action in actions:
        if getattr(action, "name", "") != "update_settings":
            perform_action(simulator, action)
    over = simulator.spent.model_calls - limit
    # One turn, for which up to three managers were asked, and the conclusion.
    assert over <= 3 + 1 + 1
    closing = [taken for taken in simulator.turn_decisions if taken.chosen.closes_conversation]
    assert len(closing) <= (1 if on_reached == "conclude" else 0)


@pytest.mark.parametrize("rules", [RoundRobinConfig(), DynamicConfig(manager_agent_id=MANAGER)])
@pytest.mark.parametrize("limit", range(1, 12))
def test_concluding_call_is_reserved(rules: ManagerConfig, limit: int) -> None:
    simulator = run_with_budgets({"model_calls": limit}, rules=rules.model_copy(update={"max_turns": 20}))
    assert speaker_choices(simulator)[-1][1] == "conclusion"
    assert limit - 1 <= simulator.spent.model_calls <= limit
    assert simulator.state.phase == "closed"


@pytest.mark.parametrize("limit", range(1, 12))
def test_concluding_member_call_is_reserved(limit: int) -> None:
    rules = RoundRobinConfig(max_turns=40)
    simulator = run_with_budgets({**MEMBER, "member": "a1", "model_calls": limit}, rules=rules)
    own = [choice for choice in speaker_choices(simulator) if choice[0] == "a1"]
    assert own == [("a1", "round_robin")] * (limit - 1) + [("a1", "conclusion")]


def test_rules_1_reserve_no_concluding_call() -> None:
    simulator = run_with_budgets({"model_calls": 4}, rules_version=1)
    assert speaker_choices(simulator)[3:] == [("a0", "round_robin"), ("a0", "conclusion")]
    assert simulator.spent.model_calls == 5
    assert simulator.state.stop_explanation == "the conversation has used 5 model calls; the limit is 4"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "a budget must limit at least one of tokens, model_calls and seconds"),
        ({"tokens": 0}, "tokens: "),
        ({"seconds": -1}, "seconds: "),
        ({"seconds": float("nan")}, "seconds: "),
        ({"tokens": 5, "member": "Agent1"}, "member: only a budget with scope 'member' can name a member"),
        ({"tokens": 5, "on_reached": "explode"}, "on_reached: "),
        ({"tokens": 5, "scope": "group"}, "scope: "),
        ({"token": 5}, "token: unknown field"),
    ],
)
def test_budget_invalid_names_field(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        Budget.model_validate(fields)
    assert message in format_validation_error(error.value)


def test_budget_is_reached_at_its_limit() -> None:
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


def test_manager_conclusion_charges_no_member() -> None:
    simulator = run_with_budgets({"tokens": 20}, rules=DynamicConfig(manager_agent_id=MANAGER, max_turns=20))
    assert speaker_choices(simulator)[-1] == ("manager", "conclusion")
    of_members = sum((member.usage for member in simulator.state.roster.members), Usage())
    asked = [one for one in simulator.decisions if type(one).__name__ == "AskManager"]
    assert simulator.state.usage.model_calls == of_members.model_calls + len(asked) + 1
    assert isinstance(simulator.state.roster, Roster)
