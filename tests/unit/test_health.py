"""Law of health: healthy -> suspect -> isolated -> probation -> healthy, and no way back but by a success."""

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
from tests.unit.strategies import MANAGER, TimelineItem, happenings, makers, play
from tests.unit.world import BEGINNING, World, ref

RULES = GroupSettings(cool_down_turns=4, cool_down_seconds=100)
NEXT: dict[str, set[str]] = {
    "healthy": {"suspect", "isolated"},
    "suspect": {"healthy", "suspect", "isolated", "probation"},
    "isolated": {"isolated", "probation"},
    "probation": {"healthy", "suspect", "isolated"},
}
"""What may follow on each state without an operator's word."""


def at(turn: int, seconds: float = 0) -> TurnTime:
    return TurnTime(turn=turn, at=BEGINNING + timedelta(seconds=seconds))


def failing(times: int, rules: GroupSettings = RULES) -> Health:
    """The health after so many failed turns in a row."""
    health = HEALTHY
    for number in range(times):
        health = health_after_failure(health, rules, at(number + 1), f"failure {number + 1}")
    return health


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_so_many_failed_turns_in_a_row_isolate_and_the_ones_before_make_suspect(limit: int) -> None:
    rules = GroupSettings(isolate_after_failures=limit)
    states = [failing(number, rules).state for number in range(limit + 1)]
    assert states == ["healthy", *["suspect"] * (limit - 1), "isolated"]
    assert failing(limit, rules).reason == f"failure {limit}"
    assert (failing(limit, rules).since_turn, failing(limit, rules).isolations) == (limit, 1)


def test_a_turn_that_succeeds_between_two_failures_forgets_the_first() -> None:
    assert health_after_success(failing(1), at(2), 0, "") == HEALTHY
    assert health_after_failure(HEALTHY, RULES, at(3), "x").state == "suspect"


def test_one_failure_on_probation_isolates_again_whatever_the_limit() -> None:
    rules = GroupSettings(isolate_after_failures=9)
    trial = start_probation(isolate(HEALTHY, at(1), "down"), at(9), "8 turns have passed")
    again = health_after_failure(trial, rules, at(10), "still down")
    assert (again.state, again.isolations, again.reason) == ("isolated", 2, "still down")


def test_a_turn_on_probation_that_succeeds_ends_it_and_counts_isolations_anew() -> None:
    trial = start_probation(failing(2), at(6), "4 turns have passed")
    assert (trial.state, trial.reason) == ("probation", "4 turns have passed")
    assert health_after_success(trial, at(7), 0, "") == HEALTHY


@given(st.integers(1, 12))
def test_each_further_isolation_lasts_twice_as_long_up_to_a_bound(isolations: int) -> None:
    health = Health(state="isolated", isolations=isolations, since_turn=10, since=BEGINNING)
    longer = 2 ** min(isolations - 1, 6)
    assert retry_reason(health, RULES, at(10 + 4 * longer - 1, 100 * longer - 1)) is None
    assert retry_reason(health, RULES, at(10 + 4 * longer)) == f"{4 * longer} turns have passed"
    assert retry_reason(health, RULES, at(10, 100 * longer)) == f"{100 * longer} s have passed"


def test_without_a_cool_down_an_isolation_has_no_end_of_its_own() -> None:
    never = GroupSettings(cool_down_turns=None, cool_down_seconds=None)
    assert retry_reason(failing(2), never, at(10**6, 10**9)) is None
    by_time = GroupSettings(cool_down_turns=None, cool_down_seconds=9)
    assert retry_reason(isolate(HEALTHY, at(1), "x"), by_time, at(10**6, 8)) is None
    assert retry_reason(isolate(HEALTHY, at(1), "x"), by_time, at(1, 9))


def test_one_that_answers_with_a_fallback_model_is_suspect_and_goes_on_with_that_model() -> None:
    rescued = health_after_success(HEALTHY, at(3), 1, "main: 500")
    assert (rescued.state, rescued.fallback_index, rescued.failures, rescued.reason) == ("suspect", 1, 0, "main: 500")
    assert health_after_success(rescued, at(5), 1, "") == rescued, "its cool-down runs from the first such turn"
    assert health_after_success(rescued, at(5), 2, "spare: 500").fallback_index == 2
    assert start_probation(rescued, at(7), "x").fallback_index == 0, "it is tried with its own model"


def test_a_failed_turn_of_one_with_a_fallback_model_begins_with_its_own_model_again() -> None:
    failed = health_after_failure(health_after_success(HEALTHY, at(1), 2, "x"), RULES, at(2), "all down")
    assert (failed.state, failed.fallback_index, failed.failures) == ("suspect", 0, 1)


def test_the_way_of_a_member_that_fails_and_recovers() -> None:
    world = World.loaded(
        rules=RoundRobinConfig(max_turns=24),
        settings=GroupSettings(cool_down_turns=4),
        down=lambda turn: {"a1"} if turn < 12 else (),
    )
    world.post("m")
    world.run()
    assert world.health_of("a1") == ["suspect", "isolated", "probation", "isolated", "probation", "healthy"]
    trials = [turn for turn in world.turns if turn.speaker.agent_id == "a1" and "on probation" in turn.reason]
    assert [turn.outcome for turn in trials] == ["failed", "spoke"]
    isolations = [
        one for one in world.changes if isinstance(one, MemberHealthChanged) and one.health.state == "isolated"
    ]
    assert [one.health.isolations for one in isolations] == [1, 2]
    assert trials[0].turn - isolations[0].health.since_turn > 4
    assert trials[1].turn - isolations[1].health.since_turn > 8, "the second isolation is twice as long"


def test_one_attempt_decides_for_one_on_probation_and_only_for_one() -> None:
    world = World.loaded(rules=RoundRobinConfig(max_turns=24), down=lambda turn: {"a1"} if turn < 8 else ())
    world.post("m")
    world.run()
    on_trial = [one.turn for one in world.took if one.trial]
    assert on_trial == [turn.turn for turn in world.turns if "on probation" in turn.reason]
    assert on_trial


def test_a_cool_down_of_time_also_ends_an_isolation() -> None:
    world = World.loaded(
        rules=RoundRobinConfig(max_turns=9),
        settings=GroupSettings(cool_down_turns=None, cool_down_seconds=1_000, isolate_after_failures=1),
        down=lambda turn: {"a1"} if turn < 4 else (),
    )
    world.post("m")
    world.run()
    assert world.health_of("a1") == ["isolated"]
    world.rested += timedelta(seconds=1_000)
    world.post("later")
    world.run()
    assert world.health_of("a1") == ["isolated", "probation", "healthy"]


def test_a_fallback_model_is_asked_first_until_the_cool_down_is_over() -> None:
    world = World.loaded(
        rules=RoundRobinConfig(max_turns=10),
        settings=GroupSettings(cool_down_turns=5),
        outcome=lambda turn: "rescued" if turn == 1 else "spoke",
    )
    world.post("m")
    world.run()
    assert [(one.first_fallback_index, one.trial) for one in world.took if one.chosen.member == ref(0)] == [
        (0, False),
        (1, False),
        (0, True),
        (0, False),
    ]
    assert world.health_of("a0") == ["suspect", "probation", "healthy"]


@pytest.mark.parametrize("state", [state for state in get_args(HealthState) if state != "healthy"])
def test_an_operator_makes_healthy_at_once_from_any_state(state: HealthState) -> None:
    world = World.loaded()
    sick = world.state.roster.members[1].model_copy(update={"health": Health(state=state, failures=1, isolations=3)})
    members = (world.state.roster.members[0], sick, world.state.roster.members[2])
    world.state = world.state.model_copy(update={"roster": world.state.roster.model_copy(update={"members": members})})
    world.command("reinstate_member", "r", agent="Agent1")
    world.run()
    assert world.state.roster.get("a1").health == HEALTHY


@given(makers(), happenings(tuple(COMMANDS)))
def test_nobody_comes_into_a_state_but_by_the_way_there(
    make: Callable[[], World], happened: list[TimelineItem]
) -> None:
    world = make()
    for happening in happened:
        play(world, happening)
    now: dict[str, str] = {}
    for change in world.changes:
        match change:
            case MemberHealthChanged(member=who) | ManagerHealthChanged(manager=who):
                state = change.health.state
                automatic = change.command_id.startswith("auto:")
                assert not automatic or state in NEXT[now.get(who.agent_id, "healthy")], world.changes
                assert automatic or state == "healthy"
                assert state == "healthy" or change.health.reason, "each step has its reason"
                assert change.describe()
                now[who.agent_id] = state
            case _:
                for newcomer in (getattr(change, name, None) for name in ("member", "replacement")):
                    if newcomer and change.kind in ("add", "replace", "reinstate"):
                        now[newcomer.agent_id] = "healthy"


def test_every_change_of_health_bears_an_id_of_its_own_and_the_next_epoch() -> None:
    world = World.loaded(
        rules=DynamicConfig(manager_agent_id=MANAGER, max_turns=12),
        down=lambda turn: {"a1", "manager"} if turn < 8 else (),
    )
    world.post("m")
    world.run()
    ids = [str(change.command_id) for change in world.changes]
    assert ids == [f"auto:{epoch}" for epoch in range(2, 2 + len(ids))]
    assert {change.kind for change in world.changes} == {"health", "manager_health"}
