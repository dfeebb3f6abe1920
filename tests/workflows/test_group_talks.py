"""A message to a group goes to its one conversation, is said once, and is answered with what the round came to."""

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
from tests.workflows.salon import Salon


@pytest.fixture
async def listener(salon: Salon) -> AsyncIterator[Listener]:
    async with Listener(salon.client.scope.database) as listener:
        yield listener


async def group_id(salon: Salon, *members: str) -> GroupId:
    return (await find_group(salon.client.scope.database, DEFAULT_ORGANISATION, await salon.group(*members))).id


async def say(salon: Salon, listener: Listener, group: GroupId, *texts: str, key: str | None = None) -> GroupAnswer:
    posts = [PostMessage(text=text) for text in texts]
    accepted = await post_to_group(salon.client.scope, group, posts, idempotency_key=key)
    return await wait_for_answer(salon.client.scope, listener, accepted)


async def test_the_answer_is_what_the_round_came_to_and_the_next_message_continues_the_conversation(
    salon: Salon, listener: Listener
) -> None:
    group = await group_id(salon, "Ana", "Ben")
    first = await say(salon, listener, group, "Hello.")
    assert [message.sender.partition("-")[0] for message in first.messages] == ["Ana", "Ben"]
    assert (first.turns, first.stop_reason, first.usage.model_calls) == (2, "max_turns", 2)
    second = await say(salon, listener, group, "And then?")
    assert second.conversation_id == first.conversation_id
    assert [message.seq for message in second.messages] == [5, 6]


async def test_the_same_key_is_said_once_and_answered_each_time(salon: Salon, listener: Listener) -> None:
    group = await group_id(salon, "Ana", "Ben")
    answers = await asyncio.gather(*(say(salon, listener, group, "Hello.", key="once") for _ in range(4)))
    assert all(answer == answers[0] for answer in answers)
    assert len(await salon.transcript(answers[0].conversation_id)) == 3
    assert await say(salon, listener, group, "Hello.", key="once") == answers[0]


async def test_several_messages_at_once_are_said_in_order(salon: Salon, listener: Listener) -> None:
    group = await group_id(salon, "Ana")
    answer = await say(salon, listener, group, "One.", "Two.")
    said = [message.text for message in await salon.transcript(answer.conversation_id) if message.role == "user"]
    assert said == ["One.", "Two."]


async def test_a_conversation_that_has_closed_is_followed_by_a_new_one(salon: Salon, listener: Listener) -> None:
    group = await group_id(salon, "Ana")
    first = await say(salon, listener, group, "Hello.")
    await salon.client.conversations.handle(first.conversation_id).stop()
    await salon.until(first.conversation_id, lambda status: status.phase == "closed")
    second = await say(salon, listener, group, "Hello again.")
    assert second.conversation_id != first.conversation_id
    await reset_group(salon.client.scope, group)
    third = await say(salon, listener, group, "And again.")
    assert third.conversation_id != second.conversation_id
    await salon.until(second.conversation_id, lambda status: status.phase == "closed")


async def test_one_who_talks_to_a_group_that_rests_is_told_so(salon: Salon, listener: Listener) -> None:
    group = await group_id(salon, "Ana")
    first = await say(salon, listener, group, "Hello.")
    await salon.client.conversations.handle(first.conversation_id).pause()
    await salon.until(first.conversation_id, lambda status: status.phase == "paused")
    held = await asyncio.wait_for(say(salon, listener, group, "Anybody?", key="later"), 20)
    assert (held.messages, held.stop_reason, held.turns) == ((), "paused", 0)
    await salon.client.conversations.handle(first.conversation_id).resume()
    await salon.until_idle(first.conversation_id, rounds=2)
    answer = await say(salon, listener, group, "Anybody?", key="later")
    assert [message.role for message in answer.messages] == ["assistant"]


async def test_an_empty_group_cannot_be_talked_to(salon: Salon, listener: Listener) -> None:
    group = await group_id(salon)
    with pytest.raises(CommandRefused, match="Empty group"):
        await say(salon, listener, group, "Hello.")


async def test_a_fork_shares_the_beginning_and_goes_its_own_way(salon: Salon, listener: Listener) -> None:
    group = await group_id(salon, "Ana", "Ben")
    first = await say(salon, listener, group, "Hello.")
    await say(salon, listener, group, "And then?")
    (dora,) = await salon.agents("Dora")
    joining = (await find_agent(salon.client.scope.database, DEFAULT_ORGANISATION, dora)).id
    conversations = ConversationService(salon.client.scope)
    wanted = NewFork(turn=2, agent_ids=(joining,), model="offline-other", message="What does Dora say?")
    row = await conversations.fork(first.conversation_id, wanted)
    assert (row.forked_from, row.forked_turn) == (first.conversation_id, 2)
    status = await salon.until(row.conversation_id, lambda status: status.turn == 3 and status.phase == "ready")
    said = await salon.transcript(row.conversation_id)
    before = await salon.transcript(first.conversation_id)
    assert [message.text for message in said[:3]] == [message.text for message in before[:3]]
    assert [message.sender.partition("-")[0] for message in said[3:]] == ["User", "Dora"]
    taken = await salon.turns(row.conversation_id)
    assert taken[-1].model == "offline-other"
    assert status.usage.model_calls == sum(turn.model_calls for turn in taken)
    with pytest.raises(NotFound):
        await conversations.fork(first.conversation_id, NewFork(agent_ids=(joining, "nobody")))


async def test_a_fork_of_everything_waits_for_a_message_with_the_same_people(salon: Salon, listener: Listener) -> None:
    group = await group_id(salon, "Ana", "Ben")
    first = await say(salon, listener, group, "Hello.", key="same")
    conversations = ConversationService(salon.client.scope)
    row = await conversations.fork(first.conversation_id, NewFork())
    await salon.until(row.conversation_id, lambda status: status.phase == "ready" and status.turn == 2)
    await salon.client.conversations.handle(row.conversation_id).post("Once more.", message_id="same")
    await salon.until_idle(row.conversation_id, rounds=2)
    assert await salon.speakers(row.conversation_id) == ["Ana", "Ben", "Ana", "Ben"]
