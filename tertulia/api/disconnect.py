"""A client that leaves before its answer is there. Law: nobody waits on for one who has left."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.types import Receive

NOT_ANSWERED = 499
"""The status, in the log, of a request whose client left before there was an answer."""

T = TypeVar("T")


async def left(receive: Receive) -> None:
    """Returns once the client has left; what it still sends is thrown away."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_left(receive: Receive, waiting: Coroutine[Any, Any, T]) -> T:
    """What comes of `waiting`, which is cancelled if the client leaves first.

    Raises:
        HTTPException: 499, it has left; nobody reads that.
    """
    result, leaving = asyncio.create_task(waiting), asyncio.create_task(left(receive))
    try:
        await asyncio.wait({result, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if result.done():
            return result.result()
        raise HTTPException(NOT_ANSWERED, "the client has left")
    finally:
        for task in (result, leaving):
            task.cancel()
        await asyncio.gather(result, leaving, return_exceptions=True)
