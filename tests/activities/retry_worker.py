"""A workflow of one activity that takes several attempts, and a worker process that can be killed during an attempt.

Run the worker with `python -m tests.activities.retry_worker ADDRESS TASK_QUEUE`.
"""

import asyncio
import sys
from contextlib import suppress
from datetime import timedelta

from pydantic import JsonValue
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tertulia.activities.heartbeat import load_heartbeat_details, save_heartbeat_details
from tertulia.activities.heartbeat_interceptor import HeartbeatInterceptor

SECOND = timedelta(seconds=1)


class NoLeases:
    """Record nothing."""

    async def add_lease(self, token: bytes) -> None:
        """Do nothing."""

    async def remove_lease(self, token: bytes) -> None:
        """Do nothing."""


@workflow.defn
class RetryWorkflow:
    """Execute one activity until it has a result."""

    @workflow.run
    async def run(self, name: str) -> JsonValue:
        result: JsonValue = await workflow.execute_activity(
            name,
            start_to_close_timeout=30 * SECOND,
            heartbeat_timeout=2 * SECOND,
            retry_policy=RetryPolicy(initial_interval=SECOND / 100, backoff_coefficient=1),
        )
        return result


def _retryable_error(reason: str) -> ApplicationError:
    return ApplicationError(reason, next_retry_delay=SECOND / 1_000)


@activity.defn
async def count_failures() -> JsonValue:
    """Save two values at once and fail, so that the SDK throttles the second heartbeat."""
    seen = load_heartbeat_details() or []
    assert isinstance(seen, list)
    if len(seen) == 3:
        return seen
    save_heartbeat_details("overwritten at once")
    save_heartbeat_details([*seen, activity.info().attempt])
    raise _retryable_error("no answer")


@activity.defn
async def heartbeat_after_save() -> JsonValue:
    """Save a value in the first attempt, send plain heartbeats in the second, return the value in the third."""
    match activity.info().attempt:
        case 1:
            save_heartbeat_details("from the first")
        case 2:
            await asyncio.sleep(2.5)
        case _:
            return load_heartbeat_details()
    raise _retryable_error("no answer")


@activity.defn
async def wait_past_heartbeat_timeout() -> JsonValue:
    """Wait for longer than the heartbeat timeout without blocking the event loop."""
    await asyncio.sleep(3)
    return activity.info().attempt


@activity.defn
async def hang_first_attempt() -> JsonValue:
    """Save a value in the first attempt and never return from it."""
    if activity.info().attempt == 1:
        save_heartbeat_details("from the killed worker")
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    return load_heartbeat_details()


def retry_worker(client: Client, task_queue: str) -> Worker:
    """Return a worker for these activities, with the heartbeat interceptor."""
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[RetryWorkflow],
        workflow_runner=UnsandboxedWorkflowRunner(),
        activities=[count_failures, heartbeat_after_save, wait_past_heartbeat_timeout, hang_first_attempt],
        interceptors=[HeartbeatInterceptor(NoLeases())],
        max_heartbeat_throttle_interval=SECOND,
        default_heartbeat_throttle_interval=SECOND,
        sticky_queue_schedule_to_start_timeout=SECOND,
    )


async def _run_worker(address: str, task_queue: str) -> None:
    client = await Client.connect(address, data_converter=pydantic_data_converter)
    async with retry_worker(client, task_queue):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_run_worker(sys.argv[1], sys.argv[2]))
