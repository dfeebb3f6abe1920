"""Changes of a group reach its conversations, which keep their own changes."""

from collections.abc import Sequence
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from tertulia.core.errors import CommandRefused
from tertulia.core.group import DynamicConfig, GroupSettings, RoundRobinConfig, Standby
from tertulia.core.group_sync import record_group_revision
from tertulia.core.ids import AgentId
from tests.core.simulator import CoreSimulator, ref


def member_ids(simulator: CoreSimulator) -> list[str]:
    return [member.agent_id for member in simulator.state.roster.members]


def change_group(simulator: CoreSimulator, members: Sequence[int] | None = None, **fields: object) -> None:
    """Change the group and notify the conversation."""
    if members is not None:
        simulator.members = tuple(ref(number) for number in members)
    for name, value in fields.items():
        setattr(simulator, name, value)
    simulator.revision += 1
    simulator.state = record_group_revision(simulator.state, simulator.revision)


def test_group_change_updates_roster_and_order() -> None:
    simulator = CoreSimulator.loaded()
    change_group(simulator, [2, 5, 0])
    simulator.run()
    assert member_ids(simulator) == ["a2", "a5", "a0"]
    assert {one.command_id.rpartition("-")[0] for one in simulator.changes} == {"auto:group-2"}


def test_group_change_old_revision_is_ignored() -> None:
    simulator = CoreSimulator.loaded()
    change_group(simulator, [0, 1])
    simulator.run()
    before = simulator.state
    for revision in (1, 2):
        simulator.state = record_group_revision(simulator.state, revision)
        simulator.run()
    assert simulator.state == before


def test_group_change_keeps_operator_changes() -> None:
    simulator = CoreSimulator.loaded()
    simulator.command("add_member", "x", agent="a9", position=1)
    simulator.command("remove_member", "y", agent="a2")
    simulator.command("reorder_members", "z", agents=["a1", "a9", "a0"])
    simulator.run()
    change_group(simulator, [0, 1, 2, 4])
    simulator.run()
    assert member_ids(simulator) == ["a1", "a4", "a9", "a0"], "a2 was in the group before, and was removed by hand"


def test_group_order_keeps_added_members() -> None:
    simulator = CoreSimulator.loaded()
    simulator.command("add_member", "x", agent="a9", position=1)
    simulator.run()
    change_group(simulator, [2, 1, 0])
    simulator.run()
    assert member_ids(simulator) == ["a2", "a9", "a1", "a0"]


def test_group_settings_merge_with_own() -> None:
    simulator = CoreSimulator.loaded(settings=GroupSettings(context_messages=10))
    simulator.command("update_settings", "x", preview_chars=9, context_messages=20)
    change_group(simulator, settings=GroupSettings(context_messages=10, context_tokens=400))
    simulator.run()
    settings = simulator.state.settings
    assert (settings.preview_chars, settings.context_messages, settings.context_tokens) == (9, 20, 400)


def test_group_change_replaces_managers() -> None:
    simulator = CoreSimulator.loaded(rules=DynamicConfig(manager_agent_id=AgentId("m")))
    simulator.command("update_settings", "x", max_turns=3)
    change_group(simulator, rules=DynamicConfig(manager_agent_id=AgentId("n"), fallback_manager_ids=(AgentId("m"),)))
    simulator.run()
    rules = simulator.state.manager_config
    assert isinstance(rules, DynamicConfig)
    assert (rules.manager_ids, rules.max_turns) == (("n", "m"), 3)
    assert [one.agent_id for one in simulator.state.roster.managers] == ["n", "m"]


def test_group_change_swaps_standby() -> None:
    simulator = CoreSimulator.loaded(members=(ref(0), ref(1), ref(2)), standby=(Standby(agent_id=AgentId("a2")),))
    change_group(simulator, [0, 2, 1], standby=(Standby(agent_id=AgentId("a1"), stands_in_for=AgentId("a0")),))
    simulator.run()
    states = {one.agent_id: (one.state, one.reserved_for) for one in simulator.state.roster.members}
    assert states == {"a0": ("active", None), "a2": ("active", None), "a1": ("standby", "a0")}


def test_group_change_conflict_is_in_status() -> None:
    simulator = CoreSimulator.loaded()
    simulator.command("add_member", "x", agent="a5")
    simulator.run()
    simulator.members = (ref(0), ref(5).model_copy(update={"agent_id": AgentId("other")}))
    change_group(simulator)
    simulator.run()
    assert member_ids(simulator) == ["a0", "a5"]
    (refused,) = simulator.state.rejected
    assert refused.command == "group_changed"
    assert "has the name" in refused.reason and "already" in refused.reason


def test_deleted_group_lets_conversation_go_on() -> None:
    simulator = CoreSimulator.loaded()
    change_group(simulator, group_is_gone=True)
    simulator.post("p1")
    simulator.run()
    assert len(simulator.turns) == 3


def test_group_change_applies_after_turn() -> None:
    simulator = CoreSimulator.loaded(rules=RoundRobinConfig(max_turns=3))
    simulator.post("p1")
    while simulator.state.round is None or simulator.state.round.chosen is None:
        simulator.half_step()
    change_group(simulator, [0, 2])
    simulator.run()
    assert simulator.speakers() == ["a0", "a2", "a0"]


@given(st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=6, unique=True), max_size=5))
def test_roster_follows_last_group_change(changes: list[list[int]]) -> None:
    simulator = CoreSimulator.loaded()
    for number, members in enumerate(changes):
        change_group(simulator, members)
        if number % 2:
            simulator.post(f"p{number}")
            simulator.half_step()
    simulator.run()
    expected = changes[-1] if changes else [0, 1, 2]
    assert member_ids(simulator) == [f"a{number}" for number in expected]


@given(st.lists(st.sampled_from(["post", "pause", "resume", "down", "up", "step"]), max_size=25))
def test_phase_changes_are_announced_once(happened: list[str]) -> None:
    """The simulator asserts the invariants with every answer."""
    down = {"now": False}
    simulator = CoreSimulator.loaded(down=lambda turn: ("a0", "a1", "a2") if down["now"] else ())
    for number, what in enumerate(happened):
        if what == "post":
            simulator.post(f"p{number}")
        elif what in ("pause", "resume"):
            with suppress(CommandRefused):
                simulator.command(what, f"c{number}")
        elif what in ("down", "up"):
            down["now"] = what == "down"
        else:
            simulator.half_step()
    down["now"] = False
    with suppress(CommandRefused):
        simulator.command("resume", "end")
    simulator.settle()
    published = simulator.phases[-1].phase if simulator.phases else "ready"
    assert published == "ready"


def test_missing_standby_agent_is_ignored() -> None:
    simulator = CoreSimulator.loaded()
    change_group(simulator, [0, 1], standby=(Standby(agent_id=AgentId("gone")),))
    simulator.run()
    assert member_ids(simulator) == ["a0", "a1"]
