"""What hypothesis draws: conversations of any make, and what can happen to them in any order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from hypothesis import strategies as st

from groups.commands import COMMANDS, AnyCommand
from groups.errors import CommandRefused
from groups.group import Dynamic, GroupSettings, ManagerConfig, RoundRobin
from groups.ids import AgentId
from groups.termination import AllOf, AnyOf, Condition, MaxTurns, TerminationToken, TimeBudget, TokenBudget
from tests.unit.world import Answer, Outcome, World, ref

AGENTS = 7
"""Agents that there are; those outside the conversation can join."""


@dataclass(frozen=True)
class Order:
    """A command to send."""

    name: str
    command: AnyCommand
    command_id: str


Happening = Order | int
"""A command, or so many half steps of the machine."""

agent_ids = st.integers(0, AGENTS - 1).map(lambda number: f"a{number}")
positions = st.none() | st.integers(0, AGENTS)
catch_ups = st.sampled_from([None, "full", "none", "last:3"])

_FIELDS: dict[str, st.SearchStrategy[dict[str, object]]] = {
    "post_message": st.fixed_dictionaries({"text": st.sampled_from(["hello", "why?", "Ünïcödé “text”"])}),
    "add_member": st.fixed_dictionaries({"agent": agent_ids, "position": positions, "catch_up": catch_ups}),
    "remove_member": st.fixed_dictionaries({"agent": agent_ids}),
    "replace_member": st.fixed_dictionaries({"agent": agent_ids, "replacement": agent_ids}),
    "reorder_members": st.fixed_dictionaries({"agents": st.permutations([f"a{n}" for n in range(3)])}),
    "mute_member": st.fixed_dictionaries({"agent": agent_ids}),
    "unmute_member": st.fixed_dictionaries({"agent": agent_ids}),
    "update_settings": st.sampled_from(
        [{"intake": "queue"}, {"intake": "batch"}, {"intake": "interject"}, {"max_turns": 2}, {"max_turns": None}, {}]
    ),
    "pause": st.just({"reason": "a moment"}),
    "resume": st.just({}),
    "stop": st.just({"reason": "enough"}),
}
MEMBERSHIP = ("add_member", "remove_member", "replace_member", "mute_member", "unmute_member")
ALL_BUT_STOP = tuple(name for name in COMMANDS if name != "stop")

T = TypeVar("T")


_IDS = st.integers(0, 200).map(lambda number: f"cmd-{number}")
"""Few, so that some are repeated."""
_ORDERS = {
    name: st.builds(Order, st.just(name), fields.map(COMMANDS[name].model_validate), _IDS)
    for name, fields in _FIELDS.items()
}


def orders(names: Sequence[str]) -> st.SearchStrategy[Order]:
    """Commands of these names."""
    return st.one_of([_ORDERS[name] for name in names])


def happenings(names: Sequence[str], *, most: int = 60) -> st.SearchStrategy[list[Happening]]:
    """Commands and half steps of the machine, in any order; enough of them, and of messages, that there is talk."""
    said = [orders(["post_message"])] if "post_message" in names else []
    return st.lists(st.one_of(orders(names), *said, st.integers(1, 16)), min_size=most // 3, max_size=most)


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

rules: st.SearchStrategy[ManagerConfig] = st.one_of(
    st.builds(RoundRobin, max_turns=st.none() | st.integers(1, 8)),
    st.builds(
        Dynamic,
        manager_agent_id=st.just(AgentId("manager")),
        max_turns=st.none() | st.integers(1, 8),
        allow_repeated_speaker=st.booleans(),
        starvation_turns=st.none() | st.integers(1, 6),
    ),
)

settings = st.builds(
    GroupSettings,
    intake=st.sampled_from(["interject", "queue", "batch"]),
    termination=st.none() | conditions,
    max_pending_messages=st.sampled_from([1, 3, 100]),
)


def script(values: Sequence[T]) -> st.SearchStrategy[Callable[[int], T]]:
    """A function of the turn's number that repeats a drawn list."""
    return st.lists(st.sampled_from(list(values)), min_size=1, max_size=6).map(_Cycle)


@dataclass(frozen=True)
class _Cycle(Generic[T]):
    values: Sequence[T]

    def __call__(self, turn: int) -> T:
        return self.values[turn % len(self.values)]


OUTCOMES: tuple[Outcome, ...] = ("spoke", "passed", "failed", "done")
ANSWERS: tuple[Answer, ...] = ("choose", "finish", "fail")


@st.composite
def makers(draw: st.DrawFn) -> Callable[[], World]:
    """A function that makes one and the same world each time it is called."""
    options: dict[str, object] = {
        "members": tuple(ref(number) for number in range(draw(st.integers(1, 5)))),
        "rules": draw(rules),
        "settings": draw(settings),
        "outcome": draw(script(OUTCOMES)),
        "answer": draw(script(ANSWERS)),
        "close_after_round": draw(st.booleans()),
    }
    opening = draw(st.booleans())

    def make() -> World:
        world = World.loaded(**options)
        if opening:
            world.post("opening")
        return world

    return make


def play(world: World, happening: Happening, *, half_step: Callable[[], object] | None = None) -> None:
    """Let it happen; what the door refuses is left out."""
    if isinstance(happening, Order):
        try:
            world.send(happening.name, happening.command, happening.command_id)
        except CommandRefused:
            return
    else:
        for _ in range(happening):
            (half_step or world.half_step)()
