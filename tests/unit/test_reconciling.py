"""A conversation follows its group, and keeps what its own operators have changed."""

from collections.abc import Sequence
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from tertulia.core.errors import CommandRefused
from tertulia.core.group import DynamicConfig, GroupSettings, RoundRobinConfig, Standby
from tertulia.core.group_sync import record_group_revision
from tertulia.core.ids import AgentId
from tests.unit.world import World, ref


def here(world: World) -> list[str]:
    return [member.agent_id for member in world.state.roster.members]


def change(world: World, members: Sequence[int] | None = None, **fields: object) -> None:
    """The group changes, and the conversation is told."""
    if members is not None:
        world.members = tuple(ref(number) for number in members)
    for name, value in fields.items():
        setattr(world, name, value)
    world.revision += 1
    world.state = record_group_revision(world.state, world.revision)


def test_members_leave_and_join_and_take_the_groups_order() -> None:
    world = World.loaded()
    change(world, [2, 5, 0])
    world.run()
    assert here(world) == ["a2", "a5", "a0"]
    assert {one.command_id.rpartition("-")[0] for one in world.changes} == {"auto:group-2"}


def test_an_older_revision_or_the_same_one_again_changes_nothing() -> None:
    world = World.loaded()
    change(world, [0, 1])
    world.run()
    before = world.state
    for revision in (1, 2):
        world.state = record_group_revision(world.state, revision)
        world.run()
    assert world.state == before


def test_whom_operators_added_removed_or_moved_stays_so() -> None:
    world = World.loaded()
    world.command("add_member", "x", agent="a9", position=1)
    world.command("remove_member", "y", agent="a2")
    world.command("reorder_members", "z", agents=["a1", "a9", "a0"])
    world.run()
    change(world, [0, 1, 2, 4])
    world.run()
    assert here(world) == ["a1", "a4", "a9", "a0"], "a2 was in the group before, and was removed by hand"


def test_a_new_order_of_the_group_leaves_those_added_by_hand_in_their_places() -> None:
    world = World.loaded()
    world.command("add_member", "x", agent="a9", position=1)
    world.run()
    change(world, [2, 1, 0])
    world.run()
    assert here(world) == ["a2", "a9", "a1", "a0"]


def test_settings_that_the_group_changes_count_and_others_stay() -> None:
    world = World.loaded(settings=GroupSettings(context_messages=10))
    world.command("update_settings", "x", preview_chars=9, context_messages=20)
    change(world, settings=GroupSettings(context_messages=10, context_tokens=400))
    world.run()
    settings = world.state.settings
    assert (settings.preview_chars, settings.context_messages, settings.context_tokens) == (9, 20, 400)


def test_rules_of_the_manager_and_who_manages() -> None:
    world = World.loaded(rules=DynamicConfig(manager_agent_id=AgentId("m")))
    world.command("update_settings", "x", max_turns=3)
    change(world, rules=DynamicConfig(manager_agent_id=AgentId("n"), fallback_manager_ids=(AgentId("m"),)))
    world.run()
    rules = world.state.manager_config
    assert isinstance(rules, DynamicConfig)
    assert (rules.manager_ids, rules.max_turns) == (("n", "m"), 3)
    assert [one.agent_id for one in world.state.roster.managers] == ["n", "m"]


def test_one_on_standby_comes_to_speak_and_the_other_way_round() -> None:
    world = World.loaded(members=(ref(0), ref(1), ref(2)), standby=(Standby(agent_id=AgentId("a2")),))
    change(world, [0, 2, 1], standby=(Standby(agent_id=AgentId("a1"), stands_in_for=AgentId("a0")),))
    world.run()
    states = {one.agent_id: (one.state, one.reserved_for) for one in world.state.roster.members}
    assert states == {"a0": ("active", None), "a2": ("active", None), "a1": ("standby", "a0")}


def test_what_cannot_be_followed_is_said_in_the_status() -> None:
    world = World.loaded()
    world.command("add_member", "x", agent="a5")
    world.run()
    world.members = (ref(0), ref(5).model_copy(update={"agent_id": AgentId("other")}))
    change(world)
    world.run()
    assert here(world) == ["a0", "a5"]
    (refused,) = world.state.rejected
    assert refused.command == "group_changed"
    assert "already bears the name" in refused.reason


def test_a_conversation_goes_on_without_a_group_that_was_deleted() -> None:
    world = World.loaded()
    change(world, group_is_gone=True)
    world.post("p1")
    world.run()
    assert len(world.turns) == 3


def test_a_change_in_the_middle_of_a_turn_counts_from_the_next_one_on() -> None:
    world = World.loaded(rules=RoundRobinConfig(max_turns=3))
    world.post("p1")
    while world.state.round is None or world.state.round.chosen is None:
        world.half_step()
    change(world, [0, 2])
    world.run()
    assert world.speakers() == ["a0", "a2", "a0"]


@given(st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=6, unique=True), max_size=5))
def test_after_any_changes_the_roster_is_the_groups(changes: list[list[int]]) -> None:
    world = World.loaded()
    for number, members in enumerate(changes):
        change(world, members)
        if number % 2:
            world.post(f"p{number}")
            world.half_step()
    world.run()
    expected = changes[-1] if changes else [0, 1, 2]
    assert here(world) == [f"a{number}" for number in expected]


@given(st.lists(st.sampled_from(["post", "pause", "resume", "down", "up", "step"]), max_size=25))
def test_every_change_of_the_phase_is_told_once_and_in_order(happened: list[str]) -> None:
    """The world asserts it with every answer; here it is only driven."""
    down = {"now": False}
    world = World.loaded(down=lambda turn: ("a0", "a1", "a2") if down["now"] else ())
    for number, what in enumerate(happened):
        if what == "post":
            world.post(f"p{number}")
        elif what in ("pause", "resume"):
            with suppress(CommandRefused):
                world.command(what, f"c{number}")
        elif what in ("down", "up"):
            down["now"] = what == "down"
        else:
            world.half_step()
    down["now"] = False
    with suppress(CommandRefused):
        world.command("resume", "end")
    world.settle()
    told = world.phases[-1].phase if world.phases else "ready"
    assert told == "ready"


def test_one_on_standby_that_no_longer_exists_is_passed_over() -> None:
    world = World.loaded()
    change(world, [0, 1], standby=(Standby(agent_id=AgentId("gone")),))
    world.run()
    assert here(world) == ["a0", "a1"]
