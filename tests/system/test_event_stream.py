"""The event stream over HTTP: everything once and in order to everybody who may read it, and nobody waited for."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2
import pytest
from fastapi import FastAPI

from tertulia.api import sse
from tertulia.api.__main__ import ApiServer
from tertulia.api.app import create_app
from tertulia.configuration import Configuration
from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tertulia.store.keys import revoke_key
from tests.eventually import eventually
from tests.system.api import bearer, make_key, new_organisation
from tests.system.stream_reader import Received, read_stream
from tests.workflows.salon import Salon, open_salon


@dataclass
class House:
    """The API as a server in this process, beside a worker."""

    app: FastAPI
    server: ApiServer
    port: int
    salon: Salon
    serving: asyncio.Task[None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, secret: str) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.url, headers=bearer(secret), timeout=60)

    async def reader(self) -> httpx2.AsyncClient:
        """A client with a key of its own that may read."""
        return self.client((await make_key(self.salon.client.scope.database, "read")).secret)

    async def open_streams(self) -> int:
        total: int = self.app.state.streams.total
        return total

    async def connections(self) -> int:
        """How many the server holds."""
        return len(self.server.server_state.connections)


@asynccontextmanager
async def serving(configuration: Configuration, salon: Salon) -> AsyncIterator[House]:
    """A running server."""
    app = create_app(configuration)
    server = ApiServer(app)
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(server.serve([listener]))
    try:

        async def started() -> bool:
            assert not task.done(), task
            return server.started

        await eventually(started, bool)
        yield House(app, server, listener.getsockname()[1], salon, task)
    finally:
        server.terminate()
        await task


@pytest.fixture
async def house(stack: Stack, model: OfflineModelControl) -> AsyncIterator[House]:
    async with open_salon(stack, model) as salon, serving(stack.configuration, salon) as running:
        yield running


async def talk(house: House, *, turns: int = 4, close: bool = True) -> str:
    """Start a conversation of two; its id."""
    manager = {"manager_type": "round_robin", "max_turns": turns}
    group = await house.salon.group("Ana", "Ben", manager=manager)
    return (await house.salon.client.conversations.create(group, "Shall we?", close_after_round=close)).id


async def all_of(client: httpx2.AsyncClient, conversation_id: str, last: int = 0) -> list[Received]:
    return [event async for event in read_stream(client, conversation_id, last)]


async def test_a_conversation_is_followed_from_its_first_event_to_its_end(house: House) -> None:
    conversation = await talk(house)
    await house.salon.until(conversation, lambda status: status.messages >= 1)
    async with await house.reader() as client:
        told = await all_of(client, conversation)
        assert [event.id for event in told] == list(range(1, len(told) + 1))
        said = [event for event in told if event.kind == "message"]
        transcript = await house.salon.transcript(conversation)
        assert [(one.data["seq"], one.data["text"], one.data["sender"]) for one in said] == [
            (message.seq, message.text, message.sender) for message in transcript
        ]
        assert told[-1].kind == "phase" and told[-1].data["phase"] == "closed"
        chosen = [event.data for event in told if event.kind == "speaker_chosen"]
        assert [one["turn"] for one in chosen] == [1, 2, 3, 4]
        assert all(one["reason"] for one in chosen)
        assert all("created_at" in event.data for event in told)

        again = await all_of(client, conversation, last=told[3].id or 0)
        assert again == told[4:], "a reader that comes back goes on where it stopped"
        url = f"/v1/conversations/{conversation}/events"
        seen = await client.get(url, headers={"Last-Event-ID": str(told[-1].id)})
        assert (seen.status_code, seen.content) == (204, b""), "nothing follows, and a browser does not ask again"
        beyond = await client.get(url, params={"after": 10_000})
        assert beyond.status_code == 400 and "no event 10000" in beyond.json()["detail"]
        assert (await client.get(url, headers={"Last-Event-ID": "x"})).status_code == 422


async def test_words_arrive_before_the_message_and_have_no_id(house: House) -> None:
    await house.salon.model.behave(delay_ms=1_500)
    conversation = await talk(house, turns=3)
    await house.salon.until(conversation, lambda status: status.messages >= 1)
    async with await house.reader() as client:
        told = [event async for event in read_stream(client, conversation, deltas=True)]
    spoken = {event.data["turn"]: event.data["text"] for event in told if event.kind == "message"}
    words = [event for event in told if event.kind == "delta"]
    assert words and all(event.id is None for event in words)
    for turn in {event.data["turn"] for event in words}:
        heard = "".join(event.data["text"] for event in words if event.data["turn"] == turn)
        assert spoken[turn].startswith(heard)
    for place, event in enumerate(told):
        if event.kind == "delta":
            before = [one for one in told[:place] if one.kind in ("message", "turn_started")]
            assert before[-1].kind == "turn_started" and before[-1].data["turn"] == event.data["turn"]


async def test_two_readers_are_told_at_once_what_happens_while_they_wait(house: House) -> None:
    conversation = await talk(house, close=False)
    await house.salon.until_idle(conversation)
    async with await house.reader() as client:
        reading = [asyncio.create_task(all_of(client, conversation)) for _ in range(2)]
        await eventually(house.open_streams, lambda count: count == 2)
        await house.salon.client.conversations.handle(conversation).post("Go on.")
        await house.salon.until_idle(conversation, rounds=2)
        await house.salon.client.conversations.handle(conversation).stop()
        one, two = await asyncio.gather(*reading)
    assert one == two
    assert [event.id for event in one] == list(range(1, len(one) + 1))
    assert [message.text for message in await house.salon.transcript(conversation)] == [
        event.data["text"] for event in one if event.kind == "message"
    ]
    await eventually(house.open_streams, lambda count: count == 0)


async def test_another_organisations_conversation_is_not_there(house: House) -> None:
    conversation = await talk(house)
    await house.salon.until(conversation, lambda status: status.messages >= 1)
    database = house.salon.client.scope.database
    stranger = await make_key(database, "admin", organisation=await new_organisation(database))
    url = f"/v1/conversations/{conversation}/events"
    async with house.client(stranger.secret) as client:
        foreign, unknown = await client.get(url), await client.get("/v1/conversations/nowhere/events")
        assert foreign.status_code == unknown.status_code == 404
        assert foreign.json()["detail"].replace(conversation, "nowhere") == unknown.json()["detail"]
        assert (await client.get(url, headers={"Authorization": ""})).status_code == 401


async def test_a_silent_stream_tells_that_it_lives(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.1)
    conversation = await talk(house, close=False)
    await house.salon.until_idle(conversation)
    async with (
        await house.reader() as client,
        client.stream("GET", f"/v1/conversations/{conversation}/events") as response,
    ):
        lines = await until_line(response, ": still here")
    assert "retry: 1000" in lines


async def until_line(response: httpx2.Response, last: str) -> list[str]:
    seen: list[str] = []
    async for line in response.aiter_lines():
        seen.append(line)
        if line == last:
            break
    return seen


async def test_a_reader_that_does_not_read_is_dropped_and_others_are_not_held_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "SEND_TIMEOUT_SECONDS", 1.0)
    conversation = await talk(house, turns=1, close=False)
    await house.salon.until_idle(conversation)
    key = await make_key(house.salon.client.scope.database, "read")
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    slow.connect(("127.0.0.1", house.port))
    slow.sendall(
        f"GET /v1/conversations/{conversation}/events HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {key.secret}\r\n\r\n".encode()
    )
    with slow:
        await eventually(house.open_streams, lambda count: count == 1)
        async with await house.reader() as client:
            reading = asyncio.create_task(all_of(client, conversation))
            await eventually(house.open_streams, lambda count: count == 2)
            words = "x" * 15_000
            for _ in range(1_000):
                await house.salon.client.conversations.handle(conversation).post(words)
                if await house.open_streams() == 1:
                    break
            await eventually(house.open_streams, lambda count: count == 1)
            await eventually(house.connections, lambda count: count == 1)
            await house.salon.client.conversations.handle(conversation).stop()
            told = await reading
        assert [event.id for event in told] == list(range(1, len(told) + 1))
        received = await asyncio.to_thread(rest_of, slow)
        assert received < sum(len(event.data.get("text", "")) for event in told), "what was not read is forgotten"


def rest_of(connection: socket.socket) -> int:
    """How many bytes still come; the connection has to end."""
    connection.settimeout(20)
    size = 0
    try:
        while part := connection.recv(65_536):
            size += len(part)
    except ConnectionResetError:
        pass
    return size


async def test_a_key_has_only_so_many_streams(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "STREAMS_PER_KEY", 1)
    conversation = await talk(house, close=False)
    await house.salon.until_idle(conversation)
    url = f"/v1/conversations/{conversation}/events"
    async with await house.reader() as client:
        async with client.stream("GET", url) as first:
            assert first.status_code == 200
            refused = await client.get(url)
            assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 0
            async with await house.reader() as other, other.stream("GET", url) as second:
                assert second.status_code == 200
        await eventually(house.open_streams, lambda count: count == 0)
        async with client.stream("GET", url) as third:
            assert third.status_code == 200


async def test_a_revoked_keys_streams_end(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "RECHECK_SECONDS", 0.1)
    conversation = await talk(house, close=False)
    await house.salon.until_idle(conversation)
    database = house.salon.client.scope.database
    key = await make_key(database, "read")
    async with house.client(key.secret) as client:
        reading = asyncio.create_task(all_of(client, conversation))
        await eventually(house.open_streams, lambda count: count == 1)
        await asyncio.sleep(0.5)
        assert not reading.done()
        await revoke_key(database, key.key.organisation_id, key.key.id)
        assert (await asyncio.wait_for(reading, 20))[-1].kind == "phase"


async def test_streams_end_in_good_order_when_the_server_stops(house: House) -> None:
    conversation = await talk(house, close=False)
    await house.salon.until_idle(conversation)
    async with await house.reader() as client:
        reading = asyncio.create_task(all_of(client, conversation))
        await eventually(house.open_streams, lambda count: count == 1)
        house.server.terminate()
        told = await asyncio.wait_for(reading, 5)
        assert [event.id for event in told] == list(range(1, len(told) + 1))
        await asyncio.wait_for(asyncio.shield(house.serving), 5)
