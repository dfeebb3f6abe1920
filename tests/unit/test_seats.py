"""Law of the seats: a member has one place in the rotation, whoever sits there. Whatever fails, within a lap no seat
has two successful turns, and none that could always speak is left out.
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
from tests.unit.strategies import MEMBERSHIP, Order, TimelineItem, happenings, play, settings, standbys, weather
from tests.unit.world import World, ref


def standby(number: int, *, reserved_for: int | None = None) -> Standby:
    reserved = None if reserved_for is None else ref(reserved_for).agent_id
    return Standby(agent_id=ref(number).agent_id, stands_in_for=reserved)


def salon(
    *standbys: Standby,
    down: Callable[[int], set[str]] = lambda turn: set(),
    members: int = 3,
    max_turns: int | None = None,
    **fields: object,
) -> World:
    """A round robin of so many members, with these on standby."""
    people = (*(ref(number) for number in range(members)), *(_ref(one.agent_id) for one in standbys))
    return World.loaded(
        members=people,
        standby=standbys,
        rules=RoundRobinConfig(max_turns=max_turns),
        settings=GroupSettings.model_validate({"isolate_after_failures": 1, "cool_down_turns": 4, **fields}),
        down=down,
    )


def _ref(agent_id: AgentId) -> MemberRef:
    return ref(int(agent_id.removeprefix("a")))


def outcomes(world: World) -> list[str]:
    """Who had each turn; one that could not speak in brackets."""
    return [f"({turn.speaker.agent_id})" if turn.outcome == "failed" else turn.speaker.agent_id for turn in world.turns]


def states(world: World) -> dict[str, str]:
    """Everybody's state as `status` shows it."""
    return {member.agent_id: member.state for member in build_status(world.state).roster.members}


@given(st.data(), st.integers(1, 5), settings, weather, happenings(MEMBERSHIP, most=50))
def test_no_seat_is_doubled_in_a_lap_and_none_that_can_speak_is_left_out(
    data: st.DataObject,
    members: int,
    drawn: GroupSettings,
    down: Callable[[int], set[str]],
    happened: list[TimelineItem],
) -> None:
    named = data.draw(standbys(members))
    world = World.loaded(
        members=tuple(ref(number) for number in range(members + len(named))),
        standby=named,
        rules=RoundRobinConfig(max_turns=data.draw(st.none() | st.integers(1, 7))),
        settings=drawn.model_copy(update={"termination": None, "budgets": (), "max_pending_messages": 100}),
        down=down,
    )
    _talk(world, happened)
    seats = [taken.chosen.in_place_of or taken.chosen.member.agent_id for taken in world.took]
    present = [{seat.owner for seat in roster.seats()} for roster in world.rosters]
    for start in range(len(seats)):
        stayed, clean, counts = set(present[start]), set(present[start]), dict.fromkeys(present[start], 0)
        for end in range(start, len(seats)):
            stayed &= present[end]
            if world.turns[end].outcome in ("spoke", "passed"):
                counts[seats[end]] = counts.get(seats[end], 0) + 1
            else:
                clean.discard(seats[end])
            heard = [counts[one] for one in stayed & clean]
            if heard:
                assert max(counts[one] for one in stayed) - min(heard) <= 2, f"turns {start}-{end} of {outcomes(world)}"


def _talk(world: World, happened: list[TimelineItem]) -> None:
    """Let it all happen to a conversation that is never left idle."""
    world.post("first")
    for number, happening in enumerate([*happened, 12]):
        if isinstance(happening, Order):
            play(world, happening)
            continue
        for step in range(2 * happening):
            if world.half_step() and world.under_way is None and not world.state.round:
                world.post(f"post-{number}-{step}")


@given(st.integers(1, 5), weather, st.integers(1, 3), st.integers(1, 9), st.booleans())
def test_with_a_stand_in_for_each_the_rotation_of_the_seats_is_as_if_nobody_had_failed(
    members: int, down: Callable[[int], set[str]], limit: int, cool_down: int, reserved: bool
) -> None:
    spare = tuple(standby(members + number, reserved_for=number if reserved else None) for number in range(members))
    well = {one.agent_id for one in spare}
    world = salon(
        *spare,
        members=members,
        max_turns=4 * members + 1,
        down=lambda turn: set(down(turn)) - well,
        isolate_after_failures=limit,
        cool_down_turns=cool_down,
    )
    world.post("m")
    world.run()
    assert world.seats() == ([f"a{number}" for number in range(members)] * 5)[: 4 * members + 1], outcomes(world)


def test_a_stand_in_takes_the_failed_turn_at_once_and_then_the_seat() -> None:
    world = salon(standby(3), max_turns=6, down=lambda turn: {"a1"}, cool_down_turns=None)
    world.post("m")
    world.run()
    assert outcomes(world) == ["a0", "(a1)", "a3", "a2", "a0", "a3", "a2"]
    substitute, later = world.turns[2], world.turns[5]
    assert (substitute.chosen_by, later.chosen_by) == ("standby", "round_robin")
    assert substitute.reason == "in place of Agent1, who could not speak: the model is down"
    assert "in place of Agent1" in later.reason
    assert world.seats() == ["a0", "a1", "a2"] * 2
    assert (world.state.stop_reason, world.state.rounds) == ("max_turns", 1), "the failed turn is none of the six"


def test_a_stand_in_speaks_for_one_that_is_only_suspect_and_goes_back() -> None:
    world = salon(standby(3), max_turns=6, down=lambda turn: {"a1"} if turn == 2 else set(), isolate_after_failures=2)
    world.post("m")
    world.run()
    assert outcomes(world) == ["a0", "(a1)", "a3", "a2", "a0", "a1", "a2"]
    assert world.health_of("a1") == ["suspect", "healthy"]
    assert states(world)["a3"] == "standby"


def test_the_stand_in_goes_when_the_member_recovers() -> None:
    world = salon(standby(3), max_turns=12, down=lambda turn: {"a1"} if turn < 7 else set())
    world.post("m")
    world.run()
    assert world.seats() == ["a0", "a1", "a2"] * 4
    assert outcomes(world)[-6:] == ["a0", "a1", "a2"] * 2
    assert states(world) == {"a0": "active", "a1": "active", "a2": "active", "a3": "standby"}
    assert world.state.roster.get("a3").in_place_of is None


def test_one_that_is_reserved_goes_before_one_that_is_for_all_and_stands_in_for_nobody_else() -> None:
    reserved = (standby(3), standby(4, reserved_for=1))
    world = salon(*reserved, max_turns=3, down=lambda turn: {"a1"})
    world.post("m")
    world.run()
    assert outcomes(world) == ["a0", "(a1)", "a4", "a2"]
    other = salon(standby(4, reserved_for=1), max_turns=2, down=lambda turn: {"a0"})
    other.post("m")
    other.run()
    assert outcomes(other) == ["(a0)", "a1", "a2"], "a seat that is lost is no turn"


def test_a_failed_turn_has_one_substitute_at_most() -> None:
    world = salon(standby(3), standby(4), max_turns=3, down=lambda turn: {"a0", "a3"}, isolate_after_failures=2)
    world.post("m")
    world.run()
    assert outcomes(world) == ["(a0)", "(a3)", "a1", "a2"]


def test_a_stand_in_that_is_isolated_itself_gives_way_to_the_next() -> None:
    world = salon(standby(3), standby(4), max_turns=8, down=lambda turn: {"a0", "a3"}, cool_down_turns=None)
    world.post("m")
    world.run()
    assert outcomes(world) == ["(a0)", "(a3)", "a1", "a2", "a4", "a1", "a2", "a4", "a1", "a2"]
    assert states(world) == {
        "a0": "isolated", "a1": "active", "a2": "active", "a3": "isolated", "a4": "active",
    }  # fmt: skip


@pytest.mark.parametrize("steps", [(), ("skip",), ("fallback_model",), ("fallback_model", "skip")])
def test_without_the_step_nobody_stands_in(steps: tuple[FailureStep, ...]) -> None:
    world = salon(standby(3), max_turns=6, down=lambda turn: {"a1"}, on_failure=steps, cool_down_turns=None)
    world.post("m")
    world.run()
    assert "a3" not in world.speakers()
    assert outcomes(world) == ["a0", "(a1)", "a2", "a0", "a2", "a0", "a2"]


@pytest.mark.parametrize("command", ["remove_member", "mute_member", "reinstate_member"])
def test_the_stand_in_is_free_again_when_the_member_leaves_falls_silent_or_is_reinstated(command: str) -> None:
    world = salon(standby(3), down=lambda turn: {"a1"} if turn < 5 else set())
    world.post("m")
    world.run()
    assert (states(world)["a1"], states(world)["a3"]) == ("isolated", "active")
    assert build_status(world.state).roster.members[3].in_place_of == "Agent1"
    world.command(command, "c", agent="a1")
    world.run()
    assert states(world)["a3"] == "standby"
    world.down = lambda turn: {"a2"}
    world.post("again")
    world.run()
    assert world.state.roster.get("a3").in_place_of == "a2", "it can stand in for another"


def test_a_stand_in_that_leaves_is_followed_by_the_next() -> None:
    world = salon(standby(3), standby(4), down=lambda turn: {"a1"}, cool_down_turns=None)
    world.post("m")
    world.run()
    assert world.state.roster.get("a3").in_place_of == "a1"
    world.command("remove_member", "r", agent="a3")
    world.run()
    world.post("again")
    world.run()
    assert world.speakers()[-3:] == ["a0", "a4", "a2"]


def test_one_on_standby_that_comes_later_takes_the_seat_of_the_isolated_member() -> None:
    world = salon(down=lambda turn: {"a1"}, cool_down_turns=None)
    world.post("m")
    world.run()
    assert outcomes(world) == ["a0", "(a1)", "a2"]
    world.command("add_member", "late", agent="a5", state="standby", stands_in_for="Agent1")
    world.post("again")
    world.run()
    assert world.speakers()[-3:] == ["a0", "a5", "a2"]


def test_an_operator_makes_one_on_standby_a_member_of_its_own() -> None:
    world = salon(standby(3), down=lambda turn: {"a1"}, cool_down_turns=None)
    world.post("m")
    world.run()
    world.command("unmute_member", "u", agent="a3")
    world.post("again")
    world.run()
    assert world.speakers()[-3:] == ["a0", "a2", "a3"]
    assert states(world) == {"a0": "active", "a1": "isolated", "a2": "active", "a3": "active"}


def test_a_lost_seat_shortens_the_round_and_a_skipped_turn_counts() -> None:
    lost = salon(down=lambda turn: {"a1"}, cool_down_turns=None)
    lost.post("m")
    lost.run()
    assert outcomes(lost) == ["a0", "(a1)", "a2"]
    skipped = salon(down=lambda turn: {"a1"} if turn == 2 else set(), isolate_after_failures=2, max_turns=6)
    skipped.post("m")
    skipped.run()
    assert outcomes(skipped) == ["a0", "(a1)", "a2", "a0", "a1", "a2"]


@pytest.mark.parametrize("policy", ["discard", "cancel"])
def test_a_seat_whose_stand_in_was_removed_while_it_spoke_has_its_turn_still(policy: str) -> None:
    world = salon(standby(3), standby(4), max_turns=6, down=lambda turn: {"a1"}, cool_down_turns=None)
    world.post("m")
    while not (world.took and world.state.round and world.state.round.chosen and world.state.floor.turn == 5):
        world.half_step()
    assert world.state.round.chosen.member.agent_id == "a3"
    world.command("remove_member", "r", agent="a3", in_flight=policy)
    world.run()
    assert outcomes(world) == ["a0", "(a1)", "a3", "a2", "a0", "a3", "a4", "a2"]
    assert world.seats() == ["a0", "a1", "a2"] * 2


def test_only_a_turn_of_its_seat_counts_in_the_lap() -> None:
    floor, owners = Floor(), [ref(number).agent_id for number in range(3)]
    floor = floor.record_turn(owners[0], owners, seat=owners[0])
    assert floor.record_turn(AgentId("a9"), owners, seat=None).lap == floor.lap == (owners[0],)
    stood_in = floor.record_turn(AgentId("a9"), owners, seat=owners[1])
    assert (stood_in.lap, stood_in.last_speaker) == ((owners[0], owners[1]), "a9")
    assert stood_in.record_turn(owners[2], owners, seat=owners[2]).lap == ()


def test_what_becomes_of_a_dropped_turn_says_nothing_of_health() -> None:
    world = salon(members=2)
    world.post("m")
    world.half_step()
    world.half_step()
    world.half_step()
    world.command("remove_member", "r", agent="a0", in_flight="discard")
    turn = world.turn()
    assert isinstance(turn, TurnCompleted)
    assert (turn.speaker.agent_id, turn.outcome) == ("a0", "discarded")
    world.run()
    assert world.speakers() == ["a0", "a1"]
    assert [change.kind for change in world.changes] == ["remove"]
