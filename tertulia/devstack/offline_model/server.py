"""The HTTP side: a plain ASGI application, one body in and one answer out. It decides nothing about words or faults."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict

from pydantic import ValidationError

from tertulia.devstack.offline_model import responses
from tertulia.devstack.offline_model.answers import Answer, answer
from tertulia.devstack.offline_model.call_log import Ledger
from tertulia.devstack.offline_model.faults import BROKEN, Asked, Behaviour, Conduct, Fault, spoil
from tertulia.devstack.offline_model.manager import participant_field
from tertulia.devstack.offline_model.protocol import ChatRequest, InvalidRequest, parse_request

Headers = list[tuple[bytes, bytes]]


class Scope(TypedDict):
    """What the application reads of an ASGI connection scope."""

    type: str
    method: str
    path: str
    state: dict[str, Callable[[], None]]


class Incoming(TypedDict):
    """What a client sends."""

    type: str
    body: NotRequired[bytes]
    more_body: NotRequired[bool]


class Outgoing(TypedDict):
    """What a client is sent."""

    type: Literal["http.response.start", "http.response.body"]
    status: NotRequired[int]
    headers: NotRequired[Headers]
    body: NotRequired[bytes]
    more_body: NotRequired[bool]


Receive = Callable[[], Awaitable[Incoming]]
Send = Callable[[Outgoing], Awaitable[None]]

ABORT = "abort"
"""The key in the scope's state under which the host leaves what cuts the connection."""
_MAX_BODY = 64 * 1024 * 1024
_JSON = (b"content-type", b"application/json")
_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
_BEFORE_WORDS = 0.25
"""Which part of a delay passes before the first word of a stream; its words spread over the rest."""
_STEPS = 50
"""So often a stream pauses, however long it is."""
_BROKEN_BYTES = b"\xff\xfe\xc3("
_GARBAGE = b"<html>upstream says: no {"


class _ClientGone(Exception):
    """The client left before its request was read."""


class OfflineApp:
    """The offline model as an ASGI application."""

    def __init__(self, delay_ms: int = 0) -> None:
        self._conduct = Conduct(delay_ms)
        self._ledger = Ledger()
        self._watching: set[asyncio.Task[None]] = set()
        self._stopping = False

    def stop(self) -> None:
        """Let go of every request that still waits."""
        self._stopping = True
        for task in self._watching:
            task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            body = await _read(receive)
        except _ClientGone:
            return
        except InvalidRequest as error:
            await _respond(send, error.status, responses.invalid(error), [(b"connection", b"close")])
            return
        try:
            await self._route(scope, body, receive, send)
        except InvalidRequest as error:
            await _respond(send, error.status, responses.invalid(error))

    async def _route(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        match scope["method"], scope["path"]:
            case "POST", "/v1/chat/completions":
                await self._complete(body, scope, receive, send)
            case "GET", "/v1/models":
                await _respond(send, 200, responses.models())
            case "POST", "/control/behaviour":
                self._conduct.follow(_behaviour(body))
                await _respond(send, 200, self._conduct.behaviour.model_dump_json().encode())
            case "GET", "/control/behaviour":
                await _respond(send, 200, self._conduct.behaviour.model_dump_json().encode())
            case "DELETE", "/control/behaviour":
                self._conduct.reset()
                await _respond(send, 200, self._conduct.behaviour.model_dump_json().encode())
            case "GET", "/control/calls":
                await _respond(send, 200, self._ledger.calls().model_dump_json().encode())
            case "DELETE", "/control/calls":
                self._ledger.zero()
                await _respond(send, 200, self._ledger.calls().model_dump_json().encode())
            case method, path:
                raise InvalidRequest(f"unknown request: {method} {path}", status=404)

    async def _complete(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        request = parse_request(body)
        digest = hashlib.blake2b(_in_one_piece(body) if request.stream else body, digest_size=16).digest()
        given, speaker = answer(request, digest)
        tools = frozenset(tool.function.name for tool in request.tools or ())
        fault = self._conduct.strike(Asked(request.model, speaker, tools))
        self._ledger.begin(digest, request.model, speaker)
        try:
            seconds = self._conduct.delay_seconds(fault)
            first, rest = (seconds * _BEFORE_WORDS, seconds * (1 - _BEFORE_WORDS)) if request.stream else (seconds, 0)
            if not await self._may_answer(first, fault, receive):
                await _cut(scope, receive)
                return
            if fault and await _refused(fault, send):
                return
            async with self._watched(receive) as left:
                await _send_answer(request, digest.hex(), given, fault, _Pace(rest, left), send)
            self._ledger.answered(digest)
        finally:
            self._ledger.end()

    async def _may_answer(self, seconds: float, fault: Fault | None, receive: Receive) -> bool:
        """Wait as long as behaviour asks for; false = the client has gone, the server stops, or a fault forbids it."""
        if seconds and not await self._still_here_after(seconds, receive):
            return False
        if fault and fault.kind == "hang":
            return await self._still_here_after(None, receive)
        return not (fault and fault.kind == "disconnect")

    async def _still_here_after(self, seconds: float | None, receive: Receive) -> bool:
        if self._stopping:
            return False
        async with self._watched(receive) as left:
            await asyncio.wait({left}, timeout=seconds)
            return not left.done()

    @asynccontextmanager
    async def _watched(self, receive: Receive) -> AsyncIterator[asyncio.Task[None]]:
        """A task that ends when the client leaves or the server stops."""
        left = asyncio.create_task(_left(receive))
        self._watching.add(left)
        try:
            yield left
        finally:
            self._watching.discard(left)
            left.cancel()


@dataclass(frozen=True)
class _Pace:
    """How a stream spreads over time."""

    seconds: float
    left: asyncio.Task[None]
    """Ends when nobody listens any more."""

    async def step(self, share: float) -> bool:
        """Wait for that share of the time; false = nobody listens any more."""
        await asyncio.wait({self.left}, timeout=self.seconds * share)
        return not self.left.done()


def _in_one_piece(body: bytes) -> bytes:
    """The same request without its wish for a stream: what is said must not hang on that."""
    request = json.loads(body)
    for name in ("stream", "stream_options"):
        request.pop(name, None)
    return json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cut(scope: Scope, receive: Receive) -> None:
    """Close the connection without a word."""
    scope["state"][ABORT]()
    await _left(receive)


async def _read(receive: Receive) -> bytes:
    event = await receive()
    body = event.get("body", b"")
    size = len(body)
    pieces = [body]
    while event.get("more_body"):
        event = await receive()
        pieces.append(event.get("body", b""))
        size += len(pieces[-1])
        if size > _MAX_BODY:
            raise InvalidRequest(f"body: more than {_MAX_BODY} bytes", status=413)
    if event["type"] == "http.disconnect":
        raise _ClientGone
    return b"".join(pieces)


def _behaviour(body: bytes) -> Behaviour:
    try:
        return Behaviour.model_validate_json(body)
    except ValidationError as error:
        raise InvalidRequest.from_validation(error) from error


async def _refused(fault: Fault, send: Send) -> bool:
    """Answer with an error when the fault is one; false = the fault lets an answer through."""
    if fault.kind == "rate_limit":
        after = 1.0 if fault.retry_after_s is None else fault.retry_after_s
        body = responses.error_body("Rate limit reached", "requests", code="rate_limit_exceeded")
        await _respond(send, 429, body, [(b"retry-after", f"{after:g}".encode())])
    elif fault.kind == "server_error":
        await _respond(send, 500, responses.error_body("The server had an error", "server_error"))
    else:
        return False
    return True


async def _send_answer(
    request: ChatRequest, identity: str, given: Answer, fault: Fault | None, pace: _Pace, send: Send
) -> None:
    if fault is not None and fault.kind == "garbage":
        await _respond(send, 200, _GARBAGE)
        return
    if fault is not None:
        given = spoil(given, fault, participant_field(request.must_call()))
    if request.stream:
        await _stream(send, responses.stream(request, identity, given), given, pace)
        return
    body = responses.completion(request, identity, given)
    await _respond(send, 200, body if fault is None else _broken(body))


def _broken(body: bytes) -> bytes:
    return body.replace(BROKEN.encode(), _BROKEN_BYTES)


async def _respond(send: Send, status: int, body: bytes, extra: Iterable[tuple[bytes, bytes]] = ()) -> None:
    headers = [_JSON, (b"content-length", b"%d" % len(body)), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _stream(send: Send, events: Iterable[bytes], given: Answer, pace: _Pace) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [_EVENTS, (b"cache-control", b"no-cache")]})
    pieces = max(len(responses.pieces(given)), 1)
    at_a_time = -(-pieces // _STEPS)
    for place, event in enumerate(events):
        await send({"type": "http.response.body", "body": _broken(event), "more_body": True})
        if place % at_a_time == 0 and place and not await pace.step(at_a_time / pieces):
            return
    await send({"type": "http.response.body", "body": b""})
