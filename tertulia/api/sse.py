"""Responses of server-sent events.

Invariant: a client that stops reading is disconnected; at most one event is held for it.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress

from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tertulia.api.disconnect import wait_for_disconnect

HEARTBEAT_SECONDS = 15.0
"""Longest time without an event: then a comment keeps proxies and clients from closing the connection."""
SEND_TIMEOUT_SECONDS = 20.0
"""Seconds that sending one event may wait for its client to read."""
RECHECK_SECONDS = 60.0
"""Seconds between checks that the client's key is still valid."""
STREAMS_PER_KEY = 100
"""Open streams per key and process at most."""
_RETRY_AFTER_SECONDS = 5
_ABORT = "abort_connection"

HEARTBEAT = b": still here\n\n"

logger = logging.getLogger("tertulia.api")

AccessCheck = Callable[[], Awaitable[bool]]


class StreamProtocol(HttpToolsProtocol):
    """HTTP/1.1 protocol that lets a response abort its connection, which frees the data its client has not read."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"][_ABORT] = self.transport.abort


class OpenStreams:
    """Number of open streams of this process, by key."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    @property
    def total(self) -> int:
        return self._open.total()

    @contextmanager
    def track(self, key_id: str) -> Iterator[None]:
        """Context manager: count one more stream until exit."""
        self._open[key_id] += 1
        try:
            yield
        finally:
            self._open[key_id] -= 1
            if not self._open[key_id]:
                del self._open[key_id]

    def check_limit(self, key_id: str) -> None:
        """Check that the key may open one more stream.

        Raises:
            HTTPException: 429, it has `STREAMS_PER_KEY` already.
        """
        if self._open[key_id] >= STREAMS_PER_KEY:
            detail = f"too many open streams with this key: {STREAMS_PER_KEY} at a time are allowed; close one first"
            raise HTTPException(429, detail, {"Retry-After": str(_RETRY_AFTER_SECONDS)})


class EventStream(Response):
    """Send events until the source ends, the client disconnects or is too slow, its key is revoked or the server stops.

    Args:
        source: the encoded events.
        stopping: set when the server stops.
        is_still_allowed: check that the client may still read.
        streams: the open streams, among which this one counts.
        key_id: the client's key.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        source: AsyncGenerator[bytes, None],
        *,
        stopping: asyncio.Event,
        is_still_allowed: AccessCheck,
        streams: OpenStreams,
        key_id: str,
    ) -> None:
        # nginx buffers responses unless this header forbids it.
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        # Starlette sets the length of the empty body; a stream is sent in chunks.
        del self.headers["content-length"]
        self._source = source
        self._stopping = stopping
        self._is_still_allowed = is_still_allowed
        self._streams = streams
        self._key_id = key_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response until the first of these ends occurs."""
        with self._streams.track(self._key_id):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            sender = asyncio.create_task(self._send_events(send))
            disconnected = asyncio.create_task(wait_for_disconnect(receive))
            others = [asyncio.create_task(self._stopping.wait()), asyncio.create_task(self._wait_until_forbidden())]
            try:
                await asyncio.wait({sender, disconnected, *others}, return_when=asyncio.FIRST_COMPLETED)
                if not disconnected.done():
                    await self._finish(scope, send, sender, disconnected)
            finally:
                for task in (sender, disconnected, *others):
                    task.cancel()
                await asyncio.gather(sender, disconnected, *others, return_exceptions=True)

    async def _finish(
        self, scope: Scope, send: Send, sender: asyncio.Task[None], disconnected: asyncio.Task[None]
    ) -> None:
        """End the response; abort the connection if the client does not read the end."""
        too_slow = False
        if sender.done():
            error = sender.exception()
            too_slow = isinstance(error, TimeoutError)
            if error is not None and not too_slow:
                raise error
        sender.cancel()
        await asyncio.wait({sender})
        try:
            if not too_slow:
                await _with_send_timeout(send({"type": "http.response.body", "body": b"", "more_body": False}))
                return
        except TimeoutError:
            pass
        abort = scope.get("state", {}).get(_ABORT)
        if abort is not None:
            logger.info("a stream was disconnected: its client did not read for %.0f s", SEND_TIMEOUT_SECONDS)
            abort()
            # The connection is counted as open until the server has noticed the abort.
            await asyncio.wait({disconnected}, timeout=1)

    async def _send_events(self, send: Send) -> None:
        async with aclosing(self._source) as source:
            next_chunk = asyncio.ensure_future(anext(source, None))
            try:
                while True:
                    # Not `wait_for`: it would cancel the source, which then ends.
                    done, _ = await asyncio.wait({next_chunk}, timeout=HEARTBEAT_SECONDS)
                    chunk = next_chunk.result() if done else HEARTBEAT
                    if chunk is None:
                        return
                    await _with_send_timeout(send({"type": "http.response.body", "body": chunk, "more_body": True}))
                    if done:
                        next_chunk = asyncio.ensure_future(anext(source, None))
            finally:
                next_chunk.cancel()
                await asyncio.wait({next_chunk})

    async def _wait_until_forbidden(self) -> None:
        """Return once the client may not read any more."""
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            # A database that does not answer must not end the streams of valid keys.
            with suppress(SQLAlchemyError, OSError, TimeoutError):
                if not await self._is_still_allowed():
                    return


async def _with_send_timeout(send_call: Awaitable[None]) -> None:
    async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
        await send_call
