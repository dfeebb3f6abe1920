"""An activity's signs of life, and what it leaves to its next attempt, on the real server."""

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
from tertulia.workflows.plugin import TertuliaPlugin
from tests.activities.attempts import Trying, trying_worker
from tests.eventually import eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def client(stack: Stack) -> Client:
    return await Client.connect(stack.configuration.temporal_address, plugins=[TertuliaPlugin()])


@pytest.fixture
def queue() -> str:
    return f"trying-{uuid.uuid4().hex[:8]}"


async def result_of(client: Client, queue: str, activity: str) -> JsonValue:
    async with trying_worker(client, queue):
        result: JsonValue = await client.execute_workflow(Trying.run, activity, id=queue, task_queue=queue)
        return result


async def test_a_value_survives_an_attempt_that_carries_it_and_fails_at_once(client: Client, queue: str) -> None:
    assert await result_of(client, queue, "counts_its_failures") == [1, 2, 3]


async def test_heartbeats_of_later_attempts_repeat_what_was_carried(client: Client, queue: str) -> None:
    assert await result_of(client, queue, "beats_after_carrying") == "from the first"


async def test_an_activity_that_waits_for_long_keeps_its_first_attempt(client: Client, queue: str) -> None:
    assert await result_of(client, queue, "outlives_its_heartbeat_timeout") == 1


@asynccontextmanager
async def process_at_work(client: Client, queue: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker in a process of its own."""
    command = (sys.executable, "-m", "tests.activities.attempts", client.service_client.config.target_host, queue)
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_value_survives_the_death_of_its_worker(client: Client, queue: str) -> None:
    async def flushed() -> bool:
        pending = (await handle.describe()).raw_description.pending_activities
        return bool(pending and pending[0].heartbeat_details.payloads)

    async with process_at_work(client, queue) as process:
        handle = await client.start_workflow(Trying.run, "hangs_at_first", id=queue, task_queue=queue)
        await eventually(flushed, bool, seconds=30)
        process.kill()
    async with trying_worker(client, queue):
        assert await handle.result() == "from one who was killed"
