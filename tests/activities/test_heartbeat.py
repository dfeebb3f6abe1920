"""Heartbeats of activities, and the details that reach the next attempt, on the real server."""

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import JsonValue
from temporalio.client import Client

from tertulia.devstack.stack import Stack
from tertulia.temporal.plugin import TertuliaClientPlugin
from tertulia.testing import eventually
from tests.activities.retry_worker import RetryWorkflow, retry_worker

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def client(stack: Stack) -> Client:
    return await Client.connect(stack.configuration.temporal_address, plugins=[TertuliaClientPlugin()])


@pytest.fixture
def task_queue() -> str:
    return f"trying-{uuid.uuid4().hex[:8]}"


async def run_activity(client: Client, task_queue: str, activity: str) -> JsonValue:
    async with retry_worker(client, task_queue):
        result: JsonValue = await client.execute_workflow(
            RetryWorkflow.run, activity, id=task_queue, task_queue=task_queue
        )
        return result


async def test_details_survive_immediate_failure(client: Client, task_queue: str) -> None:
    assert await run_activity(client, task_queue, "count_failures") == [1, 2, 3]


async def test_details_are_repeated_by_later_attempts(client: Client, task_queue: str) -> None:
    assert await run_activity(client, task_queue, "heartbeat_after_save") == "from the first"


async def test_long_wait_keeps_first_attempt(client: Client, task_queue: str) -> None:
    assert await run_activity(client, task_queue, "wait_past_heartbeat_timeout") == 1


@asynccontextmanager
async def worker_process(client: Client, task_queue: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker in a process of its own."""
    command = (
        sys.executable,
        "-m",
        "tests.activities.retry_worker",
        client.service_client.config.target_host,
        task_queue,
    )
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_details_survive_worker_death(client: Client, task_queue: str) -> None:
    async def are_details_recorded() -> bool:
        pending = (await handle.describe()).raw_description.pending_activities
        return bool(pending and pending[0].heartbeat_details.payloads)

    async with worker_process(client, task_queue) as process:
        handle = await client.start_workflow(
            RetryWorkflow.run, "hang_first_attempt", id=task_queue, task_queue=task_queue
        )
        await eventually(are_details_recorded, bool, seconds=30)
        process.kill()
    async with retry_worker(client, task_queue):
        assert await handle.result() == "from the killed worker"
