"""A conversation's row is opened once and closed once."""

import pytest

from tertulia.core.errors import NotFound
from tertulia.core.ids import DEFAULT_ORGANISATION, CommandId
from tertulia.core.paging import Page
from tertulia.core.phases import PhaseChange
from tertulia.core.roster_changes import MemberRemoved
from tertulia.store.conversations import (
    ConversationOpening,
    close_conversation,
    find_conversation,
    list_conversations,
    open_conversation,
)
from tertulia.store.membership import read_members
from tertulia.store.selections import SelectionRecord, commit_selection, find_selection
from tests.store.harness import StoreHarness, open_store_harness, post, unique_id

CLOSED = PhaseChange(number=1, phase="closed", round=0, reason="operator_stop")


async def test_open_conversation_twice_changes_nothing(harness: StoreHarness) -> None:
    await harness.post(post("hello"))
    await harness.commit_next_turn("hi")
    before = await read_members(harness.database, harness.conversation_id)
    again = ConversationOpening(group_id=harness.group.id, members=tuple(harness.ref(index) for index in range(3)))
    assert await open_conversation(harness.database, harness.conversation_id, again)
    assert await read_members(harness.database, harness.conversation_id) == before
    row = await find_conversation(harness.database, harness.conversation_id)
    assert (row.last_seq, row.last_turn, row.group, row.stop_reason) == (2, 1, harness.group.name, None)


async def test_open_conversation_keeps_member_order(harness: StoreHarness) -> None:
    rows = await read_members(harness.database, harness.conversation_id)
    assert [row.agent_id for row in rows] == list(harness.group.agent_ids)
    assert {(row.state, row.cursor, row.visible_from) for row in rows} == {("active", 0, 0)}


async def test_close_conversation_advances_cursors(harness: StoreHarness) -> None:
    await harness.post(post("hello"))
    await harness.commit_next_turn("hi")
    await harness.change(MemberRemoved(command_id=CommandId(unique_id("cmd")), member=harness.ref(2)))
    await harness.commit_next_turn("bye", speaker=1)
    closed = await close_conversation(harness.database, harness.conversation_id, CLOSED, {"phase": "closed"})
    assert closed == 3
    assert [(await harness.member(index)).cursor for index in range(3)] == [3, 3, 0]
    row = await find_conversation(harness.database, harness.conversation_id)
    assert (row.stop_reason, row.final_status) == ("operator_stop", {"phase": "closed"})
    assert row.closed_at is not None


async def test_close_conversation_keeps_first_time(harness: StoreHarness) -> None:
    await close_conversation(harness.database, harness.conversation_id, CLOSED, {})
    first = await find_conversation(harness.database, harness.conversation_id)
    assert await close_conversation(harness.database, harness.conversation_id, CLOSED, {}) == 0
    assert await find_conversation(harness.database, harness.conversation_id) == first


async def test_list_conversations_newest_first(harness: StoreHarness) -> None:
    newer = await open_store_harness(harness.database)
    listed = [
        row.conversation_id
        for row in await list_conversations(harness.database, DEFAULT_ORGANISATION, Page(limit=2, order="desc"))
    ]
    assert listed == [newer.conversation_id, harness.conversation_id]


async def test_find_conversation_unknown_is_not_found(harness: StoreHarness) -> None:
    with pytest.raises(NotFound, match="no such conversation: 'nowhere'"):
        await find_conversation(harness.database, "nowhere")


async def test_commit_selection_keeps_first_choice(harness: StoreHarness) -> None:
    first = SelectionRecord(
        outcome="chosen", agent_id=harness.agents[0].id, reason="it fits", attempts=2, model_calls=2
    )
    second = SelectionRecord(outcome="finished", reason="enough", attempts=1)
    failed = SelectionRecord(outcome="failed", reason="down", error="down", fallback=1, attempts=5, model_calls=5)
    database, key = harness.database, harness.selection(round=1, turn=1)
    others = [
        harness.selection(round=2, turn=1),
        harness.selection(round=1, turn=2),
        harness.selection(1, 1, manager=4),
    ]
    assert await find_selection(database, key) is None
    assert await commit_selection(database, key, first) == first
    assert await commit_selection(database, key, second) == first
    for other in others:
        assert await find_selection(database, other) is None
        assert await commit_selection(database, other, failed) == failed
        assert await find_selection(database, other) == failed
    assert await find_selection(database, key) == first
