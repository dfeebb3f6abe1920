"""Members join and leave; what each may read; the audit."""

import pytest

from tertulia.core.health import Health
from tertulia.core.ids import CommandId
from tertulia.core.roster_changes import (
    AnyRosterChange,
    ManagerHealthChanged,
    MemberAdded,
    MemberHealthChanged,
    MemberMuted,
    MemberReinstated,
    MemberRemoved,
    MemberReplaced,
    MembersReordered,
    apply_roster_change,
)
from tertulia.store.membership import apply_changes, read_changes, read_members
from tertulia.store.turns import read_turn_context
from tests.store.harness import StoreHarness, post, unique_id


def new_command_id() -> CommandId:
    return CommandId(unique_id("cmd"))


def addition(harness: StoreHarness, index: int, catch_up: str = "full") -> MemberAdded:
    return MemberAdded(command_id=new_command_id(), member=harness.ref(index), catch_up=catch_up)


def removal(harness: StoreHarness, index: int) -> MemberRemoved:
    return MemberRemoved(command_id=new_command_id(), member=harness.ref(index))


async def names_and_states(harness: StoreHarness) -> list[tuple[str, str]]:
    """Return every member's short name and state, in the order of the roster."""
    rows = await read_members(harness.database, harness.conversation_id)
    return [(row.name[:7], row.state) for row in rows]


@pytest.mark.parametrize(("catch_up", "expected"), [("full", 0), ("none", 5), ("last:2", 3), ("last:9", 0)])
async def test_joiner_visible_from_follows_catch_up(harness: StoreHarness, catch_up: str, expected: int) -> None:
    await harness.post(*(post(str(number)) for number in range(5)))
    await harness.change(addition(harness, 3, catch_up))
    joiner = await harness.member(3)
    assert (joiner.visible_from, joiner.cursor, joiner.state) == (expected, expected, "active")
    context = await read_turn_context(harness.database, harness.conversation_id, harness.agents[3].id)
    assert context is not None
    assert context.visible_from == expected
    assert (await harness.member(0)).visible_from == 0


async def test_returning_member_keeps_cursor(harness: StoreHarness) -> None:
    await harness.post(post("1"), post("2"))
    await harness.change(addition(harness, 3, "none"))
    await harness.commit_next_turn("3", speaker=3)
    await harness.change(removal(harness, 3))
    assert (await harness.member(3)).state == "removed"
    await harness.commit_next_turn("4", speaker=0)
    await harness.change(addition(harness, 3, "full"))
    back = await harness.member(3)
    assert (back.state, back.visible_from, back.cursor) == ("active", 2, 3)


async def test_members_are_in_roster_order(harness: StoreHarness) -> None:
    order = [harness.agents[index].id for index in (2, 0, 1)]
    await harness.change(
        MembersReordered(command_id=new_command_id(), order=tuple(order)),
        MemberReplaced(command_id=new_command_id(), member=harness.ref(0), replacement=harness.ref(4)),
        MemberMuted(command_id=new_command_id(), member=harness.ref(1)),
    )
    assert await names_and_states(harness) == [
        ("Agent 2", "active"),
        ("Agent 4", "active"),
        ("Agent 1", "muted"),
        ("Agent 0", "removed"),
    ]
    context = await read_turn_context(harness.database, harness.conversation_id, harness.agents[2].id)
    assert context is not None
    assert [member.name[:7] for member in context.group_context.members] == ["Agent 2", "Agent 4", "Agent 1"]


async def test_every_member_can_be_removed(harness: StoreHarness) -> None:
    await harness.change(*(removal(harness, index) for index in range(3)))
    assert {state for _, state in await names_and_states(harness)} == {"removed"}
    context = await read_turn_context(harness.database, harness.conversation_id, harness.agents[0].id)
    assert context is not None
    assert context.group_context.members == ()


async def test_apply_changes_is_idempotent(harness: StoreHarness) -> None:
    await harness.post(post("1"))
    changes: list[AnyRosterChange] = [addition(harness, 3, "none"), removal(harness, 0), addition(harness, 4, "last:1")]
    roster = harness.roster
    for change in changes:
        roster = apply_roster_change(roster, change, 0)
    seen = []
    for _ in range(2):
        await apply_changes(harness.database, harness.conversation_id, changes, 2, roster)
        audit = await read_changes(harness.database, harness.conversation_id)
        seen.append((await read_members(harness.database, harness.conversation_id), audit))
    assert seen[0] == seen[1]
    assert [change.epoch for change in seen[0][1]] == [2, 3, 4]


async def test_join_and_leave_in_one_batch(harness: StoreHarness) -> None:
    await harness.change(addition(harness, 3), removal(harness, 3))
    assert (await harness.member(3)).state == "removed"
    assert len(await read_changes(harness.database, harness.conversation_id)) == 2


async def test_audit_records_changes_with_position(harness: StoreHarness) -> None:
    await harness.post(post("1"))
    await harness.commit_next_turn("2")
    joining = addition(harness, 3, "last:1")
    await harness.change(joining, removal(harness, 1))
    await harness.commit_next_turn("3", speaker=3)
    await harness.change(MemberMuted(command_id=new_command_id(), member=harness.ref(3)))
    audit = await read_changes(harness.database, harness.conversation_id)
    assert [(one.epoch, one.kind, one.after_turn, one.after_seq) for one in audit] == [
        (2, "add", 1, 2),
        (3, "remove", 1, 2),
        (4, "mute", 2, 3),
    ]
    assert audit[0].command_id == joining.command_id
    assert audit[0].detail["member"] == joining.member.model_dump()
    assert audit[0].detail["catch_up"] == "last:1"
    later = await read_changes(harness.database, harness.conversation_id, after_epoch=2, limit=1)
    assert [one.epoch for one in later] == [3]


async def test_audit_includes_automatic_changes(harness: StoreHarness) -> None:
    isolation = Health(state="isolated", failures=2, isolations=1, reason="the model is down")
    await harness.change(
        MemberAdded(
            command_id=new_command_id(), member=harness.ref(3), state="standby", reserved_for=harness.ref(1).agent_id
        )
    )
    await harness.change(
        MemberHealthChanged(
            command_id=CommandId("auto:3"), member=harness.ref(1), health=isolation, stand_in=harness.ref(3)
        ),
        ManagerHealthChanged(command_id=CommandId("auto:4"), manager=harness.ref(4), health=isolation),
    )
    assert await names_and_states(harness) == [
        ("Agent 0", "active"),
        ("Agent 1", "isolated"),
        ("Agent 2", "active"),
        ("Agent 3", "active"),
    ]
    await harness.change(MemberReinstated(command_id=new_command_id(), member=harness.ref(1)))
    assert (await names_and_states(harness))[1::2] == [("Agent 1", "active"), ("Agent 3", "standby")]
    audit = await read_changes(harness.database, harness.conversation_id)
    assert [(one.epoch, one.kind) for one in audit] == [
        (2, "add"),
        (3, "health"),
        (4, "manager_health"),
        (5, "reinstate"),
    ]
    assert audit[1].detail["stand_in"] == harness.ref(3).model_dump()
    assert audit[1].detail["health"] == isolation.model_dump(mode="json")
