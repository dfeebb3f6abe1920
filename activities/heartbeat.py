"""A sign of life while an activity works, so that a killed worker is noticed in seconds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar

from pydantic import JsonValue
from temporalio import activity

INTERVAL_SECONDS = 1.0

_carried: ContextVar[JsonValue] = ContextVar("carried", default=None)


def carry(value: JsonValue) -> None:
    """Leave a small value to the next attempt of this activity."""
    _carried.set(value)
    activity.heartbeat(value)


def carried() -> JsonValue:
    """What an earlier attempt of this activity has left; None = nothing."""
    details = activity.info().heartbeat_details
    return details[0] if details else None


@asynccontextmanager
async def heartbeating(interval: float = INTERVAL_SECONDS) -> AsyncIterator[None]:
    """Heartbeat every `interval` seconds for as long as the block runs."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(interval)
            activity.heartbeat(carried() if _carried.get() is None else _carried.get())

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
