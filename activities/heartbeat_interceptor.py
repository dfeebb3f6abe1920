"""Every activity's signs of life: heartbeats, so that Temporal notices a dead worker in seconds; and a claim, so that
another worker hands the activity back at once."""

import asyncio
from contextlib import suppress
from typing import Any, Protocol

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from tertulia.activities.heartbeat import Pulse, pulse_of_attempt

HEARTBEAT_SECONDS = 0.5
CLAIM_AFTER_SECONDS = 0.03
"""Most reads and writes are over by then, and are never claimed."""


class Claims(Protocol):
    """Where this worker tells what it is at work on. Neither call raises: a claim only makes recovery quicker."""

    async def claim(self, token: bytes) -> None:
        """It has begun."""

    async def release(self, token: bytes) -> None:
        """It is over."""


class SignsOfLife(Interceptor):
    """Gives every activity its heartbeats and its claim."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _SignsOfLife(next, self._claims)


class _SignsOfLife(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, claims: Claims) -> None:
        super().__init__(next)
        self._claims = claims

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        pulse, over = Pulse(), asyncio.Event()
        pulse_of_attempt.set(pulse)
        signs = asyncio.create_task(self._give_signs(pulse, activity.info().task_token, over))
        try:
            return await super().execute_activity(input)
        finally:
            over.set()
            await signs

    async def _give_signs(self, pulse: Pulse, token: bytes, over: asyncio.Event) -> None:
        if await _within(CLAIM_AFTER_SECONDS, over):
            return
        await self._claims.claim(token)
        while not await _within(HEARTBEAT_SECONDS, over):
            pulse.beat()
        await self._claims.release(token)


async def _within(seconds: float, over: asyncio.Event) -> bool:
    """Whether it is over before so many seconds have passed."""
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(over.wait(), seconds)
    return over.is_set()
