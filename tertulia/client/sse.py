"""Read the API's event stream, reconnecting until the conversation is closed.

Invariant: every event once and in order, however often the connection is cut: each request resumes after the last one.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from pydantic import JsonValue, TypeAdapter, ValidationError

from tertulia.client.http_connection import HttpConnection
from tertulia.core.errors import ApiUnavailable, Unavailable
from tertulia.core.records import (
    INTERRUPTED_EVENT,
    NO_DATABASE,
    ConversationEvent,
    EventKind,
    Interrupted,
    LiveDelta,
    StreamEvent,
)

RECONNECT_SECONDS = 0.5
"""Delay before a stream that was cut is requested again."""
_NO_CONTENT_STATUS = 204
_KINDS_WITH_OWN_TIME: tuple[EventKind, ...] = ("message", "membership")
"""Kinds of events whose data has a `created_at`."""
_DATA: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


@dataclass(frozen=True)
class ServerSentEvent:
    """One event or comment of a stream."""

    id: int | None = None
    kind: str = ""
    data: str = ""
    comment: str = ""


class ServerSentEventDecoder:
    """Decode a stream as its chunks arrive.

    Only a line feed ends a line: a message may contain the other separators of Unicode.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self._fields: dict[str, str] = {}

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        """Yield the events that are complete with this chunk."""
        *lines, self._buffer = (self._buffer + chunk).split(b"\n")
        for raw in lines:
            line = raw.removesuffix(b"\r").decode("utf-8", "replace")
            if line.startswith(":"):
                yield ServerSentEvent(comment=line.removeprefix(":").strip())
            elif line:
                name, _, value = line.partition(":")
                self._fields[name] = value.removeprefix(" ")
            else:
                fields, self._fields = self._fields, {}
                if "data" in fields:
                    number = fields.get("id", "")
                    yield ServerSentEvent(
                        id=int(number) if number.isdecimal() else None,
                        kind=fields.get("event", "message"),
                        data=fields["data"],
                    )


async def read_event_stream(
    connection: HttpConnection, path: str, after: int, *, deltas: bool
) -> AsyncGenerator[StreamEvent, None]:
    """Yield every event after `after`, once and in order, until the event that closes the conversation.

    An API that does not answer yields one `Interrupted`; the stream is requested again until it answers.

    Raises:
        NotFound: no such conversation.
        Unauthorized: the key was revoked.
    """
    reader = _EventReader(connection, path, after, deltas=deltas)
    while True:
        try:
            async with aclosing(reader.read()) as events:
                async for event in events:
                    yield event
        except Unavailable as error:
            if not reader.interrupted:
                yield Interrupted(error.reason if isinstance(error, ApiUnavailable) else str(error))
            reader.interrupted = True
        if reader.is_finished:
            return
        await asyncio.sleep(RECONNECT_SECONDS)


class _EventReader:
    """The progress of one reader."""

    def __init__(self, connection: HttpConnection, path: str, after: int, *, deltas: bool) -> None:
        self.is_finished = False
        self.interrupted = False
        self._connection = connection
        self._path = path
        self._after = after
        self._deltas = "true" if deltas else "false"

    async def read(self) -> AsyncGenerator[StreamEvent, None]:
        """Read one stream until it ends or is cut."""
        headers = {"Last-Event-ID": str(self._after)}
        async with self._connection.stream(self._path, headers, deltas=self._deltas) as response:
            self.interrupted = False
            self.is_finished = response.status_code == _NO_CONTENT_STATUS
            decoder = ServerSentEventDecoder()
            async for chunk in response.aiter_bytes():
                for sse_event in decoder.feed(chunk):
                    event = self._decode(sse_event)
                    if event is not None:
                        yield event

    def _decode(self, sse_event: ServerSentEvent) -> StreamEvent | None:
        if sse_event.comment:
            return None
        if sse_event.id is not None and sse_event.id <= self._after:
            return None
        event = _decode(sse_event)
        if sse_event.id is not None:
            self._after = sse_event.id
        if isinstance(event, ConversationEvent):
            self.is_finished = self.is_finished or event.is_end
        return event


def _decode(sse_event: ServerSentEvent) -> StreamEvent | None:
    """Return the event; None for a kind that this version does not know."""
    try:
        data = _DATA.validate_json(sse_event.data)
        if sse_event.id is None:
            return _decode_transient(sse_event.kind, data)
        created_at = data.get("created_at")
        if sse_event.kind not in _KINDS_WITH_OWN_TIME:
            # The stream adds the event's time to data that has none.
            data.pop("created_at", None)
        values = {"number": sse_event.id, "kind": sse_event.kind, "created_at": created_at, "data": data}
        return ConversationEvent.model_validate(values)
    except ValidationError:
        return None


def _decode_transient(kind: str, data: dict[str, JsonValue]) -> StreamEvent | None:
    if kind == INTERRUPTED_EVENT:
        return Interrupted(str(data.get("reason") or NO_DATABASE))
    return LiveDelta.model_validate(data) if kind == "delta" else None
