"""The HTTP connection: every failure is one clear error, and no event is lost or repeated."""

import asyncio
import json
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.api.events import encode
from tertulia.client import sse
from tertulia.client.http_backend import HttpBackend
from tertulia.client.http_connection import HttpConnection, parse_api_url
from tertulia.client.http_errors import error_from_response
from tertulia.client.sse import ServerSentEventDecoder, read_event_stream
from tertulia.core.commands import Pause, with_command_id
from tertulia.core.errors import (
    ApiUnavailable,
    CommandRefused,
    ConfigurationError,
    Conflict,
    ConversationClosed,
    Forbidden,
    InvalidDefinition,
    NotFound,
    PayloadUnreadable,
    Unauthorized,
    Unavailable,
    WrongAddress,
)
from tertulia.core.records import ConversationEvent, Interrupted, LiveDelta, StreamEvent

URL = "http://api.example"
SECRET = "tertulia_never-in-messages"


def error_for(status: int, detail: str, kind: str = "", *, with_key: bool = True) -> Exception:
    body = json.dumps({"detail": detail, "type": kind}).encode()
    retry_after = "1" if status == 503 else None
    return error_from_response(URL, "/v1/conversations/c", status, body, with_key=with_key, retry_after=retry_after)


@pytest.mark.parametrize(
    ("status", "detail", "kind", "error", "words"),
    [
        (400, "name: an agent has one", "InvalidDefinition", InvalidDefinition, "name: an agent has one"),
        (400, "Empty group: nobody", "CommandRefused", CommandRefused, "Empty group: nobody"),
        (400, "what is this", "SomethingNewer", CommandRefused, "what is this"),
        (403, "this needs a key with the scope 'post'", "Forbidden", Forbidden, "TERTULIA_API_KEY: this needs a key"),
        (404, "no such group: 'g'", "NotFound", NotFound, "no such group: 'g'"),
        (
            404,
            "Not Found",
            "RouteNotFound",
            WrongAddress,
            "TERTULIA_URL: http://api.example has no /v1/conversations/c",
        ),
        (409, "someone else was first", "Conflict", Conflict, "someone else was first"),
        (409, "it is closed", "ConversationClosed", ConversationClosed, "it is closed"),
        (413, "the body is longer", "BodyTooLarge", CommandRefused, "TERTULIA_MAX_BODY_BYTES of the API at http://api"),
        (422, "body.agent: Field required", "InvalidRequest", InvalidDefinition, "agent: Field required"),
        (
            429,
            "too many; wait 3 s",
            "TooManyRequests",
            Unavailable,
            "the API at http://api.example: too many; wait 3 s",
        ),
        (500, "a fault", "Fault", Unavailable, "the API at http://api.example answered 500: a fault"),
        (503, "no worker", "Unavailable", Unavailable, "http://api.example: no worker; try again in 1 s"),
        (503, "no key", "PayloadUnreadable", PayloadUnreadable, "no key"),
    ],
)
def test_refusal_maps_to_error_with_remedy(
    status: int, detail: str, kind: str, error: type[Exception], words: str
) -> None:
    found = error_for(status, detail, kind)
    assert type(found) is error and words in str(found)


def test_field_problems_name_their_fields() -> None:
    errors = [{"loc": ["body", "agent", 0], "msg": "is required", "type": "missing"}, {"loc": ["query"], "msg": "bad"}]
    body = json.dumps({"detail": "body.agent.0: is required", "type": "InvalidRequest", "errors": errors}).encode()
    found = error_from_response(URL, "/v1/agents/", 422, body, with_key=True)
    assert type(found) is InvalidDefinition and str(found) == "agent.0: is required; bad"


async def test_certificate_error_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = ssl.SSLCertVerificationError(1, "certificate verify failed")
    refused.verify_message = "self-signed certificate"

    async def request(*_: object, **__: object) -> None:
        raise httpx2.ConnectError("connection failed") from refused

    monkeypatch.setattr(httpx2.AsyncClient, "request", request)
    async with HttpConnection.open("https://api.example") as connection:
        with pytest.raises(ApiUnavailable, match="no valid certificate: self-signed certificate"):
            await HttpBackend(connection).agents.count()


def test_missing_key_differs_from_wrong_key() -> None:
    missing, wrong = error_for(401, "", with_key=False), error_for(401, "")
    assert isinstance(missing, Unauthorized) and "TERTULIA_API_KEY is not set" in str(missing)
    assert isinstance(wrong, Unauthorized) and "does not accept this key" in str(wrong)


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (502, ApiUnavailable, "a proxy in front of it answered 502"),
        (302, WrongAddress, "redirects (302)"),
        (404, WrongAddress, "is not Tertulia's API"),
    ],
)
def test_foreign_response_maps_to_error(status: int, error: type[Exception], words: str) -> None:
    found = error_from_response(URL, "/v1/", status, b"<html>what?</html>", with_key=True)
    assert type(found) is error and words in str(found) and URL in str(found)


@pytest.mark.parametrize("url", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"])
def test_api_address_forms_are_equal(url: str) -> None:
    assert parse_api_url(url) == "http://h:1"
    assert parse_api_url("https://h/behind/") == "https://h/behind"
    assert parse_api_url("http://[::1]:8230") == "http://[::1]:8230"


@pytest.mark.parametrize(
    "url", ["h:1", "ftp://h", "http://", "http://h:x", "http://h:99999", "http://h:", "http://h?x"]
)
def test_invalid_api_address_names_variable(url: str) -> None:
    with pytest.raises(ConfigurationError, match="TERTULIA_URL"):
        parse_api_url(url)


async def test_key_is_never_in_errors() -> None:
    for address, key in (
        (f"http://me:{SECRET}@h", None),
        (URL, f"{SECRET} and more"),
        (URL, f"{SECRET}ä"),
    ):
        with pytest.raises(ConfigurationError) as refused:
            async with HttpConnection.open(address, key):
                pass
        assert SECRET not in str(refused.value) and "TERTULIA_API_KEY" in str(refused.value)


def test_http_cli_loads_no_server_packages() -> None:
    script = """
import sys
import tertulia.starter.cli.follow, tertulia.starter.cli.tables
from tertulia.starter.cli.app import run
for command in (["list"], ["watch", "c"], ["apply", "examples/dynamic.yaml"], ["keys", "list"], ["stop", "c"]):
    assert run(command) == 1
print(*{name.split('.')[0] for name in sys.modules})
"""
    environment = {**os.environ, "TERTULIA_URL": "http://127.0.0.1:1", "TERTULIA_API_KEY": SECRET}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.count("the API at http://127.0.0.1:1 does not answer") == done.stderr.count("\n") == 5
    assert SECRET not in done.stderr
    heavy = {"temporalio", "sqlalchemy", "psycopg", "store", "workflows", "openai", "fastapi", "alembic"}
    assert not set(done.stdout.split()) & heavy


TRICKY_TEXT = "two\u2028lines\u2029of\x85text, \r and ☕"


def make_event(number: int, **data: Any) -> ConversationEvent:
    created_at = "2026-01-01T00:00:00Z"
    kind, own_time = ("phase", {}) if "phase" in data else ("message", {"created_at": created_at})
    values = {"text": f"{number} {TRICKY_TEXT}", **own_time, **data}
    return ConversationEvent.model_validate({"number": number, "kind": kind, "created_at": created_at, "data": values})


EVENTS = [make_event(1), make_event(2), make_event(3, phase="ready"), make_event(4), make_event(5, phase="closed")]
DELTA = LiveDelta(turn=1, attempt=1, offset=0, text=TRICKY_TEXT)


@given(st.lists(st.integers(0, 2_000), max_size=30))
def test_sse_parser_accepts_any_chunking(cuts: list[int]) -> None:
    events: list[StreamEvent] = [EVENTS[0], DELTA, *EVENTS[1:]]
    whole = b"retry: 1000\n\n: still here\n\n" + b"".join(map(encode, events))
    places = sorted({0, *(cut % len(whole) for cut in cuts), len(whole)})
    decoder = ServerSentEventDecoder()
    found = [one for begin, end in pairwise(places) for one in decoder.feed(whole[begin:end]) if not one.comment]
    assert [one.id for one in found] == [1, None, 2, 3, 4, 5]
    assert [json.loads(one.data)["text"] for one in found][:2] == [f"1 {TRICKY_TEXT}", TRICKY_TEXT]


@dataclass
class CuttingServer:
    """A server that sends `EVENTS` and cuts each connection after a given number of bytes."""

    cuts: list[int]
    """Bytes after which each connection is cut, in order; further connections are not cut."""
    outages: int = 0
    """Reports of an outage at the start of each stream."""
    cursors: list[int] = field(default_factory=list)
    """The `Last-Event-ID` of each connection."""
    status: str = "200 OK"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        after = int(head.partition("last-event-id: ")[2].split()[0])
        self.cursors.append(after)
        writer.write(f"HTTP/1.1 {self.status}\r\nconnection: close\r\n\r\n".encode())
        left = [one for one in EVENTS if one.number > after]
        # The first event is always sent again: the reader must recognise it by its number.
        body = encode(Interrupted()) * self.outages + encode(DELTA) + b"".join(map(encode, EVENTS[:1] + left))
        if len(self.cursors) <= len(self.cuts):
            body = body[: self.cuts[len(self.cursors) - 1] % len(body)]
        writer.write(body)
        await writer.drain()
        if len(self.cursors) % 2:
            writer.transport.abort()
        writer.close()


@asynccontextmanager
async def connect_to(server: CuttingServer, port: int = 0) -> AsyncIterator[HttpConnection]:
    """Context manager: a connection to the running server."""
    async with await asyncio.start_server(server.answer, "127.0.0.1", port) as listening:
        address = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with HttpConnection.open(address) as connection:
            yield connection


async def collect_events(connection: HttpConnection, after: int = 0) -> list[StreamEvent]:
    async with aclosing(read_event_stream(connection, "/conversations/c/events", after, deltas=True)) as events:
        return [one async for one in events]


@pytest.mark.parametrize("first", range(0, 1_500, 150))
async def test_reader_resumes_after_every_cut(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "RECONNECT_SECONDS", 0.01)
    server = CuttingServer([first + step * 37 for step in range(12)])
    async with asyncio.timeout(60), connect_to(server) as connection:
        found = await collect_events(connection)
    assert [one for one in found if isinstance(one, ConversationEvent)] == EVENTS
    assert server.cursors == sorted(server.cursors) and server.cursors[-1] > 0


async def test_outage_of_the_source_is_reported() -> None:
    async with asyncio.timeout(30), connect_to(CuttingServer([], outages=1)) as connection:
        found = await collect_events(connection)
    assert found[0] == Interrupted() and found[2:] == EVENTS


async def test_unavailable_api_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "RECONNECT_SECONDS", 0.05)
    server = CuttingServer([])
    async with connect_to(server) as connection:
        port = int(connection.url.rpartition(":")[2])
    async with HttpConnection.open(connection.url) as again:
        reading = asyncio.create_task(collect_events(again))
        await asyncio.sleep(0.5)
        assert not reading.done()
        async with asyncio.timeout(30), connect_to(server, port):
            found = await reading
    assert found[0] == Interrupted(f"the API at {connection.url} does not answer")
    assert [one for one in found[1:] if not isinstance(one, LiveDelta)] == EVENTS


async def test_finished_conversation_is_not_awaited() -> None:
    async with asyncio.timeout(30), connect_to(CuttingServer([0], status="204 No Content")) as connection:
        assert await collect_events(connection, after=5) == []


async def test_refusal_ends_the_stream() -> None:
    async with asyncio.timeout(30), connect_to(CuttingServer([0], status="404 Not Found")) as connection:
        with pytest.raises(WrongAddress):
            await collect_events(connection)


async def test_unanswered_command_names_its_id() -> None:
    async with HttpConnection.open("http://127.0.0.1:9") as connection:
        command = with_command_id(Pause(), "knock")
        with pytest.raises(Unavailable, match="same id, --id knock: it counts once"):
            await HttpBackend(connection).conversations.send("talk", command)
