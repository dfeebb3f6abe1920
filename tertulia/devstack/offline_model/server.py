"""The HTTP side of the offline model, as a plain ASGI application. It decides nothing about answers or faults."""

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
from tertulia.devstack.offline_model.call_log import CallLog
from tertulia.devstack.offline_model.faults import (
    INVALID_UTF8_MARK,
    Behaviour,
    Fault,
    FaultInjector,
    FaultTarget,
    apply_fault,
)
from tertulia.devstack.offline_model.manager import participant_field
from tertulia.devstack.offline_model.protocol import ChatRequest, InvalidRequest, parse_request

Headers = list[tuple[bytes, bytes]]


class Scope(TypedDict):
    """The part of an ASGI connection scope that the application reads."""

    type: str
    method: str
    path: str
    state: dict[str, Callable[[], None]]


class ReceivedEvent(TypedDict):
    """An event from the client."""

    type: str
    body: NotRequired[bytes]
    more_body: NotRequired[bool]


class SentEvent(TypedDict):
    """An event for the client."""

    type: Literal["http.response.start", "http.response.body"]
    status: NotRequired[int]
    headers: NotRequired[Headers]
    body: NotRequired[bytes]
    more_body: NotRequired[bool]


Receive = Callable[[], Awaitable[ReceivedEvent]]
Send = Callable[[SentEvent], Awaitable[None]]

ABORT = "abort"
"""The key in the scope's state under which the server puts the function that cuts the connection."""
_MAX_BODY = 64 * 1024 * 1024
_JSON = (b"content-type", b"application/json")
_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
_FIRST_WORD_DELAY_SHARE = 0.25
"""Share of a delay that passes before the first word of a stream; the words spread over the rest."""
_MAX_STREAM_PAUSES = 50
"""Highest number of pauses in a stream."""
_INVALID_UTF8_BYTES = b"\xff\xfe\xc3("
_GARBAGE = b"<html>upstream says: no {"


class _ClientDisconnected(Exception):
    """The client left before its request was read."""


class OfflineApp:
    """The offline model as an ASGI application."""

    def __init__(self, delay_ms: int = 0) -> None:
        self._fault_injector = FaultInjector(delay_ms)
        self._call_log = CallLog()
        self._disconnect_tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    def stop(self) -> None:
        """End every waiting request."""
        self._stopping = True
        for task in self._disconnect_tasks:
            task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            body = await _read_body(receive)
        except _ClientDisconnected:
            return
        except InvalidRequest as error:
            await _respond(send, error.status, responses.invalid_request_body(error), [(b"connection", b"close")])
            return
        try:
            await self._route(scope, body, receive, send)
        except InvalidRequest as error:
            await _respond(send, error.status, responses.invalid_request_body(error))

    async def _route(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        match scope["method"], scope["path"]:
            case "POST", "/v1/chat/completions":
                await self._complete(body, scope, receive, send)
            case "GET", "/v1/models":
                await _respond(send, 200, responses.models_body())
            case "POST", "/control/behaviour":
                self._fault_injector.set_behaviour(_parse_behaviour(body))
                await _respond(send, 200, self._fault_injector.behaviour.model_dump_json().encode())
            case "GET", "/control/behaviour":
                await _respond(send, 200, self._fault_injector.behaviour.model_dump_json().encode())
            case "DELETE", "/control/behaviour":
                self._fault_injector.reset()
                await _respond(send, 200, self._fault_injector.behaviour.model_dump_json().encode())
            case "GET", "/control/calls":
                await _respond(send, 200, self._call_log.calls().model_dump_json().encode())
            case "DELETE", "/control/calls":
                self._call_log.clear_calls()
                await _respond(send, 200, self._call_log.calls().model_dump_json().encode())
            case method, path:
                raise InvalidRequest(f"unknown request: {method} {path}", status=404)

    async def _complete(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        request = parse_request(body)
        digest = hashlib.blake2b(_without_streaming(body) if request.stream else body, digest_size=16).digest()
        reply, speaker = answer(request, digest)
        tools = frozenset(tool.function.name for tool in request.tools or ())
        fault = self._fault_injector.take_fault(FaultTarget(request.model, speaker, tools))
        self._call_log.record_start(digest, request.model, speaker)
        try:
            seconds = self._fault_injector.delay_seconds(fault)
            first, remaining = (
                (seconds * _FIRST_WORD_DELAY_SHARE, seconds * (1 - _FIRST_WORD_DELAY_SHARE))
                if request.stream
                else (seconds, 0)
            )
            if not await self._wait_before_answer(first, fault, receive):
                await _abort_connection(scope, receive)
                return
            if fault and await _send_fault_error(fault, send):
                return
            async with self._watch_disconnect(receive) as disconnected:
                await _send_answer(request, digest.hex(), reply, fault, _StreamDelay(remaining, disconnected), send)
            self._call_log.answered(digest)
        finally:
            self._call_log.record_end()

    async def _wait_before_answer(self, seconds: float, fault: Fault | None, receive: Receive) -> bool:
        """Wait as long as behaviour asks for; false = the client has gone, the server stops, or a fault forbids it."""
        if seconds and not await self._is_connected_after(seconds, receive):
            return False
        if fault and fault.kind == "hang":
            return await self._is_connected_after(None, receive)
        return not (fault and fault.kind == "disconnect")

    async def _is_connected_after(self, seconds: float | None, receive: Receive) -> bool:
        if self._stopping:
            return False
        async with self._watch_disconnect(receive) as disconnected:
            await asyncio.wait({disconnected}, timeout=seconds)
            return not disconnected.done()

    @asynccontextmanager
    async def _watch_disconnect(self, receive: Receive) -> AsyncIterator[asyncio.Task[None]]:
        """Return a task that ends when the client leaves or the server stops."""
        disconnected = asyncio.create_task(_wait_for_disconnect(receive))
        self._disconnect_tasks.add(disconnected)
        try:
            yield disconnected
        finally:
            self._disconnect_tasks.discard(disconnected)
            disconnected.cancel()


@dataclass(frozen=True)
class _StreamDelay:
    """The delays within a stream."""

    seconds: float
    disconnected: asyncio.Task[None]
    """Set when the client has left."""

    async def wait_share(self, share: float) -> bool:
        """Wait for that share of the time; false = nobody listens any more."""
        await asyncio.wait({self.disconnected}, timeout=self.seconds * share)
        return not self.disconnected.done()


def _without_streaming(body: bytes) -> bytes:
    """Return the request as if it were not streamed: the text must not depend on streaming."""
    request = json.loads(body)
    for name in ("stream", "stream_options"):
        request.pop(name, None)
    return json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _abort_connection(scope: Scope, receive: Receive) -> None:
    """Close the connection without a word."""
    scope["state"][ABORT]()
    await _wait_for_disconnect(receive)


async def _read_body(receive: Receive) -> bytes:
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
        raise _ClientDisconnected
    return b"".join(pieces)


def _parse_behaviour(body: bytes) -> Behaviour:
    try:
        return Behaviour.model_validate_json(body)
    except ValidationError as error:
        raise InvalidRequest.from_validation(error) from error


async def _send_fault_error(fault: Fault, send: Send) -> bool:
    """Send the fault's error, if it has one; return whether it was sent."""
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
    request: ChatRequest, identity: str, reply: Answer, fault: Fault | None, delay: _StreamDelay, send: Send
) -> None:
    if fault is not None and fault.kind == "garbage":
        await _respond(send, 200, _GARBAGE)
        return
    if fault is not None:
        reply = apply_fault(reply, fault, participant_field(request.required_functions()))
    if request.stream:
        await _stream(send, responses.stream(request, identity, reply), reply, delay)
        return
    body = responses.completion_body(request, identity, reply)
    await _respond(send, 200, body if fault is None else _insert_invalid_bytes(body))


def _insert_invalid_bytes(body: bytes) -> bytes:
    return body.replace(INVALID_UTF8_MARK.encode(), _INVALID_UTF8_BYTES)


async def _respond(send: Send, status: int, body: bytes, extra: Iterable[tuple[bytes, bytes]] = ()) -> None:
    headers = [_JSON, (b"content-length", b"%d" % len(body)), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _stream(send: Send, events: Iterable[bytes], reply: Answer, delay: _StreamDelay) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [_EVENTS, (b"cache-control", b"no-cache")]})
    pieces = max(len(responses.pieces(reply)), 1)
    events_per_pause = -(-pieces // _MAX_STREAM_PAUSES)
    for index, event in enumerate(events):
        await send({"type": "http.response.body", "body": _insert_invalid_bytes(event), "more_body": True})
        if index % events_per_pause == 0 and index and not await delay.wait_share(events_per_pause / pieces):
            return
    await send({"type": "http.response.body", "body": b""})
