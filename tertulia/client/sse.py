"""The API's event streams, read again and again until a conversation is closed.

Law: every event once and in order, however often the connection is cut: it is asked for what follows the last one.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from pydantic import JsonValue, TypeAdapter, ValidationError

from tertulia.client.http_connection import HttpConnection
from tertulia.client.http_errors import ApiUnavailable
from tertulia.core.errors import Unavailable
from tertulia.core.records import NO_DATABASE, ConversationEvent, Interrupted, LiveDelta, StreamEvent

REST_SECONDS = 0.5
"""How long to wait before a stream that was cut is asked for again."""
_NOTHING_FOLLOWS = 204
_DATA: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


@dataclass(frozen=True)
class Told:
    """One event, or one comment, of a stream."""

    id: int | None = None
    kind: str = ""
    data: str = ""
    comment: str = ""


class Unpacking:
    """Takes a stream apart as its pieces come.

    Only a line feed ends a line: other separators may stand in what somebody has said.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[str, str] = {}

    def feed(self, piece: bytes) -> Iterator[Told]:
        """What is whole with this piece."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for raw in lines:
            line = raw.removesuffix(b"\r").decode("utf-8", "replace")
            if line.startswith(":"):
                yield Told(comment=line.removeprefix(":").strip())
            elif line:
                name, _, value = line.partition(":")
                self._fields[name] = value.removeprefix(" ")
            else:
                fields, self._fields = self._fields, {}
                if "data" in fields:
                    number = fields.get("id", "")
                    yield Told(
                        id=int(number) if number.isdecimal() else None,
                        kind=fields.get("event", "message"),
                        data=fields["data"],
                    )


async def read_event_stream(
    connection: HttpConnection, path: str, after: int, *, deltas: bool
) -> AsyncGenerator[StreamEvent, None]:
    """Every event after `after`, as it happens, until the one that tells that the conversation is closed.

    An API that is away is told of once, and asked again until it is back.

    Raises:
        NotFound: there is no such conversation.
        Unauthorized: the key was revoked.
    """
    reading = _Reading(connection, path, after, deltas=deltas)
    while True:
        try:
            async with aclosing(reading.read()) as occurrences:
                async for occurrence in occurrences:
                    yield occurrence
        except Unavailable as error:
            if not reading.interrupted:
                yield Interrupted(error.reason if isinstance(error, ApiUnavailable) else str(error))
            reading.interrupted = True
        if reading.is_over:
            return
        await asyncio.sleep(REST_SECONDS)


class _Reading:
    """How far one reader has got."""

    def __init__(self, connection: HttpConnection, path: str, after: int, *, deltas: bool) -> None:
        self.is_over = False
        self.interrupted = False
        self._connection = connection
        self._path = path
        self._after = after
        self._deltas = "true" if deltas else "false"

    async def read(self) -> AsyncGenerator[StreamEvent, None]:
        """One stream, until it ends or is cut."""
        headers = {"Last-Event-ID": str(self._after)}
        async with self._connection.stream(self._path, headers, deltas=self._deltas) as response:
            self.interrupted = False
            self.is_over = response.status_code == _NOTHING_FOLLOWS
            unpacking = Unpacking()
            async for piece in response.aiter_bytes():
                for told in unpacking.feed(piece):
                    occurrence = self._occurrence(told)
                    if occurrence is not None:
                        yield occurrence

    def _occurrence(self, told: Told) -> StreamEvent | None:
        if told.comment:
            return Interrupted() if told.comment.startswith(NO_DATABASE) else None
        if told.id is not None and told.id <= self._after:
            return None
        occurrence = _occurrence(told)
        if told.id is not None:
            self._after = told.id
        if isinstance(occurrence, ConversationEvent):
            self.is_over = self.is_over or occurrence.is_end
        return occurrence


def _occurrence(told: Told) -> StreamEvent | None:
    """What was told; None for what only a newer version understands."""
    try:
        if told.id is None:
            return LiveDelta.model_validate_json(told.data) if told.kind == "delta" else None
        data = _DATA.validate_json(told.data)
        values = {"number": told.id, "kind": told.kind, "created_at": data.get("created_at"), "data": data}
        return ConversationEvent.model_validate(values)
    except ValidationError:
        return None
