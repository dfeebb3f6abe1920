"""Waiting for what will be so in a moment, instead of sleeping for as long as it may take."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(
    look: Callable[[], Awaitable[T]], holds: Callable[[T], bool], *, seconds: float = 20, every: float = 0.02
) -> T:
    """What `look` gives, once `holds` is true of it.

    Raises:
        AssertionError: it was not within `seconds`; the message holds what was seen last.
    """
    deadline = time.monotonic() + seconds
    while not holds(seen := await look()):
        assert time.monotonic() < deadline, f"not within {seconds} s; last seen: {seen!r}"
        await asyncio.sleep(every)
    return seen
