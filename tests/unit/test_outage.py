"""Law of the outage: with nobody left to speak the conversation rests, tries one member after growing intervals, never
spins, and goes on where it stopped as soon as one answers.
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
from tests.unit.strategies import EVERYBODY, MANAGER, TimelineItem, happenings, makers, play
from tests.unit.world import World, ref


def salon(members: int = 3, *, max_turns: int | None = None, **fields: object) -> World:
    settings = {"cool_down_turns": None, "cool_down_seconds": None, "probe_initial_seconds": 10, **fields}
    return World.loaded(
        members=tuple(ref(number) for number in range(members)),
        rules=RoundRobinConfig(max_turns=max_turns),
        settings=GroupSettings.model_validate(settings),
    )


def struck(world: World) -> World:
    """The world with everybody's models down, in its outage."""
    world.down = lambda turn: EVERYBODY
    world.post("m")
    world.run()
    assert pause_reason(world) == NO_PARTICIPANTS
    return world


def pause_reason(world: World) -> str | None:
    return build_status(world.state).paused_because


def recovered(world: World) -> World:
    world.down = lambda turn: ()
    return world


@given(st.integers(1, 5), st.integers(2, 4), st.integers(0, 12), st.integers(1, 3), st.integers(0, 3))
def test_after_an_outage_everyone_of_the_lap_speaks_as_if_there_had_been_none(
    members: int, laps: int, before: int, limit: int, rounds: int
) -> None:
    """The members are tried in the order of the rotation. Where the first one tried answers, the order is the same."""
    world = salon(members, max_turns=laps * members, isolate_after_failures=limit)
    before %= (laps - 1) * members + 1
    world.post("m")
    for _ in range(before):
        world.turn()
    world.down = lambda turn: EVERYBODY
    world.run()
    waiting = members - before % members
    for _ in range(waiting * rounds):
        world.wait()
    recovered(world).settle()
    assert world.seats() == [f"a{number}" for number in range(members)] * laps
    assert (world.state.stop_reason, world.state.rounds) == ("max_turns", 1)
    assert world.state.outage is None
    assert {member.health.state for member in world.state.roster.members} == {"healthy"}


@given(st.integers(2, 5), st.integers(1, 9))
def test_whoever_answers_first_after_an_outage_each_one_of_the_lap_speaks_once(members: int, probes: int) -> None:
    world = struck(salon(members))
    for _ in range(probes):
        world.wait()
    recovered(world).settle()
    first = probes % members
    others = [number for number in range(members) if number != first]
    assert world.seats() == [f"a{number}" for number in (first, *others)]


@given(makers(), happenings(tuple(COMMANDS)), st.integers(1, 12))
def test_between_two_tries_only_a_few_steps_are_made(
    make: Callable[[], World], happened: list[TimelineItem], probes: int
) -> None:
    world = make()
    for happening in happened:
        play(world, happening)
    world.down = lambda turn: EVERYBODY
    world.outcome = lambda turn: "failed"
    for _ in range(probes):
        rest = world.run()
        if isinstance(rest, Finish) or rest.until is None:
            return
        steps, moment = len(world.decisions), world.now
        world.wait()
        # Each member may come to the end of its cool-down, which doubles each time, until that lasts longer than it
        # takes to try all of them; and each one on standby may take its place.
        members = len(world.state.roster.members)
        tries = 1 + ceil(log2(2 * members))
        assert len(world.decisions) - steps <= 4 * members * tries + 4
        assert world.now > moment, "time passes between two tries"


def test_the_intervals_between_two_tries_grow_up_to_their_bound() -> None:
    world = struck(salon(probe_initial_seconds=10, probe_maximum_seconds=60))
    rests = []
    for _ in range(6):
        until = build_status(world.state).next_probe_at
        assert until is not None
        rests.append((until - world.turns[-1].at).total_seconds())
        world.wait()
    assert rests == [10, 20, 40, 60, 60, 60]


def test_a_bound_below_the_first_interval_does_not_shorten_it() -> None:
    world = struck(salon(probe_initial_seconds=10, probe_maximum_seconds=1))
    until = build_status(world.state).next_probe_at
    assert until == world.turns[-1].at + timedelta(seconds=10)


def test_one_member_after_the_other_is_tried_with_one_attempt_and_the_reason() -> None:
    world = struck(salon())
    for _ in range(4):
        world.wait()
    tried = world.took[3:]
    assert [one.chosen.member.agent_id for one in tried] == ["a0", "a1", "a2", "a0"]
    assert all(one.trial for one in tried)
    assert all("on probation (nobody else is left)" in one.chosen.reason for one in tried)


def test_every_member_is_isolated_at_once_whatever_the_limit_and_none_of_its_turns_counts() -> None:
    world = struck(salon(isolate_after_failures=50))
    assert len(world.turns) == 3
    assert {member.state for member in build_status(world.state).roster.members} == {"isolated"}
    assert world.state.round is not None
    assert (world.state.round.turns, world.state.floor.lap) == (0, ())
    assert world.health_of("a0") == ["suspect", "isolated"]
    recovered(world).settle()
    assert world.seats() == ["a0", "a1", "a2"]


def test_members_that_are_isolated_do_not_take_those_with_them_that_were_not_tried() -> None:
    world = salon(4, max_turns=4, isolate_after_failures=1)
    world.down = lambda turn: {"a0", "a1", "a2"}
    world.post("m")
    world.run()
    assert world.seats() == ["a3"] * 4
    assert (world.health_of("a3"), world.state.stop_reason) == ([], "max_turns")


def test_the_first_that_answers_lets_all_others_be_tried_at_once() -> None:
    world = struck(salon(cool_down_turns=1_000))
    recovered(world).settle()
    assert world.health_of("a1") == ["suspect", "isolated", "probation", "healthy"]
    reasons = [change.describe() for change in world.changes if "tried again" in change.describe()]
    assert reasons == [
        "Agent0 is tried again: nobody else is left",
        "Agent1 is tried again: Agent0 answers again",
        "Agent2 is tried again: Agent0 answers again",
    ]


@pytest.mark.parametrize(
    ("name", "fields"),
    [("add_member", {"agent": "a5"}), ("unmute_member", {"agent": "a2"}), ("reinstate_member", {"agent": "a0"})],
)
def test_somebody_who_can_speak_ends_it(name: str, fields: dict[str, object]) -> None:
    world = salon()
    world.command("mute_member", "mute", agent="a2")
    struck(world)
    assert len(world.turns) == 2
    recovered(world).command(name, "c", **fields)
    world.run()
    assert world.turns[2].speaker.agent_id == fields["agent"]
    assert world.state.outage is None
    assert pause_reason(world) is None


def test_resume_tries_a_member_at_once() -> None:
    world = struck(salon(probe_initial_seconds=10_000))
    before = world.now
    recovered(world).command("resume", "r")
    world.wait()
    assert world.seats() == ["a0", "a1", "a2"]
    assert world.now - before < timedelta(seconds=1_000)


def test_an_operators_pause_holds_also_when_a_try_would_be_due() -> None:
    world = struck(salon())
    recovered(world).command("pause", "p", reason="lunch")
    assert world.run() == WaitForInput(phase="paused")
    assert pause_reason(world) == "lunch"
    assert len(world.turns) == 3
    world.command("resume", "r")
    assert pause_reason(world) == NO_PARTICIPANTS, "the outage goes on"
    world.settle()
    assert world.seats() == ["a0", "a1", "a2"]


def test_with_all_muted_nobody_is_tried() -> None:
    world = struck(salon())
    for number in range(3):
        world.command("mute_member", f"m{number}", agent=f"a{number}")
    assert world.run() == WaitForInput(phase="paused")
    assert pause_reason(world) == NO_PARTICIPANTS
    assert build_status(world.state).next_probe_at is None


def test_a_message_and_a_stop_are_taken_during_an_outage() -> None:
    world = struck(salon())
    world.post("n")
    world.run()
    assert world.recorded() == ["m", "n"]
    assert pause_reason(world) == NO_PARTICIPANTS
    world.command("stop", "s")
    assert isinstance(world.run(), Finish)


def test_an_outage_outlives_continue_as_new() -> None:
    world = struck(salon())
    world.state = ConversationState.model_validate_json(world.state.model_dump_json())
    world.under_way = None
    recovered(world).settle()
    assert world.seats() == ["a0", "a1", "a2"]


def test_where_an_agent_manages_everyone_is_tried_again_without_asking_it() -> None:
    world = World.loaded(rules=DynamicConfig(manager_agent_id=MANAGER, max_turns=4))
    world.down = lambda turn: EVERYBODY
    world.post("m")
    world.run()
    assert pause_reason(world) == NO_PARTICIPANTS
    assert {turn.chosen_by for turn in world.turns} == {"fallback"}
    recovered(world).settle()
    assert (len(world.seats()), world.state.stop_reason) == (4, "max_turns")
    answered = [turn for turn in world.turns if turn.outcome == "spoke"]
    assert [turn.chosen_by for turn in answered[:3]] == ["probation"] * 3


def test_two_that_fail_in_turn_do_not_stop_a_third() -> None:
    """A manager that goes on choosing the same two is no reason to give up on those it does not choose."""
    world = World.loaded(
        members=tuple(ref(number) for number in range(4)),
        rules=DynamicConfig(manager_agent_id=MANAGER, max_turns=12, allow_repeated_speaker=True),
        settings=GroupSettings(isolate_after_failures=3, cool_down_turns=None),
        down=lambda turn: {"a0", "a1"},
    )
    world.post("m")
    world.run()
    assert world.state.outage is None
    assert pause_reason(world) is None
    assert set(world.seats()) == {"a2", "a3"}


def test_a_conversation_without_an_outage_is_not_resumed() -> None:
    world = salon()
    world.post("m")
    world.run()
    with pytest.raises(CommandRefused, match="not paused"):
        world.command("resume", "r")


def test_a_round_that_ends_takes_its_outage_with_it() -> None:
    world = struck(salon(termination={"type": "time_budget", "seconds": 100}))
    for _ in range(20):
        if world.state.round is None:
            break
        world.wait()
    assert world.state.stop_reason == "time_budget"
    assert build_status(world.state).next_probe_at is None
    recovered(world).post("again")
    world.settle()
    assert world.seats() == ["a0"], "the one that was about to be tried"


def test_the_tries_of_an_outage_are_as_far_apart_as_they_say() -> None:
    world = struck(salon(probe_initial_seconds=10, probe_maximum_seconds=1_000))
    for _ in range(5):
        world.wait()
    times = [turn.at for turn in world.turns[2:]]
    apart = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    assert all(rest >= 10 * 2**number for number, rest in enumerate(apart))
    assert len([one for one in world.decisions if isinstance(one, TakeTurn)]) == 8
