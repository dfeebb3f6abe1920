"""How much, and how often. Law: a limit holds before what exceeds it is read into memory."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Annotated

from fastapi import Query
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tertulia.api.problems import answer_to
from tertulia.core.paging import MAX_PAGE

PageSize = Annotated[int, Query(ge=1, le=MAX_PAGE, description="How many, at most.")]
_MANY_KEYS = 10_000


class Rates:
    """A bucket of requests for each key: full it holds a minute's worth, and it fills evenly.

    It counts in this process alone: of an API that runs in several processes, each lets so many pass.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = float(per_minute)
        self._per_second = per_minute / 60
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key_id: str) -> None:
        """Count one request.

        Raises:
            HTTPException: 429, there have been too many; `Retry-After` says when the next may come.
        """
        if not self._capacity:
            return
        now = self._clock()
        left, since = self._buckets.get(key_id, (self._capacity, now))
        left = min(self._capacity, left + (now - since) * self._per_second)
        if left < 1:
            self._buckets[key_id] = (left, now)
            seconds = math.ceil((1 - left) / self._per_second)
            detail = f"too many requests with this key: {self._capacity:.0f} a minute are allowed; wait {seconds} s"
            raise HTTPException(429, detail, {"Retry-After": str(seconds)})
        if len(self._buckets) >= _MANY_KEYS and key_id not in self._buckets:
            self._forget_idle(now)
        self._buckets[key_id] = (left - 1, now)

    def _forget_idle(self, now: float) -> None:
        """A full bucket is the same as none."""
        full = [key for key, (left, since) in self._buckets.items() if self._is_full(left, now - since)]
        for key in full:
            del self._buckets[key]

    def _is_full(self, left: float, seconds: float) -> bool:
        return left + seconds * self._per_second >= self._capacity


class BodyLimit:
    """Refuses a body that is too long: at once where its length is announced, else as soon as it has become so.

    Args:
        limit: bytes.
        others: other limits, for what begins with these paths.
    """

    def __init__(self, app: ASGIApp, limit: int, others: Mapping[str, int]) -> None:
        self._app = app
        self._limit = limit
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or hand it on with a watch over what is read of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = next((size for path, size in self._others.items() if scope["path"].startswith(path)), self._limit)
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdigit() and int(announced) > limit:
            refusal = answer_to(_too_long(limit))
            assert refusal is not None
            await refusal(scope, receive, send)
            return
        await self._app(scope, _counted(receive, limit), send)


def _counted(receive: Receive, limit: int) -> Receive:
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        if message["type"] == "http.request":
            size += len(message.get("body", b""))
            if size > limit:
                raise _too_long(limit)
        return message

    return counted


def _too_long(limit: int) -> HTTPException:
    # No `Connection: close`: what is left of the body is thrown away as it comes, so that its sender sees the answer.
    return HTTPException(413, f"the body is longer than the {limit} bytes that are allowed")
