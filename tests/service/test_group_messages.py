"""A message to a group is posted once to its default conversation and returns the results of the round."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tertulia.core.commands import PostMessage
from tertulia.core.conversations import NewFork
from tertulia.core.errors import CommandRefused, NotFound
from tertulia.core.ids import DEFAULT_ORGANISATION, GroupId
from tertulia.core.records import GroupAnswer
from tertulia.service.conversations import ConversationService
from tertulia.service.group_messages import post_to_group, reset_group, wait_for_answer
from tertulia.store.agents import find_agent
from tertulia.store.groups import find_group
from tertulia.store.notifications import Listener
from tertulia.testing import WorkflowHarness


@pytest.fixture
async def listener(harness: WorkflowHarness) -> AsyncIterator[Listener]:
    async with Listener(harness.client.scope.database) as listener:
        yield listener


async def group_id(harness: WorkflowHarness, *members: str) -> GroupId:
    return (await find_group(harness.client.scope.database, DEFAULT_ORGANISATION, await harness.group(*members))).id


async def send_and_wait(
    harness: WorkflowHarness, listener: Listener, group: GroupId, *texts: str, key: str | None = None
) -> GroupAnswer:
    posts = [PostMessage(text=text) for text in texts]
    accepted = await post_to_group(harness.client.scope, group, posts, idempotency_key=key)
    return await wait_for_answer(harness.client.scope, listener, accepted)


async def test_group_message_returns_round_results(harness: WorkflowHarness, listener: Listener) -> None:
    group = await group_id(harness, "Ana", "Ben")
    first = await send_and_wait(harness, listener, group, "Hello.")
    assert [message.sender.partition("-")[0] for message in first.messages] == ["Ana", "Ben"]
    assert (first.turns, first.stop_reason, first.usage.model_calls) == (2, "max_turns", 2)
    second = await send_and_wait(harness, listener, group, "And then?")
    assert second.conversation_id == first.conversation_id
    assert [message.seq for message in second.messages] == [5, 6]


async def test_group_message_key_is_idempotent(harness: WorkflowHarness, listener: Listener) -> None:
    group = await group_id(harness, "Ana", "Ben")
    answers = await asyncio.gather(*(send_and_wait(harness, listener, group, "Hello.", key="once") for _ in range(4)))
    assert all(answer == answers[0] for answer in answers)
    assert len(await harness.transcript(answers[0].conversation_id)) == 3
    assert await send_and_wait(harness, listener, group, "Hello.", key="once") == answers[0]


async def test_group_messages_are_posted_in_order(harness: WorkflowHarness, listener: Listener) -> None:
    group = await group_id(harness, "Ana")
    answer = await send_and_wait(harness, listener, group, "One.", "Two.")
    texts = [message.text for message in await harness.transcript(answer.conversation_id) if message.role == "user"]
    assert texts == ["One.", "Two."]


async def test_closed_conversation_is_replaced(harness: WorkflowHarness, listener: Listener) -> None:
    group = await group_id(harness, "Ana")
    first = await send_and_wait(harness, listener, group, "Hello.")
    await harness.handle(first.conversation_id).stop()
    await harness.wait_until(first.conversation_id, lambda status: status.phase == "closed")
    second = await send_and_wait(harness, listener, group, "Hello again.")
    assert second.conversation_id != first.conversation_id
    await reset_group(harness.client.scope, group)
    third = await send_and_wait(harness, listener, group, "And again.")
    assert third.conversation_id != second.conversation_id
    await harness.wait_until(second.conversation_id, lambda status: status.phase == "closed")


async def test_paused_group_returns_paused(harness: WorkflowHarness, listener: Listener) -> None:
    group = await group_id(harness, "Ana")
    first = await send_and_wait(harness, listener, group, "Hello.")
    await harness.handle(first.conversation_id).pause()
    await harness.wait_until(first.conversation_id, lambda status: status.phase == "paused")
    paused = await asyncio.wait_for(send_and_wait(harness, listener, group, "Anybody?", key="later"), 20)
    assert (paused.messages, paused.stop_reason, paused.turns) == ((), "paused", 0)
    await harness.handle(first.conversation_id).resume()
    await harness.wait_until_idle(first.conversation_id, rounds=2)
    answer = await send_and_wait(harness, listener, group, "Anybody?", key="later")
    assert [message.role for message in answer.messages] == ["assistant"]


async def test_empty_group_is_refused(harness: WorkflowHarness, listener: Listener) -> None:
    group = await group_id(harness)
    with pytest.raises(CommandRefused, match="Empty group"):
        await send_and_wait(harness, listener, group, "Hello.")


async def test_fork_shares_messages_up_to_turn(harness: WorkflowHarness, listener: Listener) -> None:
    group = await group_id(harness, "Ana", "Ben")
    first = await send_and_wait(harness, listener, group, "Hello.")
    await send_and_wait(harness, listener, group, "And then?")
    (dora,) = await harness.agents("Dora")
    new_member_id = (await find_agent(harness.client.scope.database, DEFAULT_ORGANISATION, dora)).id
    conversations = ConversationService(harness.client.scope)
    new_fork = NewFork(turn=2, agent_ids=(new_member_id,), model="offline-other", message="What does Dora say?")
    row = await conversations.fork(first.conversation_id, new_fork)
    assert (row.forked_from, row.forked_turn) == (first.conversation_id, 2)
    status = await harness.wait_until(row.conversation_id, lambda status: status.turn == 3 and status.phase == "ready")
    messages = await harness.transcript(row.conversation_id)
    before = await harness.transcript(first.conversation_id)
    assert [message.text for message in messages[:3]] == [message.text for message in before[:3]]
    assert [message.sender.partition("-")[0] for message in messages[3:]] == ["User", "Dora"]
    turns = await harness.turns(row.conversation_id)
    assert turns[-1].model == "offline-other"
    assert status.usage.model_calls == sum(turn.model_calls for turn in turns)
    with pytest.raises(NotFound):
        await conversations.fork(first.conversation_id, NewFork(agent_ids=(new_member_id, "nobody")))


async def test_fork_of_all_waits_for_message(harness: WorkflowHarness, listener: Listener) -> None:
    group = await group_id(harness, "Ana", "Ben")
    first = await send_and_wait(harness, listener, group, "Hello.", key="same")
    conversations = ConversationService(harness.client.scope)
    row = await conversations.fork(first.conversation_id, NewFork())
    await harness.wait_until(row.conversation_id, lambda status: status.phase == "ready" and status.turn == 2)
    await harness.handle(row.conversation_id).post("Once more.", message_id="same")
    await harness.wait_until_idle(row.conversation_id, rounds=2)
    assert await harness.speakers(row.conversation_id) == ["Ana", "Ben", "Ana", "Ben"]
