"""What must not change: over continue-as-new, over replay, and from the tenth turn to the last."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory

from tertulia.core.errors import TertuliaError
from tertulia.workflows.conversation import MAX_HISTORY_EVENTS
from tests.workflows.salon import Salon

TALK = {"manager_type": "round_robin", "max_turns": 100_000}


async def runs(salon: Salon, conversation: str) -> list[WorkflowHistory]:
    """The histories of the conversation's chain of runs, oldest first."""
    histories: list[WorkflowHistory] = []
    run_id: str | None = None
    while run_id != "":
        handle = salon.client.scope.temporal.get_workflow_handle(conversation, run_id=run_id)
        histories.insert(0, await handle.fetch_history())
        run_id = histories[0].events[0].workflow_execution_started_event_attributes.continued_execution_run_id
    return histories


async def test_nothing_is_lost_or_doubled_over_continue_as_new(salon: Salon) -> None:
    await salon.agents("Dora")
    group = await salon.group("Ana", "Ben", "Cleo", manager=TALK)
    await salon.model.behave(delay_ms=5)
    conversation = (await salon.client.conversations.create(group, "One.", continue_as_new_after_turns=4)).id
    posts = [f"post {number}" for number in range(40)]
    for number, post in enumerate(posts):
        await salon.client.conversations.handle(conversation).post(post, message_id=post)
        if number % 10 == 5:
            await salon.client.conversations.handle(conversation).post(post, message_id=post)
        if number % 8 == 3:
            await salon.client.conversations.handle(conversation).members.add(salon.name("Dora"))
        if number % 8 == 7:
            await salon.client.conversations.handle(conversation).members.remove(salon.name("Dora"))
        await asyncio.sleep(0.02)
    await salon.until(conversation, lambda status: status.turn >= 20)
    await salon.client.conversations.handle(conversation).stop()
    await salon.until(conversation, lambda status: status.phase == "closed")
    texts = [message.text for message in await salon.transcript(conversation)]
    assert [text for text in texts if text.startswith("post ")] == posts
    changes = await salon.client.conversations.handle(conversation).members.changes()
    assert [change.kind for change in changes] == ["add", "remove"] * 5
    turns = await salon.turns(conversation)
    assert sum(turn.outcome == "spoke" for turn in turns) + len(posts) + 1 == len(texts)
    assert len(await runs(salon, conversation)) > 3
    spoken = Counter(turn.speaker for turn in turns)
    counts = [spoken[salon.name(short)] for short in ("Ana", "Ben", "Cleo")]
    assert max(counts) - min(counts) <= 1


async def test_a_repeated_id_is_known_after_continue_as_new(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben")
    conversation = (await salon.client.conversations.create(group, "One.", continue_as_new_after_turns=1)).id
    await salon.until_idle(conversation)
    first = await salon.client.conversations.handle(conversation).post("Two.", message_id="two")
    await salon.until_idle(conversation, rounds=2)
    assert await salon.client.conversations.handle(conversation).post("Two.", message_id="two") == first
    muted = await salon.client.conversations.handle(conversation).members.mute(salon.name("Ana"), command_id="mute")
    await salon.client.conversations.handle(conversation).post("Three.")
    await salon.until_idle(conversation, rounds=3)
    assert (
        await salon.client.conversations.handle(conversation).members.mute(salon.name("Ana"), command_id="mute")
        == muted
    )
    texts = [message.text for message in await salon.transcript(conversation)]
    assert texts.count("Two.") == 1


async def test_a_signal_or_update_at_any_moment_of_a_short_run_arrives(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben", manager=TALK)
    conversation = (await salon.client.conversations.create(group, "One.", continue_as_new_after_turns=1)).id
    handle = salon.client.scope.workflow_handle(conversation)

    async def post(number: int) -> None:
        await asyncio.sleep(number * 0.011)
        if number % 2:
            await handle.signal("post_message", {"text": f"post {number}"})
        else:
            await salon.client.conversations.handle(conversation).post(f"post {number}")

    outcomes = await asyncio.gather(*(post(number) for number in range(60)), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes if outcome is not None] == []
    await salon.client.conversations.handle(conversation).stop()
    await salon.until(conversation, lambda status: status.phase == "closed")
    texts = [message.text for message in await salon.transcript(conversation)]
    assert sorted(text for text in texts if text.startswith("post ")) == sorted(f"post {n}" for n in range(60))


async def test_a_worker_that_replays_every_step_comes_to_the_same(replaying_salon: Salon) -> None:
    salon = replaying_salon
    await salon.agents("Host", "Dora")
    manager = {"manager_type": "dynamic", "manager_agent_id": salon.name("Host"), "max_turns": 5}
    group = await salon.group("Ana", "Ben", "Cleo", manager=manager)
    conversation = (await salon.client.conversations.create(group, "One.", continue_as_new_after_turns=3)).id
    await salon.until_idle(conversation)
    await salon.client.conversations.handle(conversation).members.add(salon.name("Dora"))
    await salon.client.conversations.handle(conversation).pause()
    await salon.client.conversations.handle(conversation).resume()
    await salon.client.conversations.handle(conversation).update_settings({"max_turns": 4})
    with pytest.raises(TertuliaError):
        await salon.client.conversations.handle(conversation).members.remove("nobody")
    await salon.client.conversations.handle(conversation).post("Two.")
    await salon.until_idle(conversation, rounds=2)
    await salon.client.conversations.handle(conversation).stop()
    await salon.until(conversation, lambda status: status.phase == "closed")
    assert len(await salon.turns(conversation)) == 9


def _turn_costs(history: WorkflowHistory) -> list[tuple[int, int]]:
    """Events and bytes of the history between the beginnings of one turn and the next."""
    costs, events, size = [], 0, 0
    for event in history.events:
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            costs.append((events, size))
            events = size = 0
        events += 1
        size += event.ByteSize()
    return costs[3:]


async def test_a_turn_adds_the_same_events_and_bytes_to_the_history_early_and_late(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben", "Cleo", "Dora", manager=TALK, context_messages=20)
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until(conversation, lambda status: status.turn >= 150, seconds=60)
    await salon.client.conversations.handle(conversation).pause()
    costs = _turn_costs((await runs(salon, conversation))[0])
    assert {events for events, _ in costs[:140]} == {6}
    early = sum(size for _, size in costs[5:45]) / 40
    late = sum(size for _, size in costs[100:140]) / 40
    assert late / early < 1.1
    assert late < 3_000


async def test_the_state_handed_to_the_next_run_does_not_grow(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben", manager=TALK)
    conversation = (await salon.client.conversations.create(group, "One.", continue_as_new_after_turns=30)).id
    await salon.until(conversation, lambda status: status.turn >= 130, seconds=60)
    await salon.client.conversations.handle(conversation).stop()
    await salon.until(conversation, lambda status: status.phase == "closed")
    histories = await runs(salon, conversation)
    sizes = [history.events[0].ByteSize() for history in histories]
    assert len(sizes) >= 4
    assert sizes[-1] < sizes[1] * 1.1


async def test_no_runs_history_is_longer_than_a_worker_replays_in_a_moment(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben", "Cleo", manager={"manager_type": "round_robin", "max_turns": 130})
    conversation = (await salon.client.conversations.create(group, "One.", close_after_round=True)).id
    await salon.until(conversation, lambda status: status.phase == "closed", seconds=60)
    lengths = [len(history.events) for history in await runs(salon, conversation)]
    assert len(lengths) == 2
    assert MAX_HISTORY_EVENTS <= lengths[0] < MAX_HISTORY_EVENTS + 30
    assert len(await salon.turns(conversation)) == 130


async def test_no_text_enters_the_history_when_the_preview_is_off(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben", preview_chars=0)
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until_idle(conversation)
    spoken = [message.text for message in await salon.transcript(conversation) if message.turn]
    history = b"".join(event.SerializeToString() for event in (await runs(salon, conversation))[0].events)
    assert spoken
    assert not [text for text in spoken if text[:20].encode() in history]


async def test_an_idle_conversation_sets_no_timer(salon: Salon) -> None:
    group = await salon.group("Ana")
    conversation = (await salon.client.conversations.create(group, "One.")).id
    await salon.until_idle(conversation)
    before = (await runs(salon, conversation))[0].events
    await asyncio.sleep(1.5)
    after = (await runs(salon, conversation))[0].events
    assert len(after) == len(before)
    assert EventType.EVENT_TYPE_TIMER_STARTED not in {event.event_type for event in after}


async def test_conversations_are_found_by_their_search_attributes(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben")
    conversation = (await salon.client.conversations.create(group, "One.")).id
    status = await salon.until_idle(conversation)
    query = (
        f"GroupId = '{status.group_id}' AND ConversationPhase = 'ready' AND Members = '{salon.name('Ana')}'"
        " AND StopReason = 'max_turns'"
    )
    found: list[Any] = []
    for _ in range(100):
        if found := [execution.id async for execution in salon.client.scope.temporal.list_workflows(query)]:
            break
        await asyncio.sleep(0.05)
    assert found == [conversation]


async def test_a_reader_of_the_temporal_ui_sees_who_spoke_why_and_what(salon: Salon) -> None:
    group = await salon.group("Ana", "Ben")
    conversation = (await salon.client.conversations.create(group, "Shall we?")).id
    await salon.until_idle(conversation)
    history = (await runs(salon, conversation))[0]
    converter = salon.client.scope.temporal.data_converter.payload_converter
    summaries = [
        converter.from_payload(event.user_metadata.summary)
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]
    name = salon.name("Ben")
    assert f"turn 2 · {name} · next in rotation after {salon.name('Ana')}" in summaries
    said = (await salon.transcript(conversation))[2].text
    results = [
        event.activity_task_completed_event_attributes.result.payloads[0].data.decode()
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
    ]
    assert any(result.startswith('{"said":"' + said[:30]) for result in results)
    details = await salon.client.scope.workflow_handle(conversation).query("__temporal_workflow_metadata")
    assert name in str(details)
    assert f"**{name}**" in str(details)
