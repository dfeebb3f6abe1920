"""With encryption, Temporal stores no plain text; keys are rotated while conversations run, which lose nothing."""

import os
import uuid
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager

import pytest
from google.protobuf.message import Message as Proto
from temporalio.api.common.v1 import Payload, SearchAttributes
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from tertulia.core.errors import PayloadUnreadable, Unavailable
from tertulia.core.ids import DEFAULT_ORGANISATION
from tertulia.core.patches import GroupPatch
from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tertulia.service.command_updates import is_running
from tertulia.service.group_changes import change_group
from tertulia.store.groups import find_group
from tertulia.temporal.encryption import ENCRYPTED_ENCODING, KEY_ID_METADATA
from tertulia.testing import DirectClient, WorkflowHarness, eventually, open_workflow_harness
from tertulia.workflows.plugin import TertuliaPlugin
from tests.harness.leak_detection import find_leaks, word_pairs
from tests.replay.scripts import SCRIPTS
from tests.workflows.test_conversation_history import run_histories

SECRETS = {"a": os.urandom(32), "b": os.urandom(32)}
GROUP_TEXTS = ("A table in a café.", "thoughtful person")
"""The group's description, and a part of every agent's instructions."""


def open_with_keys(
    stack: Stack, *key_ids: str, queue: str | None = None, cached: int = 1_000
) -> AbstractAsyncContextManager[WorkflowHarness]:
    """Run workers with these keys, newest first, on a fresh task queue or on `queue`."""
    keys = ",".join(f"{one}:{b64encode(SECRETS[one]).decode()}" for one in key_ids)
    return open_workflow_harness(
        stack,
        TERTULIA_MAX_CACHED_CONVERSATIONS=str(cached),
        TERTULIA_TASK_QUEUE=queue or fresh_queue(),
        TERTULIA_ENCRYPTION_KEYS=keys,
    )


def fresh_queue() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


def payloads(message: Proto) -> Iterator[Payload]:
    """Yield every payload in a message except search attributes, which Temporal has to read."""
    if isinstance(message, SearchAttributes):
        return
    if isinstance(message, Payload):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        is_map = field.message_type.GetOptions().map_entry
        for inner in value.values() if is_map else value if field.is_repeated else [value]:
            if isinstance(inner, Proto):
                yield from payloads(inner)


def payloads_of(events: list[HistoryEvent]) -> list[Payload]:
    return [payload for event in events for payload in payloads(event)]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.__name__))
async def test_encrypted_history_has_no_text(
    script: Callable[[WorkflowHarness], Awaitable[str]], stack: Stack, model: OfflineModelControl
) -> None:
    async with open_with_keys(stack, "a") as harness:
        conversation = await script(harness)
        await harness.wait_until(conversation, lambda status: status.phase == "closed")
        word_pairs_sent = word_pairs(message.text for message in await harness.transcript(conversation))
        names = [turn.speaker for turn in await harness.turns(conversation)] + [harness.name("group")]
        histories = await run_histories(harness, conversation)
    assert word_pairs_sent
    for history in histories:
        assert {one.metadata["encoding"] for one in payloads_of(list(history.events))} == {ENCRYPTED_ENCODING}
        assert find_leaks(history.to_json(), *word_pairs_sent, *names, *GROUP_TEXTS) == set()
        await Replayer(workflows=[], plugins=[TertuliaPlugin(SECRETS)]).replay_workflow(history)


async def test_plain_history_leaks_are_detected(harness: WorkflowHarness) -> None:
    group = await harness.group("Ana", "Ben")
    conversation = await harness.start(group, "Shall we move the clocks?", close_after_round=True)
    await harness.wait_until(conversation, lambda status: status.phase == "closed")
    [history] = await run_histories(harness, conversation)
    word_pairs_sent = word_pairs(message.text for message in await harness.transcript(conversation))
    found = find_leaks(history.to_json(), *word_pairs_sent, harness.name("Ana"), group, *GROUP_TEXTS)
    assert {"move the", harness.name("Ana"), group, "A table in a café."} <= found
    assert len(found) > 10


async def test_search_attributes_have_no_names(stack: Stack, model: OfflineModelControl) -> None:
    async with open_with_keys(stack, "a") as harness:
        group = await harness.group("Ana", "Ben")
        conversation = await harness.start(group, "One.")
        status = await harness.wait_until_idle(conversation)
        described = await harness.client.scope.workflow_handle(conversation).describe()
        attributes = str(described.raw_description.workflow_execution_info.search_attributes)
        assert harness.name("Ana") not in attributes and group not in attributes
        members = " ".join(member.agent_id for member in status.roster.members)
        assert all(agent_id in attributes for agent_id in members.split())
        metadata = await harness.client.scope.workflow_handle(conversation).query("__temporal_workflow_metadata")
        assert harness.name("Ana") in str(metadata), "the key makes the current details readable"


async def test_group_change_history_is_encrypted(stack: Stack, model: OfflineModelControl) -> None:
    queue = fresh_queue()
    async with open_with_keys(stack, "a", queue=queue) as harness:
        group = await find_group(harness.client.scope.database, DEFAULT_ORGANISATION, await harness.group("Ana", "Ben"))
        patch = GroupPatch(description="We have moved to the terrace.")
        await change_group(harness.client.scope, group.id, patch)
        temporal = harness.client.scope.temporal

        async def changes() -> list[str]:
            query = f"WorkflowType = 'GroupChange' AND TaskQueue = '{queue}'"
            return [one.id async for one in temporal.list_workflows(query)]

        [change] = await eventually(changes, bool)
        await temporal.get_workflow_handle(change).result()
        history = await temporal.get_workflow_handle(change).fetch_history()
    assert {one.metadata["encoding"] for one in payloads_of(list(history.events))} == {ENCRYPTED_ENCODING}
    assert find_leaks(history.to_json(), group.name, "to the terrace") == set()


async def transcript_texts(harness: WorkflowHarness, conversation: str) -> list[str]:
    return [message.text for message in await harness.transcript(conversation)]


@pytest.mark.parametrize("cached", [1_000, 0], ids=["from memory", "all replayed"])
async def test_conversation_survives_key_rotation(cached: int, stack: Stack, model: OfflineModelControl) -> None:
    queue = fresh_queue()
    async with open_with_keys(stack, "a", queue=queue, cached=cached) as harness:
        group = await harness.group("Ana", "Ben")
        conversation = await harness.start(group, "One.")
        await harness.wait_until_idle(conversation)
    async with open_with_keys(stack, "b", "a", queue=queue, cached=cached) as rotated:
        await rotated.handle(conversation).post("Two.")
        await rotated.wait_until_idle(conversation, rounds=2)
        assert len(await transcript_texts(rotated, conversation)) == 6
        [history] = await run_histories(rotated, conversation)
    under = [one.metadata[KEY_ID_METADATA] for one in payloads_of(list(history.events))]
    assert under == sorted(under) and set(under) == {b"a", b"b"}, (
        "the first payloads use the old key, all later ones the new key"
    )
    await Replayer(workflows=[], plugins=[TertuliaPlugin(SECRETS)]).replay_workflow(history)


async def test_encryption_enabled_while_running(stack: Stack, model: OfflineModelControl) -> None:
    queue = fresh_queue()
    async with open_with_keys(stack, queue=queue, cached=0) as harness:
        group = await harness.group("Ana", "Ben")
        conversation = await harness.start(group, "One.", continue_as_new_after_turns=2)
        await harness.wait_until_idle(conversation)
    async with open_with_keys(stack, "a", queue=queue, cached=0) as encrypting:
        await encrypting.handle(conversation).post("Two.")
        await encrypting.wait_until_idle(conversation, rounds=2)
        await encrypting.handle(conversation).post("Three.")
        await encrypting.wait_until_idle(conversation, rounds=3)
        assert len(await transcript_texts(encrypting, conversation)) == 9


def task_failures(history: WorkflowHistory) -> list[str]:
    failed = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    return [
        event.workflow_task_failed_event_attributes.failure.message
        for event in history.events
        if event.event_type == failed
    ]


async def test_missing_key_pauses_conversation(stack: Stack, model: OfflineModelControl) -> None:
    queue = fresh_queue()
    async with open_with_keys(stack, "a", queue=queue) as harness:
        group = await harness.group("Ana", "Ben")
        conversation = await harness.start(group, "One.")
        await harness.wait_until_idle(conversation)
    async with open_with_keys(stack, "b", queue=queue) as keyless:
        handle = keyless.client.scope.workflow_handle(conversation)

        async def refusal() -> str:
            with pytest.raises(Unavailable) as raised:
                await keyless.handle(conversation).status(live=True)
            return str(raised.value)

        async def failures() -> list[str]:
            return task_failures(await handle.fetch_history())

        assert "the worker cannot answer the query: a payload is encrypted under the key 'a'" in await refusal()
        await handle.signal("post_message", {"text": "Two."})
        [message] = await eventually(failures, bool)
        assert "under the key 'a', which is not in TERTULIA_ENCRYPTION_KEYS" in message
        await eventually(refusal, lambda message: "its last workflow task failed and is retried" in message)
        assert await is_running(keyless.client.scope, conversation)
    async with open_with_keys(stack, "b", "a", queue=queue) as restored:
        await eventually(lambda: transcript_texts(restored, conversation), lambda texts: len(texts) == 6, seconds=60)
        assert (await transcript_texts(restored, conversation))[3] == "Two."
        turns = await restored.turns(conversation)
        assert [turn.outcome for turn in turns] == ["spoke"] * 4


async def test_missing_key_delays_turn(stack: Stack, model: OfflineModelControl) -> None:
    queue = fresh_queue()
    async with open_with_keys(stack, "a", queue=queue) as harness:
        group = await harness.group("Ana", "Ben", retry_initial_seconds=0.2)
        await model.set_behaviour(delay_ms=30_000)
        conversation = await harness.start(group, "One.")
        await harness.wait_until(conversation, lambda status: status.speaking == harness.name("Ana"))
    await model.reset()
    async with open_with_keys(stack, "b", queue=queue) as keyless:

        async def last_failures() -> str:
            described = await keyless.client.scope.workflow_handle(conversation).describe()
            return str([one.last_failure for one in described.raw_description.pending_activities])

        assert "under the key \\'a\\', which is not" in await eventually(
            last_failures, lambda text: "TERTULIA_" in text
        )
    async with open_with_keys(stack, "b", "a", queue=queue) as restored:
        await restored.wait_until_idle(conversation, seconds=90)
        turns = await restored.turns(conversation)
        assert [turn.outcome for turn in turns] == ["spoke", "spoke"]


async def test_client_without_key_gets_its_name(stack: Stack, model: OfflineModelControl) -> None:
    async with open_with_keys(stack, "a") as harness:
        group = await harness.group("Ana", "Ben")
        conversation = await harness.start(group, "One.")
        await harness.wait_until_idle(conversation)
        async with DirectClient.open(stack.configuration) as keyless:
            with pytest.raises(PayloadUnreadable, match=r"the key 'a', which is not in TERTULIA_ENCRYPTION_KEYS"):
                await keyless.conversations.handle(conversation).status(live=True)
        assert (await harness.handle(conversation).status(live=True)).turn == 2
