"""The HTTP side: a plain ASGI application, one body in and one answer out. It decides nothing about words or faults."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal, NotRequired, TypedDict

from pydantic import ValidationError

from devstack.offline_model import rendering
from devstack.offline_model.answers import Answer, answer
from devstack.offline_model.faults import BROKEN, Asked, Behaviour, Conduct, Fault, spoil
from devstack.offline_model.ledger import Ledger
from devstack.offline_model.manager import participant_field
from devstack.offline_model.protocol import ChatRequest, InvalidRequest, parse_request

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
            await _respond(send, error.status, rendering.invalid(error), [(b"connection", b"close")])
            return
        try:
            await self._route(scope, body, receive, send)
        except InvalidRequest as error:
            await _respond(send, error.status, rendering.invalid(error))

    async def _route(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        match scope["method"], scope["path"]:
            case "POST", "/v1/chat/completions":
                await self._complete(body, scope, receive, send)
            case "GET", "/v1/models":
                await _respond(send, 200, rendering.models())
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
        digest = hashlib.blake2b(body, digest_size=16).digest()
        given, speaker = answer(request, digest)
        tools = frozenset(tool.function.name for tool in request.tools or ())
        fault = self._conduct.strike(Asked(request.model, speaker, tools))
        self._ledger.begin(digest, request.model, speaker)
        try:
            if not await self._may_answer(fault, receive):
                await _cut(scope, receive)
                return
            if fault and await _refused(fault, send):
                return
            await _send_answer(request, digest.hex(), given, fault, send)
            self._ledger.answered(digest)
        finally:
            self._ledger.end()

    async def _may_answer(self, fault: Fault | None, receive: Receive) -> bool:
        """Wait as long as behaviour asks for; false = the client has gone, the server stops, or a fault forbids it."""
        seconds = self._conduct.delay_seconds(fault)
        if seconds and not await self._still_here_after(seconds, receive):
            return False
        if fault and fault.kind == "hang":
            return await self._still_here_after(None, receive)
        return not (fault and fault.kind == "disconnect")

    async def _still_here_after(self, seconds: float | None, receive: Receive) -> bool:
        if self._stopping:
            return False
        watch = asyncio.create_task(_left(receive))
        self._watching.add(watch)
        try:
            await asyncio.wait({watch}, timeout=seconds)
            return not watch.done()
        finally:
            self._watching.discard(watch)
            watch.cancel()


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
        body = rendering.error_body("Rate limit reached", "requests", code="rate_limit_exceeded")
        await _respond(send, 429, body, [(b"retry-after", f"{after:g}".encode())])
    elif fault.kind == "server_error":
        await _respond(send, 500, rendering.error_body("The server had an error", "server_error"))
    else:
        return False
    return True


async def _send_answer(request: ChatRequest, identity: str, given: Answer, fault: Fault | None, send: Send) -> None:
    if fault is not None and fault.kind == "garbage":
        await _respond(send, 200, _GARBAGE)
        return
    if fault is not None:
        given = spoil(given, fault, participant_field(request.must_call()))
    if request.stream:
        await _stream(send, rendering.stream(request, identity, given))
        return
    body = rendering.completion(request, identity, given)
    await _respond(send, 200, body if fault is None else _broken(body))


def _broken(body: bytes) -> bytes:
    return body.replace(BROKEN.encode(), _BROKEN_BYTES)


async def _respond(send: Send, status: int, body: bytes, extra: Iterable[tuple[bytes, bytes]] = ()) -> None:
    headers = [_JSON, (b"content-length", b"%d" % len(body)), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _stream(send: Send, events: Iterable[bytes]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [_EVENTS, (b"cache-control", b"no-cache")]})
    for event in events:
        await send({"type": "http.response.body", "body": _broken(event), "more_body": True})
    await send({"type": "http.response.body", "body": b""})
