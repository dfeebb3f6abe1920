"""Waiting for what will be so in a moment, instead of sleeping for as long as it may take."""

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
    """What `read` gives, once `condition` is true of it.

    Raises:
        AssertionError: it was not within `seconds`; the message holds what was seen last.
    """
    deadline = time.monotonic() + seconds
    while not condition(seen := await read()):
        assert time.monotonic() < deadline, f"not within {seconds} s; last seen: {seen!r}"
        await asyncio.sleep(interval_seconds)
    return seen
