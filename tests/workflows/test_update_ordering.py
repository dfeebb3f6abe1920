"""The commands of a conversation do not depend on how events are grouped into workflow tasks."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

from temporalio.api.enums.v1 import EventType
from temporalio.worker import Replayer

from tertulia.configuration import Configuration
from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tertulia.testing import DirectClient, WorkflowHarness, eventually
from tertulia.worker import build_workers, connect, open_worker_resources
from tertulia.workflows.plugin import TertuliaPlugin
from tests.workflows.test_conversation_history import run_histories

RESULTS = (EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES, EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)


async def test_turn_end_precedes_later_message(stack: Stack, model: OfflineModelControl) -> None:
    """Replay receives the turn's result and a later message in one activation; a live worker can get them apart."""
    environment = stack.environment | {"TERTULIA_TASK_QUEUE": "test-order", "TERTULIA_GRACEFUL_SHUTDOWN_SECONDS": "1"}
    configuration = Configuration.from_environment(environment)
    async with AsyncExitStack() as resources:
        client = await resources.enter_async_context(DirectClient.open(configuration))
        opened = await resources.enter_async_context(open_worker_resources(client.scope.temporal, configuration))
        conversing, speaking = build_workers(opened)
        await resources.enter_async_context(speaking)
        harness = WorkflowHarness(client, model)
        await model.set_behaviour(delay_ms=2_000)
        async with conversing:
            talk = (await client.conversations.create(await harness.group("Ana"), "Hello.")).id
            await harness.wait_until(talk, lambda status: status.speaking is not None)

        async def is_task_waiting() -> bool:
            described = (await client.scope.workflow_handle(talk).describe()).raw_description
            return not described.pending_activities and described.HasField("pending_workflow_task")

        await eventually(is_task_waiting, bool)
        posted = asyncio.create_task(client.conversations.handle(talk).post("And now?"))
        await asyncio.sleep(0.5)
        conversing, _ = build_workers(replace(opened, client=await connect(configuration)))
        async with conversing:
            await posted
            await harness.wait_until_idle(talk, rounds=2)
            await client.conversations.handle(talk).stop()
            await harness.wait_until(talk, lambda status: status.phase == "closed")
            (history,) = await run_histories(harness, talk)
    kinds = [event.event_type for event in history.events]
    accepted = kinds.index(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED)
    assert kinds[accepted - 1] in RESULTS, "the commands that follow from the turn's result precede the message"
    await Replayer(workflows=[], plugins=[TertuliaPlugin()]).replay_workflow(history)
