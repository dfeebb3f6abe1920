"""Wait for a condition instead of sleeping."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(
    read: Callable[[], Awaitable[T]],
    condition: Callable[[T], bool],
    *,
    seconds: float = 20,
    interval_seconds: float = 0.02,
) -> T:
    """Return the value of `read` once `condition` holds for it.

    Raises:
        AssertionError: the condition did not hold within `seconds`; the message has the last value.
    """
    deadline = time.monotonic() + seconds
    while not condition(seen := await read()):
        if time.monotonic() >= deadline:
            # Not a TimeoutError: callers that repeat calls to a server that is down must not repeat this wait.
            raise AssertionError(f"not within {seconds:g} s; last seen: {seen!r}")
        await asyncio.sleep(interval_seconds)
    return seen
