"""Send heartbeats for every activity and record a lease for it.

Heartbeats let Temporal notice a dead worker within seconds; leases let another worker report it at once.
"""

import asyncio
from contextlib import suppress
from typing import Any, Protocol

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from tertulia.activities.heartbeat import Heartbeater, current_heartbeater

HEARTBEAT_INTERVAL_SECONDS = 0.5
LEASE_AFTER_SECONDS = 0.03
"""Age at which an activity gets a lease. Most database activities are complete by then and need no write for it."""


class ActivityLeases(Protocol):
    """Record the activities that this worker executes. No method raises: leases only speed up recovery."""

    async def add_lease(self, token: bytes) -> None:
        """Record that this worker executes the activity with this task token."""

    async def remove_lease(self, token: bytes) -> None:
        """Delete the record of `add_lease`."""


class HeartbeatInterceptor(Interceptor):
    """Send heartbeats and hold a lease while an activity runs."""

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
            # The lease has to be gone before Temporal gets the result: a later report would fail a completed activity.
            await heartbeat_task

    async def _send_heartbeats(self, heartbeater: Heartbeater, token: bytes, done: asyncio.Event) -> None:
        if await _is_done_within(LEASE_AFTER_SECONDS, done):
            return
        await self._leases.add_lease(token)
        while not await _is_done_within(HEARTBEAT_INTERVAL_SECONDS, done):
            heartbeater.send()
        await self._leases.remove_lease(token)


async def _is_done_within(seconds: float, done: asyncio.Event) -> bool:
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(done.wait(), seconds)
    return done.is_set()
