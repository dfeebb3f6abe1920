"""Managers that fail: the next one is asked, after the last the fallback rule applies; no turn is lost."""

import pytest

from tertulia.core.decisions import AskManager
from tertulia.core.group import DynamicConfig, GroupSettings
from tertulia.core.health import Health
from tertulia.core.ids import AgentId
from tertulia.core.selection import Floor, ManagerRequired, SelectedSpeaker, select_dynamic
from tests.core.simulator import CoreSimulator, ManagerAnswer, ref
from tests.core.strategies import DEPUTY, MANAGER
from tests.core.test_selection import candidates, member


def run_managed(
    *fallbacks: AgentId,
    max_turns: int = 12,
    members: int = 4,
    rules: dict[str, object] | None = None,
    settings: dict[str, object] | None = None,
    **options: object,
) -> CoreSimulator:
    """Run the first round of a conversation with managing agents."""
    simulator = CoreSimulator.loaded(
        members=tuple(ref(number) for number in range(members)),
        rules=DynamicConfig.model_validate(
            {"manager_agent_id": MANAGER, "fallback_manager_ids": fallbacks, "max_turns": max_turns, **(rules or {})}
        ),
        settings=GroupSettings.model_validate(settings or {}),
        **options,
    )
    simulator.post("m")
    simulator.run()
    return simulator


def asked_managers(simulator: CoreSimulator) -> list[str]:
    """Return the manager of each request."""
    return [one.manager.agent_id for one in simulator.decisions if isinstance(one, AskManager)]


def test_manager_outage_costs_no_turn() -> None:
    simulator = run_managed(
        DEPUTY, max_turns=30, down=lambda turn: {MANAGER} if turn <= 10 else (), settings={"cool_down_turns": 4}
    )
    assert [turn.outcome for turn in simulator.turns] == ["spoke"] * 30
    assert asked_managers(simulator)[:5] == [MANAGER, DEPUTY, MANAGER, DEPUTY, DEPUTY]
    assert simulator.health_history(MANAGER) == ["suspect", "isolated", "probation", "isolated", "probation", "healthy"]
    assert asked_managers(simulator)[-3:] == [MANAGER] * 3
    assert simulator.health_history(DEPUTY) == []


def test_manager_on_probation_has_one_attempt() -> None:
    simulator = run_managed(
        max_turns=30, down=lambda turn: {MANAGER} if turn <= 4 else (), settings={"cool_down_turns": 5}
    )
    trials = [one.trial for one in simulator.decisions if isinstance(one, AskManager)]
    assert trials[:4] == [False, False, True, False]


def test_isolated_managers_are_not_asked() -> None:
    down = {MANAGER, DEPUTY}
    simulator = run_managed(DEPUTY, down=lambda turn: down, settings={"cool_down_turns": None})
    assert asked_managers(simulator) == [MANAGER, DEPUTY, MANAGER, DEPUTY]
    assert simulator.speakers() == ["a0", "a1", "a2", "a3"] * 3
    assert {turn.chosen_by for turn in simulator.turns} == {"fallback"}
    assert simulator.turns[0].reason == (
        "Manager did not choose: nobody was chosen; Deputy did not choose: nobody was chosen; Agent0 has waited longest"
    )
    assert simulator.turns[-1].reason == (
        "Manager is isolated: nobody was chosen; Deputy is isolated: nobody was chosen; Agent3 has waited longest"
    )


@pytest.mark.parametrize("deputies", [(), (DEPUTY,), (DEPUTY, AgentId("third"))])
def test_each_manager_is_asked_once_per_turn(deputies: tuple[AgentId, ...]) -> None:
    simulator = run_managed(
        *deputies, max_turns=6, answer=lambda turn: "fail", settings={"isolate_after_failures": 100}
    )
    assert asked_managers(simulator) == [MANAGER, *deputies] * 6
    assert len(simulator.turns) == 6


def test_deputy_finish_ends_the_round() -> None:
    answers: dict[int, ManagerAnswer] = {3: "finish"}
    simulator = run_managed(DEPUTY, down=lambda turn: {MANAGER}, answer=lambda turn: answers.get(turn, "choose"))
    assert (len(simulator.turns), simulator.state.stop_reason) == (2, "manager_finish")


def test_manager_answer_resets_failures() -> None:
    simulator = run_managed(DEPUTY, down=lambda turn: {MANAGER} if turn % 2 else ())
    assert simulator.health_history(MANAGER) == ["suspect", "healthy"] * 6
    assert len(simulator.turns) == 12


def test_pair_limit_gives_floor_to_third() -> None:
    here = tuple(member(number, last=10 + number) for number in range(4))
    from_two = Floor(turn=20, last_speaker=ref(1).agent_id, pair=(ref(0).agent_id, ref(1).agent_id), pair_turns=6)
    roster = CoreSimulator.loaded().state.roster.model_copy(update={"members": here})
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


def test_floor_counts_pair_turns() -> None:
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


def test_pair_limit_bounds_fixed_choice() -> None:
    simulator = CoreSimulator.loaded(
        members=tuple(ref(number) for number in range(4)),
        rules=DynamicConfig(manager_agent_id=MANAGER, max_turns=60, max_pair_turns=6, starvation_turns=None),
    )
    simulator.choice = lambda turn, among: among[0]
    simulator.post("m")
    simulator.run()
    speakers = simulator.speakers()
    assert len(speakers) == 60
    assert all(len(set(speakers[start : start + 7])) > 2 for start in range(len(speakers) - 7))


def test_stand_in_starvation_counts_own_turns() -> None:
    isolated = member(1, last=19).model_copy(update={"health": Health(state="isolated")})
    roster = CoreSimulator.loaded().state.roster.model_copy(
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
