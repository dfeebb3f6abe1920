"""The event stream over HTTP: every event once and in order, and slow or forbidden readers are disconnected."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast, get_args

import httpx2
import pytest
from fastapi import FastAPI

from tertulia.api import sse
from tertulia.api.__main__ import ApiServer
from tertulia.api.app import create_app
from tertulia.api.event_shapes import EVENT_DATA
from tertulia.api.events import encode
from tertulia.configuration import Configuration
from tertulia.core.records import INTERRUPTED_EVENT, EventKind, Interrupted
from tertulia.devstack.offline_model import Fault, OfflineModelControl
from tertulia.devstack.stack import Stack
from tertulia.store.keys import revoke_key
from tertulia.testing import WorkflowHarness, eventually, open_workflow_harness
from tests.harness.api_server import bearer, make_key, new_organisation
from tests.harness.stream_reader import ReceivedEvent, read_stream


@dataclass
class ApiServerHarness:
    """The API as a server in this process, with a worker."""

    app: FastAPI
    server: ApiServer
    port: int
    harness: WorkflowHarness
    serve_api: asyncio.Task[None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, secret: str) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.url, headers=bearer(secret), timeout=60)

    async def reader(self) -> httpx2.AsyncClient:
        """Return a client with a new key that can only read."""
        return self.client((await make_key(self.harness.client.scope.database, "read")).secret)

    async def open_streams(self) -> int:
        total: int = self.app.state.streams.total
        return total

    async def connections(self) -> int:
        """Count the server's open connections."""
        return len(self.server.server_state.connections)


@asynccontextmanager
async def serve_api(configuration: Configuration, harness: WorkflowHarness) -> AsyncIterator[ApiServerHarness]:
    """Context manager: serve the API on a free port."""
    app = create_app(configuration)
    server = ApiServer(app)
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(server.serve([listener]))
    try:

        async def started() -> bool:
            assert not task.done(), task
            return server.started

        await eventually(started, bool)
        yield ApiServerHarness(app, server, listener.getsockname()[1], harness, task)
    finally:
        server.terminate()
        await task


@pytest.fixture
async def api_server(stack: Stack, model: OfflineModelControl) -> AsyncIterator[ApiServerHarness]:
    async with open_workflow_harness(stack) as harness, serve_api(stack.configuration, harness) as running:
        yield running


async def start_conversation(api_server: ApiServerHarness, *, turns: int = 4, close: bool = True) -> str:
    """Start a conversation with two members; return its id."""
    manager = {"manager_type": "round_robin", "max_turns": turns}
    group = await api_server.harness.group("Ana", "Ben", manager=manager)
    return (await api_server.harness.client.conversations.create(group, "Shall we?", close_after_round=close)).id


async def read_all(client: httpx2.AsyncClient, conversation_id: str, last: int = 0) -> list[ReceivedEvent]:
    return [event async for event in read_stream(client, conversation_id, last)]


async def test_stream_from_first_event_to_end(api_server: ApiServerHarness) -> None:
    conversation = await start_conversation(api_server)
    await api_server.harness.wait_until(conversation, lambda status: status.messages >= 1)
    async with await api_server.reader() as client:
        received_events = await read_all(client, conversation)
        assert [event.id for event in received_events] == list(range(1, len(received_events) + 1))
        messages = [event for event in received_events if event.kind == "message"]
        transcript = await api_server.harness.transcript(conversation)
        assert [(one.data["seq"], one.data["text"], one.data["sender"]) for one in messages] == [
            (message.seq, message.text, message.sender) for message in transcript
        ]
        assert received_events[-1].kind == "phase" and received_events[-1].data["phase"] == "closed"
        chosen = [event.data for event in received_events if event.kind == "speaker_chosen"]
        assert [one["turn"] for one in chosen] == [1, 2, 3, 4]
        assert all(one["reason"] for one in chosen)
        assert all("created_at" in event.data for event in received_events)

        again = await read_all(client, conversation, last=received_events[3].id or 0)
        assert again == received_events[4:], "a reader that reconnects continues after its last event"
        url = f"/v1/conversations/{conversation}/events"
        seen = await client.get(url, headers={"Last-Event-ID": str(received_events[-1].id)})
        assert (seen.status_code, seen.content) == (204, b""), (
            "no event follows; after 204 a browser does not reconnect"
        )
        beyond = await client.get(url, params={"after": 10_000})
        assert beyond.status_code == 400 and "no event 10000" in beyond.json()["detail"]
        assert (await client.get(url, headers={"Last-Event-ID": "x"})).status_code == 422


async def test_deltas_precede_message_without_id(api_server: ApiServerHarness) -> None:
    await api_server.harness.model.set_behaviour(delay_ms=1_500)
    conversation = await start_conversation(api_server, turns=3)
    await api_server.harness.wait_until(conversation, lambda status: status.messages >= 1)
    async with await api_server.reader() as client:
        received_events = await read_with_deltas(client, conversation)
    text_by_turn = {event.data["turn"]: event.data["text"] for event in received_events if event.kind == "message"}
    deltas = [event for event in received_events if event.kind == "delta"]
    assert deltas and all(event.id is None for event in deltas)
    for turn in {event.data["turn"] for event in deltas}:
        preview = "".join(event.data["text"] for event in deltas if event.data["turn"] == turn)
        assert text_by_turn[turn].startswith(preview)
    for place, event in enumerate(received_events):
        if event.kind == "delta":
            before = [one for one in received_events[:place] if one.kind in ("message", "turn_started")]
            assert before[-1].kind == "turn_started" and before[-1].data["turn"] == event.data["turn"]


def assert_documented(event: ReceivedEvent) -> None:
    """Check that the data of an event has exactly the documented fields, apart from optional ones."""
    shape = EVENT_DATA[cast(EventKind, event.kind)]
    shape.model_validate(event.data)
    assert event.data.keys() <= shape.model_fields.keys(), event
    required = {name for name, field in shape.model_fields.items() if field.is_required()}
    assert required <= event.data.keys(), event


async def test_events_have_documented_fields(api_server: ApiServerHarness) -> None:
    assert set(EVENT_DATA) == {*get_args(EventKind), "delta", INTERRUPTED_EVENT}
    harness = api_server.harness
    await harness.model.set_behaviour(delay_ms=700)
    manager = {"manager_type": "round_robin", "max_turns": 3}
    group = await harness.group("Ana", "Ben", manager=manager, model_attempts=1, on_failure=["skip"])
    await harness.agents("Cleo")
    conversation = harness.handle((await harness.client.conversations.create(group, "Shall we?")).id)
    await conversation.members.add(harness.name("Cleo"))
    async with await api_server.reader() as client:
        reading = asyncio.create_task(read_with_deltas(client, conversation.id))
        await harness.wait_until_idle(conversation.id)
        await harness.model.set_behaviour(Fault(kind="server_error"))
        await conversation.post("And now?")
        await harness.wait_until(conversation.id, lambda status: status.turn >= 4)
        await conversation.stop()
        events = await asyncio.wait_for(reading, 30)
    for event in events:
        assert_documented(event)
    kinds = {"message", "turn_started", "speaker_chosen", "turn_failed", "membership", "phase", "delta"}
    assert {event.kind for event in events} >= kinds


def test_interruption_has_documented_fields() -> None:
    comment, event, data, *end = encode(Interrupted()).decode().split("\n")
    # Clients of the previous version recognise the start of the comment.
    assert comment.startswith(": the database does not answer")
    assert event == f"event: {INTERRUPTED_EVENT}" and end == ["", ""]
    assert_documented(ReceivedEvent(None, INTERRUPTED_EVENT, json.loads(data.removeprefix("data: "))))


async def read_with_deltas(client: httpx2.AsyncClient, conversation_id: str) -> list[ReceivedEvent]:
    return [event async for event in read_stream(client, conversation_id, deltas=True)]


async def test_two_readers_receive_events_at_once(api_server: ApiServerHarness) -> None:
    conversation = await start_conversation(api_server, close=False)
    await api_server.harness.wait_until_idle(conversation)
    async with await api_server.reader() as client:
        reading = [asyncio.create_task(read_all(client, conversation)) for _ in range(2)]
        await eventually(api_server.open_streams, lambda count: count == 2)
        await api_server.harness.client.conversations.handle(conversation).post("Go on.")
        await api_server.harness.wait_until_idle(conversation, rounds=2)
        await api_server.harness.client.conversations.handle(conversation).stop()
        one, two = await asyncio.gather(*reading)
    assert one == two
    assert [event.id for event in one] == list(range(1, len(one) + 1))
    assert [message.text for message in await api_server.harness.transcript(conversation)] == [
        event.data["text"] for event in one if event.kind == "message"
    ]
    await eventually(api_server.open_streams, lambda count: count == 0)


async def test_events_of_other_organisation_are_hidden(api_server: ApiServerHarness) -> None:
    conversation = await start_conversation(api_server)
    await api_server.harness.wait_until(conversation, lambda status: status.messages >= 1)
    database = api_server.harness.client.scope.database
    foreign_key = await make_key(database, "admin", organisation=await new_organisation(database))
    url = f"/v1/conversations/{conversation}/events"
    async with api_server.client(foreign_key.secret) as client:
        foreign, unknown = await client.get(url), await client.get("/v1/conversations/nowhere/events")
        assert foreign.status_code == unknown.status_code == 404
        assert foreign.json()["detail"].replace(conversation, "nowhere") == unknown.json()["detail"]
        assert (await client.get(url, headers={"Authorization": ""})).status_code == 401


async def test_idle_stream_sends_heartbeats(api_server: ApiServerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.1)
    conversation = await start_conversation(api_server, close=False)
    await api_server.harness.wait_until_idle(conversation)
    async with (
        await api_server.reader() as client,
        client.stream("GET", f"/v1/conversations/{conversation}/events") as response,
    ):
        lines = await read_until_line(response, ": still here")
    assert "retry: 1000" in lines


async def read_until_line(response: httpx2.Response, last: str) -> list[str]:
    seen: list[str] = []
    async for line in response.aiter_lines():
        seen.append(line)
        if line == last:
            break
    return seen


async def test_slow_reader_is_dropped(api_server: ApiServerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "SEND_TIMEOUT_SECONDS", 1.0)
    conversation = await start_conversation(api_server, turns=1, close=False)
    await api_server.harness.wait_until_idle(conversation)
    key = await make_key(api_server.harness.client.scope.database, "read")
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    slow.connect(("127.0.0.1", api_server.port))
    slow.sendall(
        f"GET /v1/conversations/{conversation}/events HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {key.secret}\r\n\r\n".encode()
    )
    with slow:
        await eventually(api_server.open_streams, lambda count: count == 1)
        async with await api_server.reader() as client:
            reading = asyncio.create_task(read_all(client, conversation))
            await eventually(api_server.open_streams, lambda count: count == 2)
            text = "x" * 15_000
            for _ in range(1_000):
                await api_server.harness.client.conversations.handle(conversation).post(text)
                if await api_server.open_streams() == 1:
                    break
            await eventually(api_server.open_streams, lambda count: count == 1)
            await eventually(api_server.connections, lambda count: count == 1)
            await api_server.harness.client.conversations.handle(conversation).stop()
            received_events = await reading
        assert [event.id for event in received_events] == list(range(1, len(received_events) + 1))
        received = await asyncio.to_thread(drain, slow)
        sent = sum(len(event.data.get("text", "")) for event in received_events)
        assert received < sent, "the unread part was dropped"


def drain(connection: socket.socket) -> int:
    """Return the number of bytes until the connection ends."""
    connection.settimeout(20)
    size = 0
    try:
        while part := connection.recv(65_536):
            size += len(part)
    except ConnectionResetError:
        pass
    return size


async def test_streams_per_key_are_limited(api_server: ApiServerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "STREAMS_PER_KEY", 1)
    conversation = await start_conversation(api_server, close=False)
    await api_server.harness.wait_until_idle(conversation)
    url = f"/v1/conversations/{conversation}/events"
    async with await api_server.reader() as client:
        async with client.stream("GET", url) as first:
            assert first.status_code == 200
            refused = await client.get(url)
            assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 0
            async with await api_server.reader() as other, other.stream("GET", url) as second:
                assert second.status_code == 200
        await eventually(api_server.open_streams, lambda count: count == 0)
        async with client.stream("GET", url) as third:
            assert third.status_code == 200


async def test_revoked_key_ends_its_streams(api_server: ApiServerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "RECHECK_SECONDS", 0.1)
    conversation = await start_conversation(api_server, close=False)
    await api_server.harness.wait_until_idle(conversation)
    database = api_server.harness.client.scope.database
    key = await make_key(database, "read")
    async with api_server.client(key.secret) as client:
        reading = asyncio.create_task(read_all(client, conversation))
        await eventually(api_server.open_streams, lambda count: count == 1)
        await asyncio.sleep(0.5)
        assert not reading.done()
        await revoke_key(database, key.key.organisation_id, key.key.id)
        assert (await asyncio.wait_for(reading, 20))[-1].kind == "phase"


async def test_server_stop_ends_streams(api_server: ApiServerHarness) -> None:
    conversation = await start_conversation(api_server, close=False)
    await api_server.harness.wait_until_idle(conversation)
    async with await api_server.reader() as client:
        reading = asyncio.create_task(read_all(client, conversation))
        await eventually(api_server.open_streams, lambda count: count == 1)
        api_server.server.terminate()
        received_events = await asyncio.wait_for(reading, 5)
        assert [event.id for event in received_events] == list(range(1, len(received_events) + 1))
        await asyncio.wait_for(asyncio.shield(api_server.serve_api), 5)
