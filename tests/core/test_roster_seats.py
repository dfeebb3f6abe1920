"""Seats: a member has one place in the rotation, whoever occupies it.

Whatever fails, no seat has two successful turns in a lap, and no member that could always speak is left out.
"""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.core.events import TurnCompleted
from tertulia.core.group import FailureStep, GroupSettings, RoundRobinConfig, Standby
from tertulia.core.ids import AgentId
from tertulia.core.roster import MemberRef
from tertulia.core.selection import Floor
from tertulia.core.status import build_status
from tests.core.simulator import CoreSimulator, ref
from tests.core.strategies import (
    MEMBER_COMMANDS,
    Action,
    CommandAction,
    action_lists,
    outage_schedules,
    perform_action,
    settings,
    standbys,
)


def standby(number: int, *, reserved_for: int | None = None) -> Standby:
    reserved = None if reserved_for is None else ref(reserved_for).agent_id
    return Standby(agent_id=ref(number).agent_id, stands_in_for=reserved)


def make_simulator(
    *standbys: Standby,
    down: Callable[[int], set[str]] = lambda turn: set(),
    members: int = 3,
    max_turns: int | None = None,
    **fields: object,
) -> CoreSimulator:
    """Return a round robin of this many members, with these on standby."""
    people = (*(ref(number) for number in range(members)), *(_ref(one.agent_id) for one in standbys))
    return CoreSimulator.loaded(
        members=people,
        standby=standbys,
        rules=RoundRobinConfig(max_turns=max_turns),
        settings=GroupSettings.model_validate({"isolate_after_failures": 1, "cool_down_turns": 4, **fields}),
        down=down,
    )


def _ref(agent_id: AgentId) -> MemberRef:
    return ref(int(agent_id.removeprefix("a")))


def turn_labels(simulator: CoreSimulator) -> list[str]:
    """Return the speaker of each turn; in brackets if the turn failed."""
    return [
        f"({turn.speaker.agent_id})" if turn.outcome == "failed" else turn.speaker.agent_id for turn in simulator.turns
    ]


def member_states(simulator: CoreSimulator) -> dict[str, str]:
    """Return all members' states as in `status`."""
    return {member.agent_id: member.state for member in build_status(simulator.state).roster.members}


@given(st.data(), st.integers(1, 5), settings, outage_schedules, action_lists(MEMBER_COMMANDS, max_size=50))
def test_seats_rotate_fairly_despite_failures(
    data: st.DataObject,
    members: int,
    drawn: GroupSettings,
    down: Callable[[int], set[str]],
    actions: list[Action],
) -> None:
    named = data.draw(standbys(members))
    simulator = CoreSimulator.loaded(
        members=tuple(ref(number) for number in range(members + len(named))),
        standby=named,
        rules=RoundRobinConfig(max_turns=data.draw(st.none() | st.integers(1, 7))),
        settings=drawn.model_copy(update={"termination": None, "budgets": (), "max_pending_messages": 100}),
        down=down,
    )
    _perform_actions(simulator, actions)
    seats = [taken.chosen.in_place_of or taken.chosen.member.agent_id for taken in simulator.turn_decisions]
    present = [{seat.owner for seat in roster.seats()} for roster in simulator.rosters]
    for start in range(len(seats)):
        stayed, clean, counts = set(present[start]), set(present[start]), dict.fromkeys(present[start], 0)
        for end in range(start, len(seats)):
            stayed &= present[end]
            if simulator.turns[end].outcome in ("spoke", "passed"):
                counts[seats[end]] = counts.get(seats[end], 0) + 1
            else:
                clean.discard(seats[end])
            served = [counts[one] for one in stayed & clean]
            if served:
                assert max(counts[one] for one in stayed) - min(served) <= 2, (
                    f"turns {start}-{end} of {turn_labels(simulator)}"
                )


def _perform_actions(simulator: CoreSimulator, actions: list[Action]) -> None:
    """Perform all actions in a conversation that is never idle."""
    simulator.post("first")
    for number, action in enumerate([*actions, 12]):
        if isinstance(action, CommandAction):
            perform_action(simulator, action)
            continue
        for step in range(2 * action):
            if simulator.half_step() and simulator.current_decision is None and not simulator.state.round:
                simulator.post(f"post-{number}-{step}")


@given(st.integers(1, 5), outage_schedules, st.integers(1, 3), st.integers(1, 9), st.booleans())
def test_stand_in_for_each_keeps_rotation(
    members: int, down: Callable[[int], set[str]], limit: int, cool_down: int, reserved: bool
) -> None:
    spare = tuple(standby(members + number, reserved_for=number if reserved else None) for number in range(members))
    well = {one.agent_id for one in spare}
    simulator = make_simulator(
        *spare,
        members=members,
        max_turns=4 * members + 1,
        down=lambda turn: set(down(turn)) - well,
        isolate_after_failures=limit,
        cool_down_turns=cool_down,
    )
    simulator.post("m")
    simulator.run()
    assert simulator.seats() == ([f"a{number}" for number in range(members)] * 5)[: 4 * members + 1], turn_labels(
        simulator
    )


def test_stand_in_takes_failed_turn_then_seat() -> None:
    simulator = make_simulator(standby(3), max_turns=6, down=lambda turn: {"a1"}, cool_down_turns=None)
    simulator.post("m")
    simulator.run()
    assert turn_labels(simulator) == ["a0", "(a1)", "a3", "a2", "a0", "a3", "a2"]
    substitute, later = simulator.turns[2], simulator.turns[5]
    assert (substitute.chosen_by, later.chosen_by) == ("standby", "round_robin")
    assert substitute.reason == "in place of Agent1, who could not speak: the model is down"
    assert "in place of Agent1" in later.reason
    assert simulator.seats() == ["a0", "a1", "a2"] * 2
    assert (simulator.state.stop_reason, simulator.state.rounds) == ("max_turns", 1), (
        "the failed turn is none of the six"
    )


def test_stand_in_for_suspect_returns_seat() -> None:
    simulator = make_simulator(
        standby(3), max_turns=6, down=lambda turn: {"a1"} if turn == 2 else set(), isolate_after_failures=2
    )
    simulator.post("m")
    simulator.run()
    assert turn_labels(simulator) == ["a0", "(a1)", "a3", "a2", "a0", "a1", "a2"]
    assert simulator.health_history("a1") == ["suspect", "healthy"]
    assert member_states(simulator)["a3"] == "standby"


def test_stand_in_leaves_when_member_recovers() -> None:
    simulator = make_simulator(standby(3), max_turns=12, down=lambda turn: {"a1"} if turn < 7 else set())
    simulator.post("m")
    simulator.run()
    assert simulator.seats() == ["a0", "a1", "a2"] * 4
    assert turn_labels(simulator)[-6:] == ["a0", "a1", "a2"] * 2
    assert member_states(simulator) == {"a0": "active", "a1": "active", "a2": "active", "a3": "standby"}
    assert simulator.state.roster.get("a3").in_place_of is None


def test_reserved_stand_in_comes_first() -> None:
    reserved = (standby(3), standby(4, reserved_for=1))
    simulator = make_simulator(*reserved, max_turns=3, down=lambda turn: {"a1"})
    simulator.post("m")
    simulator.run()
    assert turn_labels(simulator) == ["a0", "(a1)", "a4", "a2"]
    other = make_simulator(standby(4, reserved_for=1), max_turns=2, down=lambda turn: {"a0"})
    other.post("m")
    other.run()
    assert turn_labels(other) == ["(a0)", "a1", "a2"], "a seat that is lost is no turn"


def test_failed_turn_has_one_substitute() -> None:
    simulator = make_simulator(
        standby(3), standby(4), max_turns=3, down=lambda turn: {"a0", "a3"}, isolate_after_failures=2
    )
    simulator.post("m")
    simulator.run()
    assert turn_labels(simulator) == ["(a0)", "(a3)", "a1", "a2"]


def test_isolated_stand_in_is_replaced() -> None:
    simulator = make_simulator(
        standby(3), standby(4), max_turns=8, down=lambda turn: {"a0", "a3"}, cool_down_turns=None
    )
    simulator.post("m")
    simulator.run()
    assert turn_labels(simulator) == ["(a0)", "(a3)", "a1", "a2", "a4", "a1", "a2", "a4", "a1", "a2"]
    assert member_states(simulator) == {
        "a0": "isolated", "a1": "active", "a2": "active", "a3": "isolated", "a4": "active",
    }  # fmt: skip


@pytest.mark.parametrize("steps", [(), ("skip",), ("fallback_model",), ("fallback_model", "skip")])
def test_no_stand_in_without_standby_step(steps: tuple[FailureStep, ...]) -> None:
    simulator = make_simulator(
        standby(3), max_turns=6, down=lambda turn: {"a1"}, on_failure=steps, cool_down_turns=None
    )
    simulator.post("m")
    simulator.run()
    assert "a3" not in simulator.speakers()
    assert turn_labels(simulator) == ["a0", "(a1)", "a2", "a0", "a2", "a0", "a2"]


@pytest.mark.parametrize("command", ["remove_member", "mute_member", "reinstate_member"])
def test_stand_in_is_freed_with_its_member(command: str) -> None:
    simulator = make_simulator(standby(3), down=lambda turn: {"a1"} if turn < 5 else set())
    simulator.post("m")
    simulator.run()
    assert (member_states(simulator)["a1"], member_states(simulator)["a3"]) == ("isolated", "active")
    assert build_status(simulator.state).roster.members[3].in_place_of == "Agent1"
    simulator.command(command, "c", agent="a1")
    simulator.run()
    assert member_states(simulator)["a3"] == "standby"
    simulator.down = lambda turn: {"a2"}
    simulator.post("again")
    simulator.run()
    assert simulator.state.roster.get("a3").in_place_of == "a2", "it can stand in for another"


def test_removed_stand_in_is_replaced() -> None:
    simulator = make_simulator(standby(3), standby(4), down=lambda turn: {"a1"}, cool_down_turns=None)
    simulator.post("m")
    simulator.run()
    assert simulator.state.roster.get("a3").in_place_of == "a1"
    simulator.command("remove_member", "r", agent="a3")
    simulator.run()
    simulator.post("again")
    simulator.run()
    assert simulator.speakers()[-3:] == ["a0", "a4", "a2"]


def test_late_standby_takes_isolated_seat() -> None:
    simulator = make_simulator(down=lambda turn: {"a1"}, cool_down_turns=None)
    simulator.post("m")
    simulator.run()
    assert turn_labels(simulator) == ["a0", "(a1)", "a2"]
    simulator.command("add_member", "late", agent="a5", state="standby", stands_in_for="Agent1")
    simulator.post("again")
    simulator.run()
    assert simulator.speakers()[-3:] == ["a0", "a5", "a2"]


def test_unmuted_standby_becomes_member() -> None:
    simulator = make_simulator(standby(3), down=lambda turn: {"a1"}, cool_down_turns=None)
    simulator.post("m")
    simulator.run()
    simulator.command("unmute_member", "u", agent="a3")
    simulator.post("again")
    simulator.run()
    assert simulator.speakers()[-3:] == ["a0", "a2", "a3"]
    assert member_states(simulator) == {"a0": "active", "a1": "isolated", "a2": "active", "a3": "active"}


def test_lost_seat_shortens_the_round() -> None:
    lost = make_simulator(down=lambda turn: {"a1"}, cool_down_turns=None)
    lost.post("m")
    lost.run()
    assert turn_labels(lost) == ["a0", "(a1)", "a2"]
    skipped = make_simulator(down=lambda turn: {"a1"} if turn == 2 else set(), isolate_after_failures=2, max_turns=6)
    skipped.post("m")
    skipped.run()
    assert turn_labels(skipped) == ["a0", "(a1)", "a2", "a0", "a1", "a2"]


@pytest.mark.parametrize("policy", ["discard", "cancel"])
def test_seat_keeps_turn_of_removed_stand_in(policy: str) -> None:
    simulator = make_simulator(standby(3), standby(4), max_turns=6, down=lambda turn: {"a1"}, cool_down_turns=None)
    simulator.post("m")
    while not (
        simulator.turn_decisions
        and simulator.state.round
        and simulator.state.round.chosen
        and simulator.state.floor.turn == 5
    ):
        simulator.half_step()
    assert simulator.state.round.chosen.member.agent_id == "a3"
    simulator.command("remove_member", "r", agent="a3", in_flight=policy)
    simulator.run()
    assert turn_labels(simulator) == ["a0", "(a1)", "a3", "a2", "a0", "a3", "a4", "a2"]
    assert simulator.seats() == ["a0", "a1", "a2"] * 2


def test_only_seat_turns_count_in_lap() -> None:
    floor, owners = Floor(), [ref(number).agent_id for number in range(3)]
    floor = floor.record_turn(owners[0], owners, seat=owners[0])
    assert floor.record_turn(AgentId("a9"), owners, seat=None).lap == floor.lap == (owners[0],)
    stood_in = floor.record_turn(AgentId("a9"), owners, seat=owners[1])
    assert (stood_in.lap, stood_in.last_speaker) == ((owners[0], owners[1]), "a9")
    assert stood_in.record_turn(owners[2], owners, seat=owners[2]).lap == ()


def test_dropped_turn_does_not_change_health() -> None:
    simulator = make_simulator(members=2)
    simulator.post("m")
    simulator.half_step()
    simulator.half_step()
    simulator.half_step()
    simulator.command("remove_member", "r", agent="a0", in_flight="discard")
    turn = simulator.turn()
    assert isinstance(turn, TurnCompleted)
    assert (turn.speaker.agent_id, turn.outcome) == ("a0", "discarded")
    simulator.run()
    assert simulator.speakers() == ["a0", "a1"]
    assert [change.kind for change in simulator.changes] == ["remove"]
