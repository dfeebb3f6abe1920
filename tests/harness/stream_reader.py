"""A reader of event streams as a browser's: it knows the last id it has seen, and resumes after it."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import httpx2


@dataclass(frozen=True)
class ReceivedEvent:
    """One received event."""

    id: int | None
    kind: str
    data: dict[str, Any]


async def parse_events(lines: AsyncIterator[str]) -> AsyncGenerator[ReceivedEvent, None]:
    """Return the events in these lines. An event without its blank line is incomplete and left out."""
    number: int | None = None
    kind, data = "", ""
    async for line in lines:
        field, _, value = line.partition(": ")
        match field:
            case "id":
                number = int(value)
            case "event":
                kind = value
            case "data":
                data = value
            case "" if data:
                yield ReceivedEvent(number, kind, json.loads(data))
                number, kind, data = None, "", ""


async def read_stream(
    client: httpx2.AsyncClient, conversation_id: str, last: int = 0, *, deltas: bool = False, after: int | None = None
) -> AsyncGenerator[ReceivedEvent, None]:
    """Read the events after `last`, until the stream ends."""
    parameters = {"deltas": str(deltas).lower()} | ({} if after is None else {"after": str(after)})
    headers = {"Last-Event-ID": str(last)} if last else {}
    path = f"/v1/conversations/{conversation_id}/events"
    async with client.stream("GET", path, params=parameters, headers=headers) as response:
        assert response.status_code == 200, (response.status_code, await response.aread())
        assert response.headers["content-type"].startswith("text/event-stream")
        async with aclosing(parse_events(response.aiter_lines())) as events:
            async for event in events:
                yield event
