"""Every activity's signs of life: heartbeats, so that Temporal notices a dead worker in seconds; and a claim, so that
another worker hands the activity back at once."""

import asyncio
from contextlib import suppress
from typing import Any, Protocol

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from tertulia.activities.heartbeat import Heartbeater, current_heartbeater

HEARTBEAT_INTERVAL_SECONDS = 0.5
LEASE_AFTER_SECONDS = 0.03
"""Most reads and writes are over by then, and are never claimed."""


class ActivityLeases(Protocol):
    """Where this worker tells what it is at work on. Neither call raises: a claim only makes recovery quicker."""

    async def claim(self, token: bytes) -> None:
        """It has begun."""

    async def release(self, token: bytes) -> None:
        """It is over."""


class HeartbeatInterceptor(Interceptor):
    """Gives every activity its heartbeats and its claim."""

    def __init__(self, leases: ActivityLeases) -> None:
        self._leases = leases

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _HeartbeatInbound(next, self._leases)


class _HeartbeatInbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, leases: ActivityLeases) -> None:
        super().__init__(next)
        self._leases = leases

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        heartbeater, done = Heartbeater(), asyncio.Event()
        current_heartbeater.set(heartbeater)
        heartbeat_task = asyncio.create_task(self._send_heartbeats(heartbeater, activity.info().task_token, done))
        try:
            return await super().execute_activity(input)
        finally:
            done.set()
            await heartbeat_task

    async def _send_heartbeats(self, heartbeater: Heartbeater, token: bytes, done: asyncio.Event) -> None:
        if await _is_done_within(LEASE_AFTER_SECONDS, done):
            return
        await self._leases.claim(token)
        while not await _is_done_within(HEARTBEAT_INTERVAL_SECONDS, done):
            heartbeater.send()
        await self._leases.release(token)


async def _is_done_within(seconds: float, done: asyncio.Event) -> bool:
    """Whether it is over before so many seconds have passed."""
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(done.wait(), seconds)
    return done.is_set()
