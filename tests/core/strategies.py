"""Hypothesis strategies: conversations with any configuration, and actions in any order."""

import operator
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Generic, TypeVar, get_args

from hypothesis import strategies as st

from tertulia.core.budgets import Budget
from tertulia.core.commands import COMMANDS, AnyCommand, ReorderMembers
from tertulia.core.errors import CommandRefused
from tertulia.core.group import DynamicConfig, FailureStep, GroupSettings, ManagerConfig, RoundRobinConfig, Standby
from tertulia.core.ids import AgentId
from tertulia.core.pending_changes import expected_roster
from tertulia.core.state import RULES_VERSION
from tertulia.core.termination import AllOf, AnyOf, Condition, MaxTurns, TerminationToken, TimeBudget, TokenBudget
from tests.core.simulator import CoreSimulator, ManagerAnswer, SimulatedOutcome, ref

AGENT_COUNT = 7
"""Number of agents; agents that are no members can be added."""


@dataclass(frozen=True)
class CommandAction:
    """A command to send, with its id."""

    name: str
    command: AnyCommand
    command_id: str


Action = CommandAction | int
"""A command, or a number of half steps of the simulator."""

MEMBER_COMMANDS = (
    "add_member",
    "remove_member",
    "replace_member",
    "mute_member",
    "unmute_member",
    "reinstate_member",
    "reorder_members",
)
ALL_BUT_STOP = tuple(name for name in COMMANDS if name != "stop")
_WEIGHTS = {"post_message": 12, "add_member": 4, "unmute_member": 4, "resume": 6, "reorder_members": 2}
_SETTINGS: tuple[dict[str, object], ...] = (
    {"intake": "queue"},
    {"intake": "batch"},
    {"intake": "interject"},
    {"max_turns": 2},
    {"max_turns": None},
    {"on_failure": ["skip"]},
    {"cool_down_turns": 1},
    {"cool_down_turns": None, "cool_down_seconds": None},
    {"in_flight": "discard"},
    {},
)
_STATES: tuple[dict[str, object], ...] = ({}, {}, {"state": "standby"}, {"state": "standby", "stands_in_for": "a0"})
_IN_FLIGHT = (None, "finish", "discard", "cancel")

T = TypeVar("T")


def _fields(name: str, rng: Random) -> dict[str, object]:
    agents = [f"a{number}" for number in rng.sample(range(AGENT_COUNT), AGENT_COUNT)]
    match name:
        case "post_message":
            return {"text": rng.choice(["hello", "why?", "Ünïcödé “text”"])}
        case "add_member":
            return {
                "agent": agents[0],
                "position": rng.choice([None, *range(AGENT_COUNT)]),
                "catch_up": rng.choice([None, "full", "last:3"]),
                **rng.choice(_STATES),
            }
        case "remove_member":
            return {"agent": agents[0], "in_flight": rng.choice(_IN_FLIGHT)}
        case "replace_member":
            return {"agent": agents[0], "replacement": agents[1], "in_flight": rng.choice(_IN_FLIGHT)}
        case "reinstate_member":
            return {"agent": rng.choice([agents[0], "manager", "deputy"])}
        case "reorder_members":
            return {"agents": agents}
        case "update_settings":
            return rng.choice(_SETTINGS)
        case "pause" | "resume" | "stop":
            return {}
        case _:
            return {"agent": agents[0]}


def _command_action(name: str, rng: Random) -> CommandAction:
    """Draw a command of this name. Ids are few, so that some are repeated."""
    return CommandAction(name, COMMANDS[name].model_validate(_fields(name, rng)), f"cmd-{rng.randrange(200)}")


def command_actions(names: Sequence[str]) -> st.SearchStrategy[CommandAction]:
    """Draw commands of these names by weight."""
    weights = [_WEIGHTS.get(name, 1) for name in names]

    def of(seed: int) -> CommandAction:
        rng = Random(seed)
        return _command_action(rng.choices(names, weights)[0], rng)

    return _seeds.map(of)


_seeds = st.integers(0, 2**32 - 1)
"""One seed per action; drawing actions directly makes hypothesis repeat one kind of them."""


def action_lists(names: Sequence[str], *, max_size: int = 60) -> st.SearchStrategy[list[Action]]:
    """Draw commands and half steps in any order; `stop`, if included, comes late."""
    early = [name for name in names if name != "stop"]

    def anything(seed: int) -> Action:
        rng = Random(seed)
        if rng.random() < 0.5:
            return rng.randint(1, 12)
        return _command_action(rng.choices(early, [_WEIGHTS.get(name, 1) for name in early])[0], rng)

    talk = st.lists(_seeds.map(anything), min_size=max_size // 3, max_size=max_size)
    if len(early) == len(names):
        return talk
    end = st.lists(_seeds.map(anything), max_size=5).map(lambda late: [_command_action("stop", Random(0)), *late])
    return st.builds(operator.add, talk, st.just([]) | end)


_REACTIONS = st.sampled_from(["conclude", "stop"])
FAILURE_STEPS = get_args(FailureStep)

conditions: st.SearchStrategy[Condition] = st.recursive(
    st.one_of(
        st.integers(1, 6).map(lambda limit: MaxTurns(limit=limit)),
        st.just(TerminationToken()),
        st.integers(1, 60).map(lambda limit: TokenBudget(limit=limit)),
        st.integers(1, 200).map(lambda limit: TokenBudget(limit=limit, scope="conversation")),
        st.integers(1, 40).map(lambda seconds: TimeBudget(seconds=seconds)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: AnyOf(conditions=tuple(parts))),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: AllOf(conditions=tuple(parts))),
    ),
    max_leaves=5,
)

MANAGER, DEPUTY = AgentId("manager"), AgentId("deputy")

rules: st.SearchStrategy[ManagerConfig] = st.one_of(
    st.builds(RoundRobinConfig, max_turns=st.none() | st.integers(1, 8)),
    st.builds(
        DynamicConfig,
        manager_agent_id=st.just(MANAGER),
        max_turns=st.none() | st.integers(1, 8),
        allow_repeated_speaker=st.booleans(),
        starvation_turns=st.none() | st.integers(1, 6),
        fallback_manager_ids=st.sampled_from([(), (DEPUTY,), (DEPUTY, AgentId("third"))]),
        max_pair_turns=st.none() | st.integers(4, 6),
    ),
)

budgets: st.SearchStrategy[Budget] = st.one_of(
    st.builds(Budget, tokens=st.integers(1, 150), on_reached=_REACTIONS),
    st.builds(Budget, model_calls=st.integers(1, 50), seconds=st.none() | st.integers(1, 300), on_reached=_REACTIONS),
    st.builds(Budget, scope=st.just("member"), tokens=st.integers(1, 30), on_reached=_REACTIONS),
    st.builds(
        Budget,
        scope=st.just("member"),
        member=st.sampled_from(["a0", "Agent1"]),
        model_calls=st.integers(1, 10),
        on_reached=_REACTIONS,
    ),
)

settings = st.builds(
    GroupSettings,
    intake=st.sampled_from(["interject", "queue", "batch"]),
    termination=st.none() | st.none() | conditions,
    max_pending_messages=st.sampled_from([1, 3, 100]),
    on_failure=st.lists(st.sampled_from(FAILURE_STEPS), unique=True, max_size=3).map(tuple) | st.just(FAILURE_STEPS),
    isolate_after_failures=st.integers(1, 3),
    cool_down_turns=st.none() | st.integers(1, 6),
    cool_down_seconds=st.none() | st.integers(1, 100),
    probe_initial_seconds=st.sampled_from([1, 5, 1_000]),
    in_flight=st.sampled_from(["finish", "discard", "cancel"]),
    budgets=st.just(()) | st.just(()) | st.lists(budgets, max_size=2).map(tuple),
)


def cyclic_functions(values: Sequence[T]) -> st.SearchStrategy[Callable[[int], T]]:
    """Draw functions of the turn number that repeat a list."""
    return st.lists(st.sampled_from(list(values)), min_size=1, max_size=6).map(_Cycle)


@dataclass(frozen=True)
class _Cycle(Generic[T]):
    values: Sequence[T]

    def __call__(self, turn: int) -> T:
        return self.values[turn % len(self.values)]


OUTCOMES: tuple[SimulatedOutcome, ...] = ("spoke", "spoke", "spoke", "passed", "failed", "rescued", "done")
ANSWERS: tuple[ManagerAnswer, ...] = ("choose", "choose", "choose", "finish", "fail")
_FAILING_AGENTS = (*(f"a{number}" for number in range(AGENT_COUNT)), MANAGER, DEPUTY)
ALL_AGENTS = frozenset((*_FAILING_AGENTS, "third", *(f"a{number}" for number in range(20))))


@dataclass(frozen=True)
class OutageSchedule:
    """Agents whose models are down, by turn: periods of a number of turns each, repeated."""

    periods: Sequence[tuple[int, frozenset[str]]]

    def __call__(self, turn: int) -> frozenset[str]:
        at = turn % (sum(length for length, _ in self.periods) or 1)
        for length, down in self.periods:
            if at < length:
                return down
            at -= length
        return frozenset()


_periods = st.tuples(
    st.integers(1, 12),
    st.just(frozenset[str]()) | st.frozensets(st.sampled_from(_FAILING_AGENTS)) | st.just(ALL_AGENTS),
)
outage_schedules = st.just(OutageSchedule([])) | st.lists(_periods, max_size=5).map(OutageSchedule)


@st.composite
def standbys(draw: st.DrawFn, members: int) -> tuple[Standby, ...]:
    """Draw up to two members on standby, for any member or for one of them."""
    whom = st.none() | st.integers(0, members - 1)
    named = draw(st.lists(whom, max_size=2))
    return tuple(
        Standby(
            agent_id=ref(members + number).agent_id,
            stands_in_for=None if one is None else ref(one).agent_id,
        )
        for number, one in enumerate(named)
    )


@st.composite
def simulator_factories(draw: st.DrawFn) -> Callable[[], CoreSimulator]:
    """Draw functions that build an identical simulator with each call."""
    members = draw(st.integers(1, 5))
    standby = draw(standbys(members))
    options: dict[str, object] = {
        "members": tuple(ref(number) for number in range(members + len(standby))),
        "standby": standby,
        "rules": draw(rules),
        "settings": draw(settings),
        "outcome": draw(cyclic_functions(OUTCOMES)),
        "answer": draw(cyclic_functions(ANSWERS)),
        "down": draw(outage_schedules),
        "close_after_round": draw(st.sampled_from([False, False, False, True])),
        "rules_version": draw(st.sampled_from([1, RULES_VERSION, RULES_VERSION])),
    }
    opening = draw(st.booleans())

    def make() -> CoreSimulator:
        simulator = CoreSimulator.loaded(**options)
        if opening:
            simulator.post("opening")
        return simulator

    return make


def perform_action(simulator: CoreSimulator, action: Action) -> None:
    """Perform the action; ignore a refused command. A drawn order is reduced to present members."""
    if isinstance(action, int):
        for _ in range(action):
            simulator.half_step()
        return
    command = action.command
    if isinstance(command, ReorderMembers):
        here = {member.agent_id for member in expected_roster(simulator.state).members}
        command = command.model_copy(update={"agents": tuple(one for one in command.agents if one in here)})
    with suppress(CommandRefused):
        simulator.send(action.name, command, action.command_id)
