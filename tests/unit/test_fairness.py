"""Law of the rotation: everyone once a lap, whatever happens to the roster.

A lap ends when every member that is active has had the floor in it. Hence, of two members that are active from the
beginning of a lap on, neither is ever more than one turn ahead; from any other moment on, neither more than two.
"""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.core.errors import CommandRefused
from tertulia.core.group import MAX_MEMBERS, RoundRobinConfig
from tertulia.core.ids import AgentId
from tertulia.core.roster import Member, Roster
from tertulia.core.selection import Floor, NoSpeaker, SelectedSpeaker, select_round_robin
from tests.unit.strategies import MEMBERSHIP, Order, TimelineItem, happenings, play
from tests.unit.world import World, ref

changes = happenings(MEMBERSHIP, most=50)
first_members = st.integers(1, 5).map(lambda count: tuple(ref(number) for number in range(count)))
turn_limits = st.none() | st.integers(1, 7)


def talk(
    members: tuple[object, ...], max_turns: int | None, happened: list[TimelineItem]
) -> tuple[list[str], list[set[str]]]:
    """Who had each turn and who was active then, in a conversation that is never left idle."""
    world = World.loaded(members=members, rules=RoundRobinConfig(max_turns=max_turns))
    world.post("first")
    for number, happening in enumerate([*happened, 12]):
        if isinstance(happening, Order):
            play(world, happening)
            continue
        for step in range(2 * happening):
            if world.half_step() and world.under_way is None and not world.state.round:
                world.post(f"post-{number}-{step}")
    active = [{str(member.agent_id) for member in roster.active_members()} for roster in world.rosters]
    return world.speakers(), active


def lap_beginnings(speakers: list[str], active: list[set[str]]) -> list[int]:
    """The turns with which laps begin, counted without looking at what the machine remembers."""
    beginnings, heard = list[int](), set[str]()
    for index, speaker in enumerate(speakers):
        # The members may have changed since the last turn: those still waited for can have left.
        if not heard or active[index] <= heard:
            beginnings.append(index)
            heard = set()
        assert speaker not in heard, f"{speaker} is heard twice in a lap: {speakers}, active {active}"
        heard.add(speaker)
        if active[index] <= heard:
            heard = set()
    return beginnings


@given(first_members, turn_limits, changes)
def test_each_lap_hears_every_active_member_once(
    members: tuple[object, ...], max_turns: int | None, happened: list[TimelineItem]
) -> None:
    speakers, active = talk(members, max_turns, happened)
    assert all(speaker in here for speaker, here in zip(speakers, active, strict=True))
    lap_beginnings(speakers, active)


@given(first_members, turn_limits, changes)
def test_nobody_is_more_than_one_turn_ahead_of_another_who_was_always_there(
    members: tuple[object, ...], max_turns: int | None, happened: list[TimelineItem]
) -> None:
    speakers, active = talk(members, max_turns, happened)
    beginnings = set(lap_beginnings(speakers, active))
    for start in range(len(speakers)):
        stayed, counts = set(active[start]), dict.fromkeys(active[start], 0)
        for end in range(start, len(speakers)):
            stayed &= active[end]
            counts[speakers[end]] = counts.get(speakers[end], 0) + 1
            heard = [counts[one] for one in stayed] or [0]
            assert max(heard) - min(heard) <= (1 if start in beginnings else 2), f"turns {start}-{end} of {speakers}"


@given(first_members, turn_limits, changes)
def test_nobody_speaks_twice_in_a_row_while_another_can_speak(
    members: tuple[object, ...], max_turns: int | None, happened: list[TimelineItem]
) -> None:
    speakers, active = talk(members, max_turns, happened)
    for (before, after), here in zip(pairwise(speakers), active[1:], strict=False):
        assert before != after or here == {after}, speakers


def test_a_steady_roster_speaks_in_its_order_across_rounds() -> None:
    world = World.loaded(rules=RoundRobinConfig(max_turns=2))
    for number in range(4):
        world.post(f"m{number}")
        world.run()
    assert world.speakers() == ["a0", "a1", "a2", "a0", "a1", "a2", "a0", "a1"]


def test_a_round_has_a_turn_for_each_active_member_by_default() -> None:
    world = World.loaded(members=tuple(ref(number) for number in range(4)))
    world.command("mute_member", "mute", agent="Agent2")
    world.post("m")
    world.run()
    assert world.speakers() == ["a0", "a1", "a3"]


def test_removing_the_next_speaker_neither_skips_nor_doubles_another() -> None:
    world = World.loaded(members=tuple(ref(number) for number in range(4)), rules=RoundRobinConfig(max_turns=7))
    world.post("m")
    world.turn()
    world.command("remove_member", "leave", agent="a1")
    world.run()
    assert world.speakers() == ["a0", "a2", "a3", "a0", "a2", "a3", "a0"]


def test_removing_one_who_has_spoken_shifts_nobody() -> None:
    world = World.loaded(members=tuple(ref(number) for number in range(4)), rules=RoundRobinConfig(max_turns=6))
    world.post("m")
    world.turn()
    world.turn()
    world.command("remove_member", "leave", agent="a0")
    world.run()
    assert world.speakers() == ["a0", "a1", "a2", "a3", "a1", "a2"]


def test_one_who_leaves_and_comes_back_within_a_lap_is_not_heard_twice_in_it() -> None:
    world = World.loaded(rules=RoundRobinConfig(max_turns=5))
    world.post("m")
    world.turn()
    world.command("remove_member", "leave", agent="a0")
    world.turn()
    world.command("add_member", "return", agent="a0", position=0)
    world.run()
    assert world.speakers() == ["a0", "a1", "a2", "a0", "a1"]


def test_a_reordered_roster_finishes_the_lap_in_its_new_order() -> None:
    world = World.loaded(rules=RoundRobinConfig(max_turns=6))
    world.post("m")
    world.turn()
    world.command("reorder_members", "order", agents=["Agent2", "Agent1", "Agent0"])
    world.run()
    assert world.speakers() == ["a0", "a2", "a1", "a2", "a1", "a0"]


def test_a_lap_does_not_begin_with_the_member_that_ended_the_last_one() -> None:
    world = World.loaded(rules=RoundRobinConfig(max_turns=6))
    world.post("m")
    for _ in range(3):
        world.turn()
    world.command("reorder_members", "order", agents=["a2", "a0", "a1"])
    world.run()
    assert world.speakers() == ["a0", "a1", "a2", "a0", "a2", "a1"]


def test_a_member_that_is_alone_speaks_turn_after_turn() -> None:
    world = World.loaded(members=(ref(0),), rules=RoundRobinConfig(max_turns=3))
    world.post("m")
    world.run()
    assert world.speakers() == ["a0", "a0", "a0"]


def test_the_choice_names_its_reason() -> None:
    world = World.loaded()
    world.post("m")
    world.run()
    assert [turn.reason for turn in world.turns] == [
        "next in rotation",
        "next in rotation after Agent0",
        "next in rotation after Agent1",
    ]
    assert {turn.chosen_by for turn in world.turns} == {"round_robin"}


_QUIET: dict[str, dict[str, object]] = {
    "muted": {"state": "muted"},
    "standby": {"state": "standby"},
    "isolated": {"health": {"state": "isolated"}},
}


@pytest.mark.parametrize("state", _QUIET)
def test_only_active_members_are_in_the_rotation(state: str) -> None:
    quiet = Member.model_validate({**ref(0).model_dump(), **_QUIET[state]})
    assert quiet.effective_state == state
    assert isinstance(select_round_robin(Roster(members=(quiet,)), Floor(), RoundRobinConfig()), NoSpeaker)
    roster = Roster(members=(quiet, Member(**ref(1).model_dump())))
    choice = select_round_robin(roster, Floor(), RoundRobinConfig())
    assert isinstance(choice, SelectedSpeaker)
    assert choice.agent_id == "a1"


def test_the_largest_roster_still_hears_everyone_once_a_lap() -> None:
    roster = Roster(members=tuple(Member(**ref(number).model_dump()) for number in range(MAX_MEMBERS)))
    order = [member.agent_id for member in roster.members]
    floor, speakers = Floor(), list[AgentId]()
    for _ in range(3 * MAX_MEMBERS):
        choice = select_round_robin(roster, floor, RoundRobinConfig())
        assert isinstance(choice, SelectedSpeaker)
        speakers.append(choice.agent_id)
        floor = floor.record_turn(choice.agent_id, order, seat=choice.agent_id)
    assert speakers == order * 3


def test_what_the_floor_remembers_is_bounded_when_nobody_stays() -> None:
    floor, owners = Floor(), [ref(9_999).agent_id]
    for number in range(5_000):
        floor = floor.record_turn(ref(number).agent_id, owners, seat=ref(number).agent_id)
    assert len(floor.lap) <= 2 * MAX_MEMBERS + 1


def test_a_refused_change_leaves_the_rotation_alone() -> None:
    world = World.loaded(rules=RoundRobinConfig(max_turns=3))
    world.post("m")
    world.turn()
    with pytest.raises(CommandRefused):
        world.command("remove_member", "no", agent="a6")
    world.run()
    assert world.speakers() == ["a0", "a1", "a2"]
