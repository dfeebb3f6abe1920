"""When a round ends, and the reason that is recorded."""

import pytest
from hypothesis import given
from pydantic import ValidationError

from tertulia.core.base import format_validation_error
from tertulia.core.decisions import WaitForInput
from tertulia.core.group import MAX_CONDITIONS, DynamicConfig, GroupSettings, RoundRobinConfig
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
from tests.unit.strategies import conditions
from tests.unit.world import Outcome, World


def progress(**fields: object) -> RoundProgress:
    return RoundProgress.model_validate({"turns": 0, "tokens": 0, "conversation_tokens": 0, "seconds": 0, **fields})


def ended(world: World) -> tuple[int, str | None]:
    """How many turns the first round has, and why it ended."""
    world.post("m")
    world.run()
    return len(world.turns), world.state.stop_reason


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
def test_a_condition_holds_from_its_limit_on(
    condition: Condition, before: dict[str, object], at: dict[str, object]
) -> None:
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


def test_the_first_of_any_and_every_one_of_all_give_the_reason() -> None:
    now = progress(turns=5, seconds=9)
    first = AnyOf(conditions=(TokenBudget(limit=1), TimeBudget(seconds=9), MaxTurns(limit=5))).evaluate(now)
    assert first is not None
    assert first.reason == "time_budget"
    both = AllOf(conditions=(MaxTurns(limit=5), TimeBudget(seconds=9), MaxTurns(limit=1))).evaluate(now)
    assert both is not None
    assert both.reason == "max_turns+time_budget"
    assert "5 of at most 5 turns" in both.explanation
    assert "the round lasted 9 s of 9 s" in both.explanation


def test_the_round_ends_at_max_turns() -> None:
    assert ended(World.loaded(rules=RoundRobinConfig(max_turns=5))) == (5, "max_turns")


def test_a_token_ends_the_round_at_once_and_only_the_round_in_which_it_was_said() -> None:
    world = World.loaded(rules=RoundRobinConfig(max_turns=5), outcome=lambda turn: "done" if turn == 2 else "spoke")
    assert ended(world) == (2, "termination_token")
    assert world.state.stop_explanation == "a participant said 'DONE!'"
    world.post("again")
    world.run()
    assert (len(world.turns), world.state.stop_reason) == (7, "max_turns")


def test_without_a_token_in_the_rules_nobody_can_say_it() -> None:
    world = World.loaded(rules=RoundRobinConfig(max_turns=5, termination_token=None), outcome=lambda turn: "done")
    assert termination_tokens(world.state) == ()
    assert ended(world) == (5, "max_turns")


def test_a_round_in_which_all_pass_one_after_the_other_ends() -> None:
    outcomes: dict[int, Outcome] = {1: "passed", 2: "spoke"}
    world = World.loaded(rules=RoundRobinConfig(max_turns=50), outcome=lambda turn: outcomes.get(turn, "passed"))
    assert ended(world) == (5, "all_passed")


def test_those_that_all_fail_pause_the_conversation_with_the_reason() -> None:
    world = World.loaded(rules=RoundRobinConfig(max_turns=50), outcome=lambda turn: "failed")
    world.post("m")
    rest = world.run()
    assert isinstance(rest, WaitForInput)
    assert (rest.phase, rest.until) == ("paused", build_status(world.state).next_probe_at)
    assert rest.until is not None
    assert len(world.turns) == 3
    assert build_status(world.state).paused_because == "no_available_participants"
    world.command("resume", "r")
    world.wait()
    assert len(world.turns) == 4, "resume tries one member at once"


def test_a_word_between_failures_keeps_the_conversation_going() -> None:
    world = World.loaded(
        rules=RoundRobinConfig(max_turns=7),
        outcome=lambda turn: "spoke" if turn % 3 == 0 else "failed",
        settings=GroupSettings(isolate_after_failures=10),
    )
    assert ended(world) == (7, "max_turns")
    assert world.state.outage is None


def test_the_token_budget_of_a_round_begins_anew_with_each_round() -> None:
    settings = GroupSettings(termination=TokenBudget(limit=7))
    world = World.loaded(rules=RoundRobinConfig(max_turns=50), settings=settings)
    assert ended(world) == (3, "token_budget")
    world.post("again")
    world.run()
    assert len(world.turns) == 6


def test_the_token_budget_of_a_conversation_does_not() -> None:
    settings = GroupSettings(termination=TokenBudget(limit=7, scope="conversation"))
    world = World.loaded(rules=RoundRobinConfig(max_turns=50), settings=settings)
    assert ended(world) == (3, "token_budget")
    world.post("again")
    world.run()
    assert (len(world.turns), world.recorded(), world.state.rounds) == (3, ["m", "again"], 2)


def test_the_managers_own_tokens_count() -> None:
    rules = DynamicConfig(manager_agent_id=AgentId("manager"), max_turns=50)
    world = World.loaded(rules=rules, settings=GroupSettings(termination=TokenBudget(limit=7)))
    assert ended(world) == (2, "token_budget")
    assert world.state.usage.total_tokens == 12


def test_the_time_budget_is_measured_by_the_events_from_the_rounds_beginning() -> None:
    settings = GroupSettings(termination=TimeBudget(seconds=20))
    world = World.loaded(rules=RoundRobinConfig(max_turns=50), settings=settings, seconds_per_event=10)
    assert ended(world) == (2, "time_budget")


def test_all_of_several_conditions_are_needed() -> None:
    both = AllOf(conditions=(MaxTurns(limit=2), TokenBudget(limit=12)))
    world = World.loaded(rules=RoundRobinConfig(max_turns=50), settings=GroupSettings(termination=both))
    assert ended(world) == (4, "max_turns+token_budget")


def test_a_new_round_forgets_why_the_last_one_ended() -> None:
    world = World.loaded()
    world.post("m")
    world.run()
    assert world.state.stop_reason == "max_turns"
    world.post("again")
    world.turn()
    assert world.state.stop_reason is None


def test_members_are_told_of_every_token_once() -> None:
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


def test_too_many_nested_conditions_are_refused() -> None:
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
        == f"termination: more than {MAX_CONDITIONS} conditions, those inside others counted"
    )
