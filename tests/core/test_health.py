"""Health: healthy -> suspect -> isolated -> probation -> healthy; only a success leads back."""

from collections.abc import Callable
from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.core.commands import COMMANDS
from tertulia.core.group import DynamicConfig, GroupSettings, RoundRobinConfig
from tertulia.core.health import (
    HEALTHY,
    Health,
    HealthState,
    TurnTime,
    health_after_failure,
    health_after_success,
    isolate,
    retry_reason,
    start_probation,
)
from tertulia.core.roster_changes import ManagerHealthChanged, MemberHealthChanged
from tests.core.simulator import START_TIME, CoreSimulator, ref
from tests.core.strategies import MANAGER, Action, action_lists, perform_action, simulator_factories

RULES = GroupSettings(cool_down_turns=4, cool_down_seconds=100)
NEXT: dict[str, set[str]] = {
    "healthy": {"suspect", "isolated"},
    "suspect": {"healthy", "suspect", "isolated", "probation"},
    "isolated": {"isolated", "probation"},
    "probation": {"healthy", "suspect", "isolated"},
}
"""States that can follow each state without a command."""


def at(turn: int, seconds: float = 0) -> TurnTime:
    return TurnTime(turn=turn, at=START_TIME + timedelta(seconds=seconds))


def health_after_failures(times: int, rules: GroupSettings = RULES) -> Health:
    """Return the health after a number of failed turns in a row."""
    health = HEALTHY
    for number in range(times):
        health = health_after_failure(health, rules, at(number + 1), f"failure {number + 1}")
    return health


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_failures_in_a_row_isolate(limit: int) -> None:
    rules = GroupSettings(isolate_after_failures=limit)
    states = [health_after_failures(number, rules).state for number in range(limit + 1)]
    assert states == ["healthy", *["suspect"] * (limit - 1), "isolated"]
    assert health_after_failures(limit, rules).reason == f"failure {limit}"
    assert (health_after_failures(limit, rules).since_turn, health_after_failures(limit, rules).isolations) == (
        limit,
        1,
    )


def test_success_resets_failures() -> None:
    assert health_after_success(health_after_failures(1), at(2), 0, "") == HEALTHY
    assert health_after_failure(HEALTHY, RULES, at(3), "x").state == "suspect"


def test_failure_on_probation_isolates_again() -> None:
    rules = GroupSettings(isolate_after_failures=9)
    trial = start_probation(isolate(HEALTHY, at(1), "down"), at(9), "8 turns have passed")
    again = health_after_failure(trial, rules, at(10), "still down")
    assert (again.state, again.isolations, again.reason) == ("isolated", 2, "still down")


def test_success_on_probation_resets_isolations() -> None:
    trial = start_probation(health_after_failures(2), at(6), "4 turns have passed")
    assert (trial.state, trial.reason) == ("probation", "4 turns have passed")
    assert health_after_success(trial, at(7), 0, "") == HEALTHY


@given(st.integers(1, 12))
def test_isolation_doubles_up_to_a_bound(isolations: int) -> None:
    health = Health(state="isolated", isolations=isolations, since_turn=10, since=START_TIME)
    longer = 2 ** min(isolations - 1, 6)
    assert retry_reason(health, RULES, at(10 + 4 * longer - 1, 100 * longer - 1)) is None
    assert retry_reason(health, RULES, at(10 + 4 * longer)) == f"{4 * longer} turns have passed"
    assert retry_reason(health, RULES, at(10, 100 * longer)) == f"{100 * longer} s have passed"


def test_isolation_without_cool_down_is_endless() -> None:
    never = GroupSettings(cool_down_turns=None, cool_down_seconds=None)
    assert retry_reason(health_after_failures(2), never, at(10**6, 10**9)) is None
    by_time = GroupSettings(cool_down_turns=None, cool_down_seconds=9)
    assert retry_reason(isolate(HEALTHY, at(1), "x"), by_time, at(10**6, 8)) is None
    assert retry_reason(isolate(HEALTHY, at(1), "x"), by_time, at(1, 9))


def test_fallback_answer_makes_suspect() -> None:
    rescued = health_after_success(HEALTHY, at(3), 1, "main: 500")
    assert (rescued.state, rescued.fallback_index, rescued.failures, rescued.reason) == ("suspect", 1, 0, "main: 500")
    assert health_after_success(rescued, at(5), 1, "") == rescued, "its cool-down runs from the first such turn"
    assert health_after_success(rescued, at(5), 2, "spare: 500").fallback_index == 2
    assert start_probation(rescued, at(7), "x").fallback_index == 0, "it is tried with its own model"


def test_failed_fallback_returns_to_own_model() -> None:
    failed = health_after_failure(health_after_success(HEALTHY, at(1), 2, "x"), RULES, at(2), "all down")
    assert (failed.state, failed.fallback_index, failed.failures) == ("suspect", 0, 1)


def test_member_failure_and_recovery_cycle() -> None:
    simulator = CoreSimulator.loaded(
        rules=RoundRobinConfig(max_turns=24),
        settings=GroupSettings(cool_down_turns=4),
        down=lambda turn: {"a1"} if turn < 12 else (),
    )
    simulator.post("m")
    simulator.run()
    assert simulator.health_history("a1") == ["suspect", "isolated", "probation", "isolated", "probation", "healthy"]
    trials = [turn for turn in simulator.turns if turn.speaker.agent_id == "a1" and "on probation" in turn.reason]
    assert [turn.outcome for turn in trials] == ["failed", "spoke"]
    isolations = [
        one for one in simulator.changes if isinstance(one, MemberHealthChanged) and one.health.state == "isolated"
    ]
    assert [one.health.isolations for one in isolations] == [1, 2]
    assert trials[0].turn - isolations[0].health.since_turn > 4
    assert trials[1].turn - isolations[1].health.since_turn > 8, "the second isolation is twice as long"


def test_probation_allows_one_attempt() -> None:
    simulator = CoreSimulator.loaded(rules=RoundRobinConfig(max_turns=24), down=lambda turn: {"a1"} if turn < 8 else ())
    simulator.post("m")
    simulator.run()
    on_trial = [one.turn for one in simulator.turn_decisions if one.trial]
    assert on_trial == [turn.turn for turn in simulator.turns if "on probation" in turn.reason]
    assert on_trial


def test_cool_down_seconds_end_isolation() -> None:
    simulator = CoreSimulator.loaded(
        rules=RoundRobinConfig(max_turns=9),
        settings=GroupSettings(cool_down_turns=None, cool_down_seconds=1_000, isolate_after_failures=1),
        down=lambda turn: {"a1"} if turn < 4 else (),
    )
    simulator.post("m")
    simulator.run()
    assert simulator.health_history("a1") == ["isolated"]
    simulator.skipped_time += timedelta(seconds=1_000)
    simulator.post("later")
    simulator.run()
    assert simulator.health_history("a1") == ["isolated", "probation", "healthy"]


def test_fallback_is_first_until_cool_down_ends() -> None:
    simulator = CoreSimulator.loaded(
        rules=RoundRobinConfig(max_turns=10),
        settings=GroupSettings(cool_down_turns=5),
        outcome=lambda turn: "rescued" if turn == 1 else "spoke",
    )
    simulator.post("m")
    simulator.run()
    assert [
        (one.first_fallback_index, one.trial) for one in simulator.turn_decisions if one.chosen.member == ref(0)
    ] == [
        (0, False),
        (1, False),
        (0, True),
        (0, False),
    ]
    assert simulator.health_history("a0") == ["suspect", "probation", "healthy"]


@pytest.mark.parametrize("state", [state for state in get_args(HealthState) if state != "healthy"])
def test_reinstate_makes_healthy_from_any_state(state: HealthState) -> None:
    simulator = CoreSimulator.loaded()
    sick = simulator.state.roster.members[1].model_copy(
        update={"health": Health(state=state, failures=1, isolations=3)}
    )
    members = (simulator.state.roster.members[0], sick, simulator.state.roster.members[2])
    simulator.state = simulator.state.model_copy(
        update={"roster": simulator.state.roster.model_copy(update={"members": members})}
    )
    simulator.command("reinstate_member", "r", agent="Agent1")
    simulator.run()
    assert simulator.state.roster.get("a1").health == HEALTHY


@given(simulator_factories(), action_lists(tuple(COMMANDS)))
def test_health_transitions_are_allowed_ones(make: Callable[[], CoreSimulator], actions: list[Action]) -> None:
    simulator = make()
    for action in actions:
        perform_action(simulator, action)
    now: dict[str, str] = {}
    for change in simulator.changes:
        match change:
            case MemberHealthChanged(member=who) | ManagerHealthChanged(manager=who):
                state = change.health.state
                automatic = change.command_id.startswith("auto:")
                assert not automatic or state in NEXT[now.get(who.agent_id, "healthy")], simulator.changes
                assert automatic or state == "healthy"
                assert state == "healthy" or change.health.reason, "each step has its reason"
                assert change.describe()
                now[who.agent_id] = state
            case _:
                for newcomer in (getattr(change, name, None) for name in ("member", "replacement")):
                    if newcomer and change.kind in ("add", "replace", "reinstate"):
                        now[newcomer.agent_id] = "healthy"


def test_health_changes_have_ids_and_epochs() -> None:
    simulator = CoreSimulator.loaded(
        rules=DynamicConfig(manager_agent_id=MANAGER, max_turns=12),
        down=lambda turn: {"a1", "manager"} if turn < 8 else (),
    )
    simulator.post("m")
    simulator.run()
    ids = [str(change.command_id) for change in simulator.changes]
    assert ids == [f"auto:{epoch}" for epoch in range(2, 2 + len(ids))]
    assert {change.kind for change in simulator.changes} == {"health", "manager_health"}
