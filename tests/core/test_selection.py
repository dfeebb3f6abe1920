"""Speaker selection in dynamic groups, and the fallback rule."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.core.decisions import AskManager, CloseRound, WaitForInput
from tertulia.core.group import DynamicConfig
from tertulia.core.ids import AgentId
from tertulia.core.roster import Member, Roster
from tertulia.core.selection import (
    Floor,
    ManagerRequired,
    NoSpeaker,
    SelectedSpeaker,
    least_recent_speaker,
    select_dynamic,
    select_speaker,
)
from tests.core.simulator import CoreSimulator, ref

MANAGER = AgentId("manager")

members = st.lists(
    st.builds(
        lambda number, state, last, joined: {"n": number, "state": state, "last": last, "joined": joined},
        st.integers(0, 9),
        st.sampled_from(["active", "active", "muted", "standby"]),
        st.integers(0, 30),
        st.integers(0, 30),
    ),
    max_size=6,
    unique_by=lambda one: one["n"],
)
rules = st.builds(
    DynamicConfig,
    manager_agent_id=st.just(MANAGER),
    allow_repeated_speaker=st.booleans(),
    starvation_turns=st.none() | st.integers(1, 40),
)


def member(number: int, *, last: int = 0, joined: int = 0, state: str = "active") -> Member:
    return Member.model_validate({**ref(number).model_dump(), "last_turn": last, "joined_turn": joined, "state": state})


def candidates(selection: object) -> list[str]:
    assert isinstance(selection, ManagerRequired)
    return [str(one) for one in selection.candidates]


@given(members, rules, st.integers(0, 9).map(lambda number: ref(number).agent_id) | st.none())
def test_candidates_exclude_last_speaker(
    drawn: list[dict[str, int]], config: DynamicConfig, last: AgentId | None
) -> None:
    here = tuple(member(one["n"], last=one["last"], joined=one["joined"], state=str(one["state"])) for one in drawn)
    active = [one.agent_id for one in here if one.state == "active"]
    selection = select_dynamic(Roster(members=here), Floor(turn=30, last_speaker=last), config)
    others = [one for one in active if config.allow_repeated_speaker or one != last]
    match selection:
        case NoSpeaker():
            assert not active
        case ManagerRequired(candidates=asked):
            assert list(asked) == (others or active)
        case SelectedSpeaker(agent_id=speaker, chosen_by=chosen_by):
            assert chosen_by == "starvation"
            assert speaker in (others or active)
            waited = {one.agent_id: 30 - max(one.last_turn, one.joined_turn) for one in here}
            assert config.starvation_turns is not None
            assert waited[speaker] >= config.starvation_turns
            assert waited[speaker] == max(waited[one] for one in (others or active))


def test_single_member_is_always_candidate() -> None:
    alone = Roster(members=(member(0, last=4),))
    selection = select_dynamic(
        alone, Floor(turn=4, last_speaker=ref(0).agent_id), DynamicConfig(manager_agent_id=MANAGER)
    )
    assert candidates(selection) == ["a0"]


def test_repeated_speaker_when_allowed() -> None:
    roster = Roster(members=(member(0, last=4), member(1, last=3)))
    floor = Floor(turn=4, last_speaker=ref(0).agent_id)
    assert candidates(select_speaker(roster, floor, DynamicConfig(manager_agent_id=MANAGER))) == ["a1"]
    allowed = DynamicConfig(manager_agent_id=MANAGER, allow_repeated_speaker=True)
    assert candidates(select_speaker(roster, floor, allowed)) == ["a0", "a1"]


def test_starving_member_speaks_with_reason() -> None:
    roster = Roster(members=(member(0, last=9), member(1, last=10), member(2, last=4)))
    floor = Floor(turn=10, last_speaker=ref(1).agent_id)
    selection = select_dynamic(roster, floor, DynamicConfig(manager_agent_id=MANAGER, starvation_turns=6))
    assert selection == SelectedSpeaker(
        agent_id=ref(2).agent_id, chosen_by="starvation", reason="waiting for 6 turns (starvation_turns = 6)"
    )
    patient = DynamicConfig(manager_agent_id=MANAGER, starvation_turns=7)
    assert candidates(select_dynamic(roster, floor, patient)) == ["a0", "a2"]
    never = DynamicConfig(manager_agent_id=MANAGER, starvation_turns=None)
    assert candidates(select_dynamic(roster, floor, never)) == ["a0", "a2"]


def test_starvation_counts_from_joining() -> None:
    roster = Roster(members=(member(0, last=99), member(1, joined=98)))
    floor = Floor(turn=100, last_speaker=None)
    rules = DynamicConfig(manager_agent_id=MANAGER, starvation_turns=3)
    assert candidates(select_dynamic(roster, floor, rules)) == ["a0", "a1"]
    starving = select_dynamic(roster, floor.model_copy(update={"turn": 101}), rules)
    assert isinstance(starving, SelectedSpeaker)
    assert starving.agent_id == "a1"


def test_no_member_starves_in_long_round() -> None:
    simulator = CoreSimulator.loaded(
        members=tuple(ref(number) for number in range(5)),
        rules=DynamicConfig(manager_agent_id=MANAGER, max_turns=60, starvation_turns=8, termination_token=None),
    )
    simulator.post("m")
    simulator.run()
    speakers = simulator.speakers()
    assert len(speakers) == 60
    for agent in {str(ref(number).agent_id) for number in range(5)}:
        turns = [0, *(turn for turn, speaker in enumerate(speakers, start=1) if speaker == agent), 61]
        assert max(after - before for before, after in pairwise(turns)) <= 8 + 5


def test_fallback_is_the_longest_waiting() -> None:
    roster = Roster(members=(member(0, last=3), member(1, last=2), member(2, last=0), member(3, last=0)))
    every = tuple(one.agent_id for one in roster.members)
    assert least_recent_speaker(roster, every) == "a2"
    assert least_recent_speaker(roster, every[:2]) == "a1"
    assert least_recent_speaker(roster, (AgentId("left"),)) == "a2"
    assert least_recent_speaker(Roster(members=(member(0, state="muted"),)), every) is None


def test_failed_selection_records_both_reasons() -> None:
    simulator = CoreSimulator.loaded(
        rules=DynamicConfig(manager_agent_id=MANAGER, max_turns=3), answer=lambda turn: "fail"
    )
    simulator.post("m")
    simulator.run()
    assert simulator.speakers() == ["a0", "a1", "a2"]
    assert {turn.chosen_by for turn in simulator.turns} == {"fallback"}
    assert simulator.turns[1].reason == "Manager did not choose: nobody was chosen; Agent1 has waited longest"


def test_manager_choice_and_reason_are_recorded() -> None:
    simulator = CoreSimulator.loaded(rules=DynamicConfig(manager_agent_id=MANAGER, max_turns=2))
    simulator.post("m")
    simulator.run()
    assert [(turn.chosen_by, turn.reason) for turn in simulator.turns] == [("manager", "it fits")] * 2
    assert simulator.state.usage.model_calls == 4


def test_manager_finish_ends_the_round() -> None:
    simulator = CoreSimulator.loaded(
        rules=DynamicConfig(manager_agent_id=MANAGER), answer=lambda turn: "finish" if turn == 3 else "choose"
    )
    simulator.post("m")
    simulator.run()
    assert len(simulator.turns) == 2
    assert (simulator.state.stop_reason, simulator.state.stop_explanation) == (
        "manager_finish",
        "the manager finished: enough",
    )


def test_manager_is_asked_once_per_turn() -> None:
    simulator = CoreSimulator.loaded(rules=DynamicConfig(manager_agent_id=MANAGER, max_turns=20))
    simulator.post("m")
    simulator.run()
    assert len(simulator.turns) == 20
    assert sum(isinstance(decision, AskManager) for decision in simulator.decisions) == 20
    assert simulator.state.stop_reason == "max_turns"


@pytest.mark.parametrize("dynamically", [True, False])
def test_no_active_member_waits_for_input(dynamically: bool) -> None:
    simulator = CoreSimulator.loaded(
        members=(ref(0),), **({"rules": DynamicConfig(manager_agent_id=MANAGER)} if dynamically else {})
    )
    simulator.command("mute_member", "mute", agent="a0")
    simulator.post("m")
    assert simulator.run() == WaitForInput(phase="paused")
    assert (simulator.turns, simulator.recorded_ids()) == ([], ["m"])
    simulator.command("unmute_member", "unmute", agent="a0")
    simulator.run()
    assert simulator.speakers()[0] == "a0"
    assert any(isinstance(decision, CloseRound) for decision in simulator.decisions)
