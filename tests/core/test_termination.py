"""Termination of rounds, and the recorded reasons."""

import pytest
from hypothesis import given
from pydantic import ValidationError

from tertulia.core.base import format_validation_error
from tertulia.core.decisions import WaitForInput
from tertulia.core.group import MAX_CONDITIONS, DynamicConfig, GroupSettings, ManagerConfig, RoundRobinConfig
from tertulia.core.ids import AgentId
from tertulia.core.round_rules import termination_tokens
from tertulia.core.state import ConversationState
from tertulia.core.status import build_status
from tertulia.core.termination import (
    AllOf,
    AnyOf,
    Condition,
    MaxTurns,
    RoundProgress,
    TerminationToken,
    TimeBudget,
    TokenBudget,
    count_conditions,
    find_tokens,
    termination_tokens_in,
)
from tests.core.simulator import CoreSimulator, SimulatedOutcome
from tests.core.strategies import conditions


def progress(**fields: object) -> RoundProgress:
    return RoundProgress.model_validate({"turns": 0, "tokens": 0, "conversation_tokens": 0, "seconds": 0, **fields})


def first_round_result(simulator: CoreSimulator) -> tuple[int, str | None]:
    """Return the number of turns of the first round and the reason of its end."""
    simulator.post("m")
    simulator.run()
    return len(simulator.turns), simulator.state.stop_reason


@pytest.mark.parametrize(
    ("condition", "before", "at"),
    [
        (MaxTurns(limit=3), {"turns": 2}, {"turns": 3}),
        (TokenBudget(limit=10), {"tokens": 9, "conversation_tokens": 99}, {"tokens": 10}),
        (
            TokenBudget(limit=10, scope="conversation"),
            {"tokens": 99, "conversation_tokens": 9},
            {"conversation_tokens": 10},
        ),
        (TimeBudget(seconds=1.5), {"seconds": 1.4}, {"seconds": 1.5}),
        (TerminationToken(token="STOP"), {"tokens_found": ("stop",)}, {"tokens_found": ("x", "STOP")}),
    ],
)
def test_condition_is_met_at_its_limit(condition: Condition, before: dict[str, object], at: dict[str, object]) -> None:
    assert condition.evaluate(progress(**before)) is None
    met = condition.evaluate(progress(**at))
    assert met is not None
    assert met.reason == condition.type
    assert met.explanation


@given(conditions)
def test_any_is_or_and_all_is_and(condition: Condition) -> None:
    now = progress(turns=3, tokens=20, conversation_tokens=60, seconds=10)
    held = condition.evaluate(now)
    assert bool(AnyOf(conditions=(condition, MaxTurns(limit=4))).evaluate(now)) == bool(held)
    assert AnyOf(conditions=(condition, MaxTurns(limit=3))).evaluate(now)
    assert bool(AllOf(conditions=(condition, MaxTurns(limit=3))).evaluate(now)) == bool(held)
    assert AllOf(conditions=(condition, MaxTurns(limit=4))).evaluate(now) is None


def test_combined_conditions_give_reasons() -> None:
    now = progress(turns=5, seconds=9)
    first = AnyOf(conditions=(TokenBudget(limit=1), TimeBudget(seconds=9), MaxTurns(limit=5))).evaluate(now)
    assert first is not None
    assert first.reason == "time_budget"
    both = AllOf(conditions=(MaxTurns(limit=5), TimeBudget(seconds=9), MaxTurns(limit=1))).evaluate(now)
    assert both is not None
    assert both.reason == "max_turns+time_budget"
    assert "5 of at most 5 turns" in both.explanation
    assert "the round lasted 9 s; the limit is 9 s" in both.explanation


def test_round_ends_at_max_turns() -> None:
    assert first_round_result(CoreSimulator.loaded(rules=RoundRobinConfig(max_turns=5))) == (5, "max_turns")


def test_token_ends_only_its_own_round() -> None:
    simulator = CoreSimulator.loaded(
        rules=RoundRobinConfig(max_turns=5), outcome=lambda turn: "done" if turn == 2 else "spoke"
    )
    assert first_round_result(simulator) == (2, "termination_token")
    assert simulator.state.stop_explanation == "a member's message contains 'DONE!'"
    simulator.post("again")
    simulator.run()
    assert (len(simulator.turns), simulator.state.stop_reason) == (7, "max_turns")


def test_token_disabled_in_rules_is_ignored() -> None:
    simulator = CoreSimulator.loaded(
        rules=RoundRobinConfig(max_turns=5, termination_token=None), outcome=lambda turn: "done"
    )
    assert termination_tokens(simulator.state) == ()
    assert first_round_result(simulator) == (5, "max_turns")


def test_round_ends_when_all_pass() -> None:
    outcomes: dict[int, SimulatedOutcome] = {1: "passed", 2: "spoke"}
    simulator = CoreSimulator.loaded(
        rules=RoundRobinConfig(max_turns=50), outcome=lambda turn: outcomes.get(turn, "passed")
    )
    assert first_round_result(simulator) == (5, "all_passed")


def test_all_failing_members_pause() -> None:
    simulator = CoreSimulator.loaded(rules=RoundRobinConfig(max_turns=50), outcome=lambda turn: "failed")
    simulator.post("m")
    rest = simulator.run()
    assert isinstance(rest, WaitForInput)
    assert (rest.phase, rest.until) == ("paused", build_status(simulator.state).next_probe_at)
    assert rest.until is not None
    assert len(simulator.turns) == 3
    assert build_status(simulator.state).paused_because == "no_available_participants"
    simulator.command("resume", "r")
    simulator.wait_for_probe()
    assert len(simulator.turns) == 4, "resume tries one member at once"


def test_success_between_failures_continues() -> None:
    simulator = CoreSimulator.loaded(
        rules=RoundRobinConfig(max_turns=7),
        outcome=lambda turn: "spoke" if turn % 3 == 0 else "failed",
        settings=GroupSettings(isolate_after_failures=10),
    )
    assert first_round_result(simulator) == (7, "max_turns")
    assert simulator.state.outage is None


def test_round_token_budget_resets() -> None:
    settings = GroupSettings(termination=TokenBudget(limit=7))
    simulator = CoreSimulator.loaded(rules=RoundRobinConfig(max_turns=50), settings=settings)
    assert first_round_result(simulator) == (3, "token_budget")
    simulator.post("again")
    simulator.run()
    assert len(simulator.turns) == 6


def test_conversation_token_budget_persists() -> None:
    settings = GroupSettings(termination=TokenBudget(limit=7, scope="conversation"))
    simulator = CoreSimulator.loaded(rules=RoundRobinConfig(max_turns=50), settings=settings)
    assert first_round_result(simulator) == (3, "token_budget")
    simulator.post("again")
    simulator.run()
    assert (len(simulator.turns), simulator.recorded_ids(), simulator.state.rounds) == (3, ["m", "again"], 2)


def test_manager_tokens_count() -> None:
    rules = DynamicConfig(manager_agent_id=AgentId("manager"), max_turns=50)
    simulator = CoreSimulator.loaded(rules=rules, settings=GroupSettings(termination=TokenBudget(limit=7)))
    assert first_round_result(simulator) == (2, "token_budget")
    assert simulator.state.usage.total_tokens == 12


def test_time_budget_counts_from_round_start() -> None:
    settings = GroupSettings(termination=TimeBudget(seconds=20))
    simulator = CoreSimulator.loaded(rules=RoundRobinConfig(max_turns=50), settings=settings, seconds_per_event=10)
    assert first_round_result(simulator) == (2, "time_budget")


def test_all_of_needs_every_condition() -> None:
    both = AllOf(conditions=(MaxTurns(limit=2), TokenBudget(limit=12)))
    simulator = CoreSimulator.loaded(rules=RoundRobinConfig(max_turns=50), settings=GroupSettings(termination=both))
    assert first_round_result(simulator) == (4, "max_turns+token_budget")


def test_new_round_clears_stop_reason() -> None:
    simulator = CoreSimulator.loaded()
    simulator.post("m")
    simulator.run()
    assert simulator.state.stop_reason == "max_turns"
    simulator.post("again")
    simulator.turn()
    assert simulator.state.stop_reason is None


@pytest.mark.parametrize(
    ("rules_version", "turns"), [(1, 20), (2, 3)], ids=["rules 1: twenty", "rules 2: active members"]
)
def test_default_max_turns_of_dynamic_groups(rules_version: int, turns: int) -> None:
    rules = DynamicConfig(manager_agent_id=AgentId("manager"))
    simulator = CoreSimulator.loaded(rules=rules, rules_version=rules_version)
    assert first_round_result(simulator) == (turns, "max_turns")


@pytest.mark.parametrize("rules", [RoundRobinConfig(), DynamicConfig(manager_agent_id=AgentId("manager"))])
def test_default_max_turns_follows_the_roster(rules: ManagerConfig) -> None:
    simulator = CoreSimulator.loaded(rules=rules)
    simulator.command("mute_member", "mute", agent="a1")
    simulator.command("add_member", "a", agent="a4")
    simulator.command("add_member", "b", agent="a5", state="standby")
    assert first_round_result(simulator) == (3, "max_turns")


def test_explanation_of_a_lowered_limit() -> None:
    result = MaxTurns(limit=2).evaluate(progress(turns=4))
    assert result and result.explanation == "4 turns were taken; the limit is 2"


def test_termination_tokens_are_unique() -> None:
    state = ConversationState(
        group="g",
        settings=GroupSettings(
            termination=AnyOf(
                conditions=(
                    TerminationToken(token="STOP"),
                    AllOf(conditions=(TerminationToken(), TerminationToken(token="BASTA"))),
                )
            )
        ),
    )
    assert termination_tokens(state) == ("DONE!", "STOP", "BASTA")
    assert find_tokens("we are DONE! BASTA", ("DONE!", "STOP", "BASTA")) == ("DONE!", "BASTA")


def test_nested_conditions_are_limited() -> None:
    deep: Condition = MaxTurns(limit=1)
    while count_conditions(deep) < MAX_CONDITIONS:
        deep = AnyOf(conditions=(deep,))
    kept = GroupSettings.model_validate_json(GroupSettings(termination=deep).model_dump_json())
    assert kept.termination == deep
    assert list(termination_tokens_in(deep)) == []
    with pytest.raises(ValidationError) as error:
        GroupSettings(termination=AnyOf(conditions=(deep,)))
    assert (
        format_validation_error(error.value)
        == f"termination: at most {MAX_CONDITIONS} conditions are allowed, nested ones included"
    )
