"""Cancels work whose client has disconnected."""

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
    """Run `work`, and cancel it if the client disconnects first.

    Raises:
        HTTPException: 499, the client has disconnected; nobody reads the answer.
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
