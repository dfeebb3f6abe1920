"""Invariants over continue-as-new, replay and the length of a conversation."""

import asyncio
from collections import Counter

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory

from tertulia.core.errors import TertuliaError
from tertulia.testing import WorkflowHarness, eventually
from tertulia.workflows.conversation import MAX_HISTORY_EVENTS

ENDLESS_ROUND = {"manager_type": "round_robin", "max_turns": 100_000}


async def run_histories(harness: WorkflowHarness, conversation: str) -> list[WorkflowHistory]:
    """Return the histories of all runs of the conversation, oldest first."""
    histories: list[WorkflowHistory] = []
    run_id: str | None = None
    while run_id != "":
        handle = harness.client.scope.temporal.get_workflow_handle(conversation, run_id=run_id)
        histories.insert(0, await handle.fetch_history())
        run_id = histories[0].events[0].workflow_execution_started_event_attributes.continued_execution_run_id
    return histories


async def test_continue_as_new_loses_nothing(harness: WorkflowHarness) -> None:
    await harness.agents("Dora")
    group = await harness.group("Ana", "Ben", "Cleo", manager=ENDLESS_ROUND)
    await harness.model.set_behaviour(delay_ms=5)
    conversation = await harness.start(group, "One.", continue_as_new_after_turns=4)
    posts = [f"post {number}" for number in range(40)]
    for number, post in enumerate(posts):
        await harness.handle(conversation).post(post, message_id=post)
        if number % 10 == 5:
            await harness.handle(conversation).post(post, message_id=post)
        if number % 8 == 3:
            await harness.handle(conversation).members.add(harness.name("Dora"))
        if number % 8 == 7:
            await harness.handle(conversation).members.remove(harness.name("Dora"))
        await asyncio.sleep(0.02)
    await harness.wait_until(conversation, lambda status: status.turn >= 20)
    await harness.handle(conversation).stop()
    await harness.wait_until(conversation, lambda status: status.phase == "closed")
    texts = [message.text for message in await harness.transcript(conversation)]
    assert [text for text in texts if text.startswith("post ")] == posts
    changes = await harness.handle(conversation).members.changes()
    assert [change.kind for change in changes] == ["add", "remove"] * 5
    turns = await harness.turns(conversation)
    assert sum(turn.outcome == "spoke" for turn in turns) + len(posts) + 1 == len(texts)
    assert len(await run_histories(harness, conversation)) > 3
    spoken = Counter(turn.speaker for turn in turns)
    counts = [spoken[harness.name(short)] for short in ("Ana", "Ben", "Cleo")]
    assert max(counts) - min(counts) <= 1


async def test_repeated_id_after_continue_as_new(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben")
    conversation = await harness.start(group, "One.", continue_as_new_after_turns=1)
    await harness.wait_until_idle(conversation)
    first = await harness.handle(conversation).post("Two.", message_id="two")
    await harness.wait_until_idle(conversation, rounds=2)
    assert await harness.handle(conversation).post("Two.", message_id="two") == first
    muted = await harness.handle(conversation).members.mute(harness.name("Ana"), command_id="mute")
    await harness.handle(conversation).post("Three.")
    await harness.wait_until_idle(conversation, rounds=3)
    assert await harness.handle(conversation).members.mute(harness.name("Ana"), command_id="mute") == muted
    texts = [message.text for message in await harness.transcript(conversation)]
    assert texts.count("Two.") == 1


async def test_messages_arrive_during_continue_as_new(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben", manager=ENDLESS_ROUND)
    conversation = await harness.start(group, "One.", continue_as_new_after_turns=1)
    handle = harness.client.scope.workflow_handle(conversation)

    async def post(number: int) -> None:
        await asyncio.sleep(number * 0.011)
        if number % 2:
            await handle.signal("post_message", {"text": f"post {number}"})
        else:
            await harness.handle(conversation).post(f"post {number}")

    outcomes = await asyncio.gather(*(post(number) for number in range(60)), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes if outcome is not None] == []
    await harness.handle(conversation).stop()
    await harness.wait_until(conversation, lambda status: status.phase == "closed")
    texts = [message.text for message in await harness.transcript(conversation)]
    assert sorted(text for text in texts if text.startswith("post ")) == sorted(f"post {n}" for n in range(60))


async def test_replaying_worker_gives_same_result(replaying_harness: WorkflowHarness) -> None:
    harness = replaying_harness
    await harness.agents("Host", "Dora")
    manager = {"manager_type": "dynamic", "manager_agent_id": harness.name("Host"), "max_turns": 5}
    group = await harness.group("Ana", "Ben", "Cleo", manager=manager)
    conversation = await harness.start(group, "One.", continue_as_new_after_turns=3)
    await harness.wait_until_idle(conversation)
    await harness.handle(conversation).members.add(harness.name("Dora"))
    await harness.handle(conversation).pause()
    await harness.handle(conversation).resume()
    await harness.handle(conversation).update_settings({"max_turns": 4})
    with pytest.raises(TertuliaError):
        await harness.handle(conversation).members.remove("nobody")
    await harness.handle(conversation).post("Two.")
    await harness.wait_until_idle(conversation, rounds=2)
    await harness.handle(conversation).stop()
    await harness.wait_until(conversation, lambda status: status.phase == "closed")
    assert len(await harness.turns(conversation)) == 9


def _turn_costs(history: WorkflowHistory) -> list[tuple[int, int]]:
    """Return the events and bytes of the history between the starts of two successive turns."""
    costs, events, size = [], 0, 0
    for event in history.events:
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            costs.append((events, size))
            events = size = 0
        events += 1
        size += event.ByteSize()
    return costs[3:]


async def test_history_per_turn_is_constant(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben", "Cleo", "Dora", manager=ENDLESS_ROUND, context_messages=20)
    conversation = await harness.start(group, "One.")
    await harness.wait_until(conversation, lambda status: status.turn >= 150, seconds=60)
    await harness.handle(conversation).pause()
    costs = _turn_costs((await run_histories(harness, conversation))[0])
    assert {events for events, _ in costs[:140]} == {6}
    early = sum(size for _, size in costs[5:45]) / 40
    late = sum(size for _, size in costs[100:140]) / 40
    assert late / early < 1.1
    assert late < 3_000


async def test_state_size_over_runs_is_constant(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben", manager=ENDLESS_ROUND)
    conversation = await harness.start(group, "One.", continue_as_new_after_turns=30)
    await harness.wait_until(conversation, lambda status: status.turn >= 130, seconds=60)
    await harness.handle(conversation).stop()
    await harness.wait_until(conversation, lambda status: status.phase == "closed")
    histories = await run_histories(harness, conversation)
    sizes = [history.events[0].ByteSize() for history in histories]
    assert len(sizes) >= 4
    assert sizes[-1] < sizes[1] * 1.1


async def test_run_history_length_is_bounded(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben", "Cleo", manager={"manager_type": "round_robin", "max_turns": 130})
    conversation = await harness.start(group, "One.", close_after_round=True)
    await harness.wait_until(conversation, lambda status: status.phase == "closed", seconds=60)
    lengths = [len(history.events) for history in await run_histories(harness, conversation)]
    assert len(lengths) == 2
    assert MAX_HISTORY_EVENTS <= lengths[0] < MAX_HISTORY_EVENTS + 30
    assert len(await harness.turns(conversation)) == 130


async def test_history_has_no_text_without_preview(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben", preview_chars=0)
    conversation = await harness.start(group, "One.")
    await harness.wait_until_idle(conversation)
    spoken = [message.text for message in await harness.transcript(conversation) if message.turn]
    history = b"".join(event.SerializeToString() for event in (await run_histories(harness, conversation))[0].events)
    assert spoken
    assert not [text for text in spoken if text[:20].encode() in history]


async def test_idle_conversation_sets_no_timer(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana")
    conversation = await harness.start(group, "One.")
    await harness.wait_until_idle(conversation)
    before = (await run_histories(harness, conversation))[0].events
    await asyncio.sleep(1.5)
    after = (await run_histories(harness, conversation))[0].events
    assert len(after) == len(before)
    assert EventType.EVENT_TYPE_TIMER_STARTED not in {event.event_type for event in after}


async def test_search_attributes_find_conversations(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben")
    conversation = await harness.start(group, "One.")
    status = await harness.wait_until_idle(conversation)
    query = (
        f"GroupId = '{status.group_id}' AND ConversationPhase = 'ready' AND Members = '{harness.name('Ana')}'"
        " AND StopReason = 'max_turns'"
    )

    async def found() -> list[str]:
        return [execution.id async for execution in harness.client.scope.temporal.list_workflows(query)]

    assert await eventually(found, bool) == [conversation]


async def test_temporal_ui_shows_speaker_and_reason(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben")
    conversation = await harness.start(group, "Shall we?")
    await harness.wait_until_idle(conversation)
    history = (await run_histories(harness, conversation))[0]
    converter = harness.client.scope.temporal.data_converter.payload_converter
    summaries = [
        converter.from_payload(event.user_metadata.summary)
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]
    name = harness.name("Ben")
    assert f"turn 2 · {name} · next in rotation after {harness.name('Ana')}" in summaries
    said = (await harness.transcript(conversation))[2].text
    results = [
        event.activity_task_completed_event_attributes.result.payloads[0].data.decode()
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
    ]
    assert any(result.startswith('{"said":"' + said[:30]) for result in results)
    details = await harness.client.scope.workflow_handle(conversation).query("__temporal_workflow_metadata")
    assert name in str(details)
    assert f"**{name}**" in str(details)
