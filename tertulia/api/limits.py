"""Limits on the size and rate of requests. Invariant: what exceeds a limit is never read into memory."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Annotated

from fastapi import Query
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tertulia.api.problems import error_response
from tertulia.core.paging import MAX_PAGE

PageSize = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Rows of the page at most.")]
_MAX_BUCKETS = 10_000
"""Buckets kept at most, before full ones are dropped: a bucket is about 200 bytes."""


class RateLimiter:
    """Token bucket per key: the requests of one minute, refilled evenly.

    Each process counts by itself: with several API processes, each allows the full rate.

    Args:
        per_minute: requests per key and minute; 0 = no limit.
        clock: monotonic time in seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = float(per_minute)
        self._per_second = per_minute / 60
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key_id: str) -> None:
        """Count one request.

        Raises:
            HTTPException: 429, the bucket is empty; `Retry-After` is the time until the next request is allowed.
        """
        if not self._capacity:
            return
        now = self._clock()
        tokens, updated_at = self._buckets.get(key_id, (self._capacity, now))
        tokens = min(self._capacity, tokens + (now - updated_at) * self._per_second)
        if tokens < 1:
            self._buckets[key_id] = (tokens, now)
            seconds = math.ceil((1 - tokens) / self._per_second)
            detail = (
                f"too many requests with this key: {self._capacity:.0f} a minute are allowed; try again in {seconds} s"
            )
            raise HTTPException(429, detail, {"Retry-After": str(seconds)})
        if len(self._buckets) >= _MAX_BUCKETS and key_id not in self._buckets:
            self._drop_full_buckets(now)
        self._buckets[key_id] = (tokens - 1, now)

    def _drop_full_buckets(self, now: float) -> None:
        # A full bucket equals a missing one.
        full = [key for key, (tokens, updated_at) in self._buckets.items() if self._is_full(tokens, now - updated_at)]
        for key in full:
            del self._buckets[key]

    def _is_full(self, tokens: float, seconds: float) -> bool:
        return tokens + seconds * self._per_second >= self._capacity


class BodyLimitMiddleware:
    """Refuse a body that is too long: by its `Content-Length`, or while a chunked body is read.

    Args:
        app: the application behind this middleware.
        limit: bytes at most.
        limits_by_prefix: other limits, by the start of the path.
    """

    def __init__(self, app: ASGIApp, limit: int, limits_by_prefix: Mapping[str, int]) -> None:
        self._app = app
        self._limit = limit
        self._limits_by_prefix = limits_by_prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on and count the bytes that are read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = next(
            (size for path, size in self._limits_by_prefix.items() if scope["path"].startswith(path)), self._limit
        )
        content_length = Headers(scope=scope).get("content-length", "")
        if content_length.isdigit() and int(content_length) > limit:
            response = error_response(_body_too_long(limit))
            assert response is not None
            await response(scope, receive, send)
            return
        await self._app(scope, _limit_receive(receive, limit), send)


def _limit_receive(receive: Receive, limit: int) -> Receive:
    size = 0

    async def receive_limited() -> Message:
        nonlocal size
        message = await receive()
        if message["type"] == "http.request":
            size += len(message.get("body", b""))
            if size > limit:
                raise _body_too_long(limit)
        return message

    return receive_limited


def _body_too_long(limit: int) -> HTTPException:
    # No `Connection: close`: the server drops the rest of the body, so that a client that still sends gets a response.
    return HTTPException(413, f"the body is too long: at most {limit} bytes are allowed")
