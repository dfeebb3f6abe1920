"""A conversation's row: opened once, closed once."""

import pytest

from tertulia.core.errors import NotFound
from tertulia.core.ids import DEFAULT_ORGANISATION, CommandId
from tertulia.core.paging import Page
from tertulia.core.phases import PhaseChange
from tertulia.core.roster_changes import MemberRemoved
from tertulia.store.conversations import (
    Opening,
    close_conversation,
    find_conversation,
    list_conversations,
    open_conversation,
)
from tertulia.store.membership import read_members
from tertulia.store.selections import SelectionRecord, commit_selection, find_selection
from tests.store.salon import Salon, opened, post, unique

CLOSED = PhaseChange(number=1, phase="closed", round=0, reason="operator_stop")


async def test_opening_again_changes_nothing(salon: Salon) -> None:
    await salon.post(post("hello"))
    await salon.say("hi")
    before = await read_members(salon.database, salon.conversation_id)
    again = Opening(group_id=salon.group.id, members=tuple(salon.ref(index) for index in range(3)))
    assert await open_conversation(salon.database, salon.conversation_id, again)
    assert await read_members(salon.database, salon.conversation_id) == before
    row = await find_conversation(salon.database, salon.conversation_id)
    assert (row.last_seq, row.last_turn, row.group, row.stop_reason) == (2, 1, salon.group.name, None)


async def test_members_begin_in_the_groups_order_with_nothing_read(salon: Salon) -> None:
    rows = await read_members(salon.database, salon.conversation_id)
    assert [row.agent_id for row in rows] == list(salon.group.agent_ids)
    assert {(row.state, row.cursor, row.visible_from) for row in rows} == {("active", 0, 0)}


async def test_closing_lets_every_members_cursor_catch_up_but_not_of_those_who_left(salon: Salon) -> None:
    await salon.post(post("hello"))
    await salon.say("hi")
    await salon.change(MemberRemoved(command_id=CommandId(unique("cmd")), member=salon.ref(2)))
    await salon.say("bye", speaker=1)
    closed = await close_conversation(salon.database, salon.conversation_id, CLOSED, {"phase": "closed"})
    assert closed == 3
    assert [(await salon.member(index)).cursor for index in range(3)] == [3, 3, 0]
    row = await find_conversation(salon.database, salon.conversation_id)
    assert (row.stop_reason, row.final_status) == ("operator_stop", {"phase": "closed"})
    assert row.closed_at is not None


async def test_closing_again_keeps_the_moment_of_the_first_time(salon: Salon) -> None:
    await close_conversation(salon.database, salon.conversation_id, CLOSED, {})
    first = await find_conversation(salon.database, salon.conversation_id)
    assert await close_conversation(salon.database, salon.conversation_id, CLOSED, {}) == 0
    assert await find_conversation(salon.database, salon.conversation_id) == first


async def test_the_newest_conversations_are_listed_first(salon: Salon) -> None:
    newer = await opened(salon.database)
    listed = [
        row.conversation_id
        for row in await list_conversations(salon.database, DEFAULT_ORGANISATION, Page(limit=2, order="desc"))
    ]
    assert listed == [newer.conversation_id, salon.conversation_id]


async def test_a_conversation_that_there_is_not_is_said_so(salon: Salon) -> None:
    with pytest.raises(NotFound, match="no such conversation: 'nowhere'"):
        await find_conversation(salon.database, "nowhere")


async def test_a_choice_is_kept_once_for_each_turn_of_a_round_and_each_manager(salon: Salon) -> None:
    first = SelectionRecord(outcome="chosen", agent_id=salon.agents[0].id, reason="it fits", attempts=2, model_calls=2)
    second = SelectionRecord(outcome="finished", reason="enough", attempts=1)
    failed = SelectionRecord(outcome="failed", reason="down", error="down", fallback=1, attempts=5, model_calls=5)
    database, key = salon.database, salon.selection(round=1, turn=1)
    others = [salon.selection(round=2, turn=1), salon.selection(round=1, turn=2), salon.selection(1, 1, manager=4)]
    assert await find_selection(database, key) is None
    assert await commit_selection(database, key, first) == first
    assert await commit_selection(database, key, second) == first
    for other in others:
        assert await find_selection(database, other) is None
        assert await commit_selection(database, other, failed) == failed
        assert await find_selection(database, other) == failed
    assert await find_selection(database, key) == first
