"""Outages: while no member can speak, the conversation waits, tries one member after growing intervals, never loops,
and continues where it stopped as soon as one answers.
"""

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.core.commands import COMMANDS
from tertulia.core.decisions import Finish, TakeTurn, WaitForInput
from tertulia.core.errors import CommandRefused
from tertulia.core.failover import NO_PARTICIPANTS
from tertulia.core.group import DynamicConfig, GroupSettings, RoundRobinConfig
from tertulia.core.state import ConversationState
from tertulia.core.status import build_status
from tests.core.simulator import CoreSimulator, ref
from tests.core.strategies import ALL_AGENTS, MANAGER, Action, action_lists, perform_action, simulator_factories


def make_simulator(members: int = 3, *, max_turns: int | None = None, **fields: object) -> CoreSimulator:
    settings = {"cool_down_turns": None, "cool_down_seconds": None, "probe_initial_seconds": 10, **fields}
    return CoreSimulator.loaded(
        members=tuple(ref(number) for number in range(members)),
        rules=RoundRobinConfig(max_turns=max_turns),
        settings=GroupSettings.model_validate(settings),
    )


def start_outage(simulator: CoreSimulator) -> CoreSimulator:
    """Return a simulator in an outage: all models are down."""
    simulator.down = lambda turn: ALL_AGENTS
    simulator.post("m")
    simulator.run()
    assert pause_reason(simulator) == NO_PARTICIPANTS
    return simulator


def pause_reason(simulator: CoreSimulator) -> str | None:
    return build_status(simulator.state).paused_because


def end_outage(simulator: CoreSimulator) -> CoreSimulator:
    simulator.down = lambda turn: ()
    return simulator


@given(st.integers(1, 5), st.integers(2, 4), st.integers(0, 12), st.integers(1, 3), st.integers(0, 3))
def test_outage_recovery_completes_the_lap(members: int, laps: int, before: int, limit: int, rounds: int) -> None:
    """Members are tried in rotation order; the order stays the same when the first one answers."""
    simulator = make_simulator(members, max_turns=laps * members, isolate_after_failures=limit)
    before %= (laps - 1) * members + 1
    simulator.post("m")
    for _ in range(before):
        simulator.turn()
    simulator.down = lambda turn: ALL_AGENTS
    simulator.run()
    waiting = members - before % members
    for _ in range(waiting * rounds):
        simulator.wait_for_probe()
    end_outage(simulator).settle()
    assert simulator.seats() == [f"a{number}" for number in range(members)] * laps
    assert (simulator.state.stop_reason, simulator.state.rounds) == ("max_turns", 1)
    assert simulator.state.outage is None
    assert {member.health.state for member in simulator.state.roster.members} == {"healthy"}


@given(st.integers(2, 5), st.integers(1, 9))
def test_outage_recovery_by_any_first_member(members: int, probes: int) -> None:
    simulator = start_outage(make_simulator(members))
    for _ in range(probes):
        simulator.wait_for_probe()
    end_outage(simulator).settle()
    first = probes % members
    others = [number for number in range(members) if number != first]
    assert simulator.seats() == [f"a{number}" for number in (first, *others)]


@given(simulator_factories(), action_lists(tuple(COMMANDS)), st.integers(1, 12))
def test_outage_probe_steps_are_bounded(make: Callable[[], CoreSimulator], actions: list[Action], probes: int) -> None:
    simulator = make()
    for action in actions:
        perform_action(simulator, action)
    simulator.down = lambda turn: ALL_AGENTS
    simulator.outcome = lambda turn: "failed"
    for _ in range(probes):
        rest = simulator.run()
        if isinstance(rest, Finish) or rest.until is None:
            return
        steps, moment = len(simulator.decisions), simulator.now
        simulator.wait_for_probe()
        # Each member can reach the end of its cool-down, which doubles each time, until it lasts longer than trying all
        # of them; and each member on standby can take its place.
        members = len(simulator.state.roster.members)
        tries = 1 + ceil(log2(2 * members))
        assert len(simulator.decisions) - steps <= 4 * members * tries + 4
        assert simulator.now > moment, "time passes between two tries"


def test_probe_intervals_grow_to_maximum() -> None:
    simulator = start_outage(make_simulator(probe_initial_seconds=10, probe_maximum_seconds=60))
    rests = []
    for _ in range(6):
        until = build_status(simulator.state).next_probe_at
        assert until is not None
        rests.append((until - simulator.turns[-1].at).total_seconds())
        simulator.wait_for_probe()
    assert rests == [10, 20, 40, 60, 60, 60]


def test_probe_maximum_below_initial_is_ignored() -> None:
    simulator = start_outage(make_simulator(probe_initial_seconds=10, probe_maximum_seconds=1))
    until = build_status(simulator.state).next_probe_at
    assert until == simulator.turns[-1].at + timedelta(seconds=10)


def test_probes_rotate_with_one_attempt() -> None:
    simulator = start_outage(make_simulator())
    for _ in range(4):
        simulator.wait_for_probe()
    tried = simulator.turn_decisions[3:]
    assert [one.chosen.member.agent_id for one in tried] == ["a0", "a1", "a2", "a0"]
    assert all(one.trial for one in tried)
    assert all("on probation (no other member can speak)" in one.chosen.reason for one in tried)


def test_outage_isolates_all_and_counts_no_turn() -> None:
    simulator = start_outage(make_simulator(isolate_after_failures=50))
    assert len(simulator.turns) == 3
    assert {member.state for member in build_status(simulator.state).roster.members} == {"isolated"}
    assert simulator.state.round is not None
    assert (simulator.state.round.turns, simulator.state.floor.lap) == (0, ())
    assert simulator.health_history("a0") == ["suspect", "isolated"]
    end_outage(simulator).settle()
    assert simulator.seats() == ["a0", "a1", "a2"]


def test_outage_spares_untried_members() -> None:
    simulator = make_simulator(4, max_turns=4, isolate_after_failures=1)
    simulator.down = lambda turn: {"a0", "a1", "a2"}
    simulator.post("m")
    simulator.run()
    assert simulator.seats() == ["a3"] * 4
    assert (simulator.health_history("a3"), simulator.state.stop_reason) == ([], "max_turns")


def test_first_success_probes_all_others() -> None:
    simulator = start_outage(make_simulator(cool_down_turns=1_000))
    end_outage(simulator).settle()
    assert simulator.health_history("a1") == ["suspect", "isolated", "probation", "healthy"]
    reasons = [change.describe() for change in simulator.changes if "tried again" in change.describe()]
    assert reasons == [
        "Agent0 is tried again: no other member can speak",
        "Agent1 is tried again: Agent0 answers again",
        "Agent2 is tried again: Agent0 answers again",
    ]


@pytest.mark.parametrize(
    ("name", "fields"),
    [("add_member", {"agent": "a5"}), ("unmute_member", {"agent": "a2"}), ("reinstate_member", {"agent": "a0"})],
)
def test_available_member_ends_outage(name: str, fields: dict[str, object]) -> None:
    simulator = make_simulator()
    simulator.command("mute_member", "mute", agent="a2")
    start_outage(simulator)
    assert len(simulator.turns) == 2
    end_outage(simulator).command(name, "c", **fields)
    simulator.run()
    assert simulator.turns[2].speaker.agent_id == fields["agent"]
    assert simulator.state.outage is None
    assert pause_reason(simulator) is None


def test_resume_probes_at_once() -> None:
    simulator = start_outage(make_simulator(probe_initial_seconds=10_000))
    before = simulator.now
    end_outage(simulator).command("resume", "r")
    simulator.wait_for_probe()
    assert simulator.seats() == ["a0", "a1", "a2"]
    assert simulator.now - before < timedelta(seconds=1_000)


def test_pause_holds_during_outage() -> None:
    simulator = start_outage(make_simulator())
    end_outage(simulator).command("pause", "p", reason="lunch")
    assert simulator.run() == WaitForInput(phase="paused")
    assert pause_reason(simulator) == "lunch"
    assert len(simulator.turns) == 3
    simulator.command("resume", "r")
    assert pause_reason(simulator) == NO_PARTICIPANTS, "the outage goes on"
    simulator.settle()
    assert simulator.seats() == ["a0", "a1", "a2"]


def test_muted_members_are_not_probed() -> None:
    simulator = start_outage(make_simulator())
    for number in range(3):
        simulator.command("mute_member", f"m{number}", agent=f"a{number}")
    assert simulator.run() == WaitForInput(phase="paused")
    assert pause_reason(simulator) == NO_PARTICIPANTS
    assert build_status(simulator.state).next_probe_at is None


def test_outage_accepts_posts_and_stop() -> None:
    simulator = start_outage(make_simulator())
    simulator.post("n")
    simulator.run()
    assert simulator.recorded_ids() == ["m", "n"]
    assert pause_reason(simulator) == NO_PARTICIPANTS
    simulator.command("stop", "s")
    assert isinstance(simulator.run(), Finish)


def test_outage_survives_continue_as_new() -> None:
    simulator = start_outage(make_simulator())
    simulator.state = ConversationState.model_validate_json(simulator.state.model_dump_json())
    simulator.current_decision = None
    end_outage(simulator).settle()
    assert simulator.seats() == ["a0", "a1", "a2"]


def test_managed_group_probes_without_manager() -> None:
    simulator = CoreSimulator.loaded(rules=DynamicConfig(manager_agent_id=MANAGER, max_turns=4))
    simulator.down = lambda turn: ALL_AGENTS
    simulator.post("m")
    simulator.run()
    assert pause_reason(simulator) == NO_PARTICIPANTS
    assert {turn.chosen_by for turn in simulator.turns} == {"fallback"}
    end_outage(simulator).settle()
    assert (len(simulator.seats()), simulator.state.stop_reason) == (4, "max_turns")
    answered = [turn for turn in simulator.turns if turn.outcome == "spoke"]
    assert [turn.chosen_by for turn in answered[:3]] == ["probation"] * 3


def test_failing_members_do_not_stop_others() -> None:
    """A manager that keeps choosing the same two members does not exclude the others."""
    simulator = CoreSimulator.loaded(
        members=tuple(ref(number) for number in range(4)),
        rules=DynamicConfig(manager_agent_id=MANAGER, max_turns=12, allow_repeated_speaker=True),
        settings=GroupSettings(isolate_after_failures=3, cool_down_turns=None),
        down=lambda turn: {"a0", "a1"},
    )
    simulator.post("m")
    simulator.run()
    assert simulator.state.outage is None
    assert pause_reason(simulator) is None
    assert set(simulator.seats()) == {"a2", "a3"}


def test_resume_without_outage_is_refused() -> None:
    simulator = make_simulator()
    simulator.post("m")
    simulator.run()
    with pytest.raises(CommandRefused, match="not paused"):
        simulator.command("resume", "r")


def test_round_end_clears_outage() -> None:
    simulator = start_outage(make_simulator(termination={"type": "time_budget", "seconds": 100}))
    for _ in range(20):
        if simulator.state.round is None:
            break
        simulator.wait_for_probe()
    assert simulator.state.stop_reason == "time_budget"
    assert build_status(simulator.state).next_probe_at is None
    end_outage(simulator).post("again")
    simulator.settle()
    assert simulator.seats() == ["a0"], "the one that was about to be tried"


def test_probe_times_match_intervals() -> None:
    simulator = start_outage(make_simulator(probe_initial_seconds=10, probe_maximum_seconds=1_000))
    for _ in range(5):
        simulator.wait_for_probe()
    times = [turn.at for turn in simulator.turns[2:]]
    apart = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    assert all(rest >= 10 * 2**number for number, rest in enumerate(apart))
    assert len([one for one in simulator.decisions if isinstance(one, TakeTurn)]) == 8
