"""Who comes and goes, what each may read, and the audit of it."""

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
from tertulia.store.turns import read_table
from tests.store.salon import Salon, post, unique


def command() -> CommandId:
    return CommandId(unique("cmd"))


def joins(salon: Salon, index: int, catch_up: str = "full") -> MemberAdded:
    return MemberAdded(command_id=command(), member=salon.ref(index), catch_up=catch_up)


def leaves(salon: Salon, index: int) -> MemberRemoved:
    return MemberRemoved(command_id=command(), member=salon.ref(index))


async def names(salon: Salon) -> list[tuple[str, str]]:
    """Everyone's short name and state, in the order of the roster."""
    rows = await read_members(salon.database, salon.conversation_id)
    return [(row.name[:7], row.state) for row in rows]


@pytest.mark.parametrize(("catch_up", "expected"), [("full", 0), ("none", 5), ("last:2", 3), ("last:9", 0)])
async def test_a_joiner_may_read_what_its_catch_up_says(salon: Salon, catch_up: str, expected: int) -> None:
    await salon.post(*(post(str(number)) for number in range(5)))
    await salon.change(joins(salon, 3, catch_up))
    joiner = await salon.member(3)
    assert (joiner.visible_from, joiner.cursor, joiner.state) == (expected, expected, "active")
    table = await read_table(salon.database, salon.conversation_id, salon.agents[3].id)
    assert table is not None
    assert table.visible_from == expected
    assert (await salon.member(0)).visible_from == 0


async def test_one_who_comes_back_keeps_its_cursor_and_what_it_may_read(salon: Salon) -> None:
    await salon.post(post("1"), post("2"))
    await salon.change(joins(salon, 3, "none"))
    await salon.say("3", speaker=3)
    await salon.change(leaves(salon, 3))
    assert (await salon.member(3)).state == "removed"
    await salon.say("4", speaker=0)
    await salon.change(joins(salon, 3, "full"))
    back = await salon.member(3)
    assert (back.state, back.visible_from, back.cursor) == ("active", 2, 3)


async def test_the_members_stand_in_the_rosters_order_those_who_left_last(salon: Salon) -> None:
    order = [salon.agents[index].id for index in (2, 0, 1)]
    await salon.change(
        MembersReordered(command_id=command(), order=tuple(order)),
        MemberReplaced(command_id=command(), member=salon.ref(0), replacement=salon.ref(4)),
        MemberMuted(command_id=command(), member=salon.ref(1)),
    )
    assert await names(salon) == [
        ("Agent 2", "active"),
        ("Agent 4", "active"),
        ("Agent 1", "muted"),
        ("Agent 0", "removed"),
    ]
    table = await read_table(salon.database, salon.conversation_id, salon.agents[2].id)
    assert table is not None
    assert [name[:7] for name, _ in table.company.members] == ["Agent 2", "Agent 4", "Agent 1"]


async def test_everybody_can_leave(salon: Salon) -> None:
    await salon.change(*(leaves(salon, index) for index in range(3)))
    assert {state for _, state in await names(salon)} == {"removed"}
    table = await read_table(salon.database, salon.conversation_id, salon.agents[0].id)
    assert table is not None
    assert table.company.members == ()


async def test_the_same_changes_again_change_nothing(salon: Salon) -> None:
    await salon.post(post("1"))
    changes: list[AnyRosterChange] = [joins(salon, 3, "none"), leaves(salon, 0), joins(salon, 4, "last:1")]
    roster = salon.roster
    for change in changes:
        roster = apply_roster_change(roster, change, 0)
    seen = []
    for _ in range(2):
        await apply_changes(salon.database, salon.conversation_id, changes, 2, roster)
        audit = await read_changes(salon.database, salon.conversation_id)
        seen.append((await read_members(salon.database, salon.conversation_id), audit))
    assert seen[0] == seen[1]
    assert [change.epoch for change in seen[0][1]] == [2, 3, 4]


async def test_one_who_joins_and_leaves_at_one_boundary_is_not_there(salon: Salon) -> None:
    await salon.change(joins(salon, 3), leaves(salon, 3))
    assert (await salon.member(3)).state == "removed"
    assert len(await read_changes(salon.database, salon.conversation_id)) == 2


async def test_the_audit_tells_what_changed_and_when(salon: Salon) -> None:
    await salon.post(post("1"))
    await salon.say("2")
    joining = joins(salon, 3, "last:1")
    await salon.change(joining, leaves(salon, 1))
    await salon.say("3", speaker=3)
    await salon.change(MemberMuted(command_id=command(), member=salon.ref(3)))
    audit = await read_changes(salon.database, salon.conversation_id)
    assert [(one.epoch, one.kind, one.after_turn, one.after_seq) for one in audit] == [
        (2, "add", 1, 2),
        (3, "remove", 1, 2),
        (4, "mute", 2, 3),
    ]
    assert audit[0].command_id == joining.command_id
    assert audit[0].detail["member"] == joining.member.model_dump()
    assert audit[0].detail["catch_up"] == "last:1"
    later = await read_changes(salon.database, salon.conversation_id, after_epoch=2, limit=1)
    assert [one.epoch for one in later] == [3]


async def test_automatic_changes_are_in_the_audit_and_the_members_rows_tell_what_came_of_them(salon: Salon) -> None:
    isolation = Health(state="isolated", failures=2, isolations=1, reason="the model is down")
    await salon.change(
        MemberAdded(command_id=command(), member=salon.ref(3), state="standby", reserved_for=salon.ref(1).agent_id)
    )
    await salon.change(
        MemberHealthChanged(
            command_id=CommandId("auto:3"), member=salon.ref(1), health=isolation, stand_in=salon.ref(3)
        ),
        ManagerHealthChanged(command_id=CommandId("auto:4"), manager=salon.ref(4), health=isolation),
    )
    assert await names(salon) == [
        ("Agent 0", "active"),
        ("Agent 1", "isolated"),
        ("Agent 2", "active"),
        ("Agent 3", "active"),
    ]
    await salon.change(MemberReinstated(command_id=command(), member=salon.ref(1)))
    assert (await names(salon))[1::2] == [("Agent 1", "active"), ("Agent 3", "standby")]
    audit = await read_changes(salon.database, salon.conversation_id)
    assert [(one.epoch, one.kind) for one in audit] == [
        (2, "add"),
        (3, "health"),
        (4, "manager_health"),
        (5, "reinstate"),
    ]
    assert audit[1].detail["stand_in"] == salon.ref(3).model_dump()
    assert audit[1].detail["health"] == isolation.model_dump(mode="json")
