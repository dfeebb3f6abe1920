"""Fairness of the rotation: every member speaks once per lap, whatever happens to the roster.

A lap ends when every active member has spoken in it. Hence two members that are active from the start of a lap never
differ by more than one turn; from any other point on, by no more than two.
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
from tests.core.simulator import CoreSimulator, ref
from tests.core.strategies import MEMBER_COMMANDS, Action, CommandAction, action_lists, perform_action

changes = action_lists(MEMBER_COMMANDS, max_size=50)
first_members = st.integers(1, 5).map(lambda count: tuple(ref(number) for number in range(count)))
turn_limits = st.none() | st.integers(1, 7)


def simulate_round_robin(
    members: tuple[object, ...], max_turns: int | None, actions: list[Action]
) -> tuple[list[str], list[set[str]]]:
    """Return the speaker and the active members of each turn, in a conversation that is never idle."""
    simulator = CoreSimulator.loaded(members=members, rules=RoundRobinConfig(max_turns=max_turns))
    simulator.post("first")
    for number, action in enumerate([*actions, 12]):
        if isinstance(action, CommandAction):
            perform_action(simulator, action)
            continue
        for step in range(2 * action):
            if simulator.half_step() and simulator.current_decision is None and not simulator.state.round:
                simulator.post(f"post-{number}-{step}")
    active = [{str(member.agent_id) for member in roster.active_members()} for roster in simulator.rosters]
    return simulator.speakers(), active


def lap_starts(speakers: list[str], active: list[set[str]]) -> list[int]:
    """Return the first turns of laps, counted without the state's own record."""
    starts, served = list[int](), set[str]()
    for index, speaker in enumerate(speakers):
        # The roster can have changed since the last turn: members that had not spoken can be gone.
        if not served or active[index] <= served:
            starts.append(index)
            served = set()
        assert speaker not in served, f"{speaker} speaks twice in a lap: {speakers}, active {active}"
        served.add(speaker)
        if active[index] <= served:
            served = set()
    return starts


@given(first_members, turn_limits, changes)
def test_lap_includes_every_active_member_once(
    members: tuple[object, ...], max_turns: int | None, actions: list[Action]
) -> None:
    speakers, active = simulate_round_robin(members, max_turns, actions)
    assert all(speaker in here for speaker, here in zip(speakers, active, strict=True))
    lap_starts(speakers, active)


@given(first_members, turn_limits, changes)
def test_turn_counts_differ_by_at_most_one(
    members: tuple[object, ...], max_turns: int | None, actions: list[Action]
) -> None:
    speakers, active = simulate_round_robin(members, max_turns, actions)
    starts = set(lap_starts(speakers, active))
    for start in range(len(speakers)):
        stayed, counts = set(active[start]), dict.fromkeys(active[start], 0)
        for end in range(start, len(speakers)):
            stayed &= active[end]
            counts[speakers[end]] = counts.get(speakers[end], 0) + 1
            served = [counts[one] for one in stayed] or [0]
            assert max(served) - min(served) <= (1 if start in starts else 2), f"turns {start}-{end} of {speakers}"


@given(first_members, turn_limits, changes)
def test_no_member_speaks_twice_in_a_row(
    members: tuple[object, ...], max_turns: int | None, actions: list[Action]
) -> None:
    speakers, active = simulate_round_robin(members, max_turns, actions)
    for (before, after), here in zip(pairwise(speakers), active[1:], strict=False):
        assert before != after or here == {after}, speakers


def test_rotation_continues_across_rounds() -> None:
    simulator = CoreSimulator.loaded(rules=RoundRobinConfig(max_turns=2))
    for number in range(4):
        simulator.post(f"m{number}")
        simulator.run()
    assert simulator.speakers() == ["a0", "a1", "a2", "a0", "a1", "a2", "a0", "a1"]


def test_round_defaults_to_one_turn_per_member() -> None:
    simulator = CoreSimulator.loaded(members=tuple(ref(number) for number in range(4)))
    simulator.command("mute_member", "mute", agent="Agent2")
    simulator.post("m")
    simulator.run()
    assert simulator.speakers() == ["a0", "a1", "a3"]


def test_removing_next_speaker_skips_nobody() -> None:
    simulator = CoreSimulator.loaded(
        members=tuple(ref(number) for number in range(4)), rules=RoundRobinConfig(max_turns=7)
    )
    simulator.post("m")
    simulator.turn()
    simulator.command("remove_member", "leave", agent="a1")
    simulator.run()
    assert simulator.speakers() == ["a0", "a2", "a3", "a0", "a2", "a3", "a0"]


def test_removing_past_speaker_shifts_nobody() -> None:
    simulator = CoreSimulator.loaded(
        members=tuple(ref(number) for number in range(4)), rules=RoundRobinConfig(max_turns=6)
    )
    simulator.post("m")
    simulator.turn()
    simulator.turn()
    simulator.command("remove_member", "leave", agent="a0")
    simulator.run()
    assert simulator.speakers() == ["a0", "a1", "a2", "a3", "a1", "a2"]


def test_rejoined_member_waits_for_next_lap() -> None:
    simulator = CoreSimulator.loaded(rules=RoundRobinConfig(max_turns=5))
    simulator.post("m")
    simulator.turn()
    simulator.command("remove_member", "leave", agent="a0")
    simulator.turn()
    simulator.command("add_member", "return", agent="a0", position=0)
    simulator.run()
    assert simulator.speakers() == ["a0", "a1", "a2", "a0", "a1"]


def test_reordered_roster_finishes_its_lap() -> None:
    simulator = CoreSimulator.loaded(rules=RoundRobinConfig(max_turns=6))
    simulator.post("m")
    simulator.turn()
    simulator.command("reorder_members", "order", agents=["Agent2", "Agent1", "Agent0"])
    simulator.run()
    assert simulator.speakers() == ["a0", "a2", "a1", "a2", "a1", "a0"]


def test_new_lap_does_not_start_with_last_speaker() -> None:
    simulator = CoreSimulator.loaded(rules=RoundRobinConfig(max_turns=6))
    simulator.post("m")
    for _ in range(3):
        simulator.turn()
    simulator.command("reorder_members", "order", agents=["a2", "a0", "a1"])
    simulator.run()
    assert simulator.speakers() == ["a0", "a1", "a2", "a0", "a2", "a1"]


def test_single_member_speaks_every_turn() -> None:
    simulator = CoreSimulator.loaded(members=(ref(0),), rules=RoundRobinConfig(max_turns=3))
    simulator.post("m")
    simulator.run()
    assert simulator.speakers() == ["a0", "a0", "a0"]


def test_rotation_reason_names_predecessor() -> None:
    simulator = CoreSimulator.loaded()
    simulator.post("m")
    simulator.run()
    assert [turn.reason for turn in simulator.turns] == [
        "next in rotation",
        "next in rotation after Agent0",
        "next in rotation after Agent1",
    ]
    assert {turn.chosen_by for turn in simulator.turns} == {"round_robin"}


_INACTIVE_STATES: dict[str, dict[str, object]] = {
    "muted": {"state": "muted"},
    "standby": {"state": "standby"},
    "isolated": {"health": {"state": "isolated"}},
}


@pytest.mark.parametrize("state", _INACTIVE_STATES)
def test_rotation_includes_active_members_only(state: str) -> None:
    inactive = Member.model_validate({**ref(0).model_dump(), **_INACTIVE_STATES[state]})
    assert inactive.effective_state == state
    assert isinstance(select_round_robin(Roster(members=(inactive,)), Floor(), RoundRobinConfig()), NoSpeaker)
    roster = Roster(members=(inactive, Member(**ref(1).model_dump())))
    choice = select_round_robin(roster, Floor(), RoundRobinConfig())
    assert isinstance(choice, SelectedSpeaker)
    assert choice.agent_id == "a1"


def test_largest_roster_rotates_fairly() -> None:
    roster = Roster(members=tuple(Member(**ref(number).model_dump()) for number in range(MAX_MEMBERS)))
    order = [member.agent_id for member in roster.members]
    floor, speakers = Floor(), list[AgentId]()
    for _ in range(3 * MAX_MEMBERS):
        choice = select_round_robin(roster, floor, RoundRobinConfig())
        assert isinstance(choice, SelectedSpeaker)
        speakers.append(choice.agent_id)
        floor = floor.record_turn(choice.agent_id, order, seat=choice.agent_id)
    assert speakers == order * 3


def test_floor_memory_is_bounded() -> None:
    floor, owners = Floor(), [ref(9_999).agent_id]
    for number in range(5_000):
        floor = floor.record_turn(ref(number).agent_id, owners, seat=ref(number).agent_id)
    assert len(floor.lap) <= 2 * MAX_MEMBERS + 1


def test_refused_change_keeps_rotation() -> None:
    simulator = CoreSimulator.loaded(rules=RoundRobinConfig(max_turns=3))
    simulator.post("m")
    simulator.turn()
    with pytest.raises(CommandRefused):
        simulator.command("remove_member", "no", agent="a6")
    simulator.run()
    assert simulator.speakers() == ["a0", "a1", "a2"]
