"""Law of the managers: one that fails is followed by the next, the last by a rule; no turn is lost for want of one."""

import pytest

from tertulia.core.decisions import AskManager
from tertulia.core.group import DynamicConfig, GroupSettings
from tertulia.core.health import Health
from tertulia.core.ids import AgentId
from tertulia.core.selection import Floor, ManagerRequired, SelectedSpeaker, select_dynamic
from tests.unit.strategies import DEPUTY, MANAGER
from tests.unit.test_selection import candidates, member
from tests.unit.world import Answer, World, ref


def led(
    *fallbacks: AgentId,
    max_turns: int = 12,
    members: int = 4,
    rules: dict[str, object] | None = None,
    settings: dict[str, object] | None = None,
    **options: object,
) -> World:
    """A conversation led by agents that has had its first round."""
    world = World.loaded(
        members=tuple(ref(number) for number in range(members)),
        rules=DynamicConfig.model_validate(
            {"manager_agent_id": MANAGER, "fallback_manager_ids": fallbacks, "max_turns": max_turns, **(rules or {})}
        ),
        settings=GroupSettings.model_validate(settings or {}),
        **options,
    )
    world.post("m")
    world.run()
    return world


def asked(world: World) -> list[str]:
    """Which manager was asked, each time one was."""
    return [one.manager.agent_id for one in world.decisions if isinstance(one, AskManager)]


def test_a_manager_that_is_down_for_ten_turns_costs_none_and_comes_back() -> None:
    world = led(
        DEPUTY, max_turns=30, down=lambda turn: {MANAGER} if turn <= 10 else (), settings={"cool_down_turns": 4}
    )
    assert [turn.outcome for turn in world.turns] == ["spoke"] * 30
    assert asked(world)[:5] == [MANAGER, DEPUTY, MANAGER, DEPUTY, DEPUTY]
    assert world.health_of(MANAGER) == ["suspect", "isolated", "probation", "isolated", "probation", "healthy"]
    assert asked(world)[-3:] == [MANAGER] * 3
    assert world.health_of(DEPUTY) == []


def test_a_manager_on_probation_has_one_attempt() -> None:
    world = led(max_turns=30, down=lambda turn: {MANAGER} if turn <= 4 else (), settings={"cool_down_turns": 5})
    trials = [one.trial for one in world.decisions if isinstance(one, AskManager)]
    assert trials[:4] == [False, False, True, False]


def test_with_all_managers_isolated_none_is_asked_and_the_rule_says_why() -> None:
    down = {MANAGER, DEPUTY}
    world = led(DEPUTY, down=lambda turn: down, settings={"cool_down_turns": None})
    assert asked(world) == [MANAGER, DEPUTY, MANAGER, DEPUTY]
    assert world.speakers() == ["a0", "a1", "a2", "a3"] * 3
    assert {turn.chosen_by for turn in world.turns} == {"fallback"}
    assert world.turns[0].reason == (
        "Manager did not choose: nobody was chosen; Deputy did not choose: nobody was chosen; "
        "Agent0 is the least recently heard"
    )
    assert world.turns[-1].reason == (
        "Manager is isolated: nobody was chosen; Deputy is isolated: nobody was chosen; "
        "Agent3 is the least recently heard"
    )


@pytest.mark.parametrize("deputies", [(), (DEPUTY,), (DEPUTY, AgentId("third"))])
def test_for_one_turn_each_manager_is_asked_once_at_most(deputies: tuple[AgentId, ...]) -> None:
    world = led(*deputies, max_turns=6, answer=lambda turn: "fail", settings={"isolate_after_failures": 100})
    assert asked(world) == [MANAGER, *deputies] * 6
    assert len(world.turns) == 6


def test_one_that_finishes_in_the_managers_place_ends_the_round() -> None:
    answers: dict[int, Answer] = {3: "finish"}
    world = led(DEPUTY, down=lambda turn: {MANAGER}, answer=lambda turn: answers.get(turn, "choose"))
    assert (len(world.turns), world.state.stop_reason) == (2, "manager_finish")


def test_an_answer_after_failures_is_recovery_and_counts_them_anew() -> None:
    world = led(DEPUTY, down=lambda turn: {MANAGER} if turn % 2 else ())
    assert world.health_of(MANAGER) == ["suspect", "healthy"] * 6
    assert len(world.turns) == 12


def test_two_that_have_the_floor_to_themselves_give_way_to_a_third_with_the_reason() -> None:
    here = tuple(member(number, last=10 + number) for number in range(4))
    from_two = Floor(turn=20, last_speaker=ref(1).agent_id, pair=(ref(0).agent_id, ref(1).agent_id), pair_turns=6)
    roster = World.loaded().state.roster.model_copy(update={"members": here})
    rules = DynamicConfig(manager_agent_id=MANAGER, max_pair_turns=6, starvation_turns=None)
    selection = select_dynamic(roster, from_two, rules)
    assert isinstance(selection, ManagerRequired)
    assert candidates(selection) == ["a2", "a3"]
    assert selection.note == "Agent0 and Agent1 have had the last 6 turns (max_pair_turns = 6)"
    patient = rules.model_copy(update={"max_pair_turns": 7})
    assert candidates(select_dynamic(roster, from_two, patient)) == ["a0", "a2", "a3"]
    never = rules.model_copy(update={"max_pair_turns": None})
    assert candidates(select_dynamic(roster, from_two, never)) == ["a0", "a2", "a3"]
    alone = roster.model_copy(update={"members": here[:2]})
    assert candidates(select_dynamic(alone, from_two, rules)) == ["a0"], "without a third they go on"


def test_the_floor_knows_how_long_two_have_had_it() -> None:
    floor, owners = Floor(), [ref(number).agent_id for number in range(4)]
    counted = []
    for speaker in (0, 1, 0, 1, 1, 2, 1, 2, 3, 0):
        floor = floor.record_turn(owners[speaker], owners, seat=None)
        counted.append((set(floor.pair), floor.pair_turns))
    a, b, c, d = owners
    assert counted == [
        ({a}, 1), ({a, b}, 2), ({a, b}, 3), ({a, b}, 4), ({a, b}, 5),
        ({b, c}, 2), ({b, c}, 3), ({b, c}, 4), ({c, d}, 2), ({d, a}, 2),
    ]  # fmt: skip


def test_a_manager_that_always_picks_the_same_two_is_bounded() -> None:
    world = World.loaded(
        members=tuple(ref(number) for number in range(4)),
        rules=DynamicConfig(manager_agent_id=MANAGER, max_turns=60, max_pair_turns=6, starvation_turns=None),
    )
    world.choice = lambda turn, among: among[0]
    world.post("m")
    world.run()
    speakers = world.speakers()
    assert len(speakers) == 60
    assert all(len(set(speakers[start : start + 7])) > 2 for start in range(len(speakers) - 7))


def test_one_that_stands_in_does_not_starve_from_the_time_in_which_its_seat_was_heard() -> None:
    isolated = member(1, last=19).model_copy(update={"health": Health(state="isolated")})
    roster = World.loaded().state.roster.model_copy(
        update={
            "members": (
                member(0, last=20),
                isolated,
                member(2, last=18),
                member(3, state="standby").model_copy(update={"in_place_of": ref(1).agent_id}),
            )
        }
    )
    floor = Floor(turn=20, last_speaker=ref(0).agent_id)
    rules = DynamicConfig(manager_agent_id=MANAGER, starvation_turns=5)
    assert candidates(select_dynamic(roster, floor, rules)) == ["a3", "a2"]
    starving = select_dynamic(roster, floor.model_copy(update={"turn": 25}), rules)
    assert isinstance(starving, SelectedSpeaker)
    assert (starving.agent_id, starving.chosen_by) == ("a2", "starvation")
