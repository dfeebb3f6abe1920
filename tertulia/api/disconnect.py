"""A client that leaves before its answer is there. Law: nobody waits on for one who has left."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.types import Receive

CLIENT_DISCONNECTED = 499
"""The status, in the log, of a request whose client left before there was an answer."""

T = TypeVar("T")


async def wait_for_disconnect(receive: Receive) -> None:
    """Returns once the client has left; what it still sends is thrown away."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def cancel_on_disconnect(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What comes of `work`, which is cancelled if the client leaves first.

    Raises:
        HTTPException: 499, it has left; nobody reads that.
    """
    result, disconnect = asyncio.create_task(work), asyncio.create_task(wait_for_disconnect(receive))
    try:
        await asyncio.wait({result, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if result.done():
            return result.result()
        raise HTTPException(CLIENT_DISCONNECTED, "the client has left")
    finally:
        for task in (result, disconnect):
            task.cancel()
        await asyncio.gather(result, disconnect, return_exceptions=True)
