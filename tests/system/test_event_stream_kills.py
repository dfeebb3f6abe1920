"""A reader that is cut repeatedly while worker and API are killed gets every event exactly once."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field

import httpx2
import pytest

from tertulia.client.manifest import AgentSpec, GroupSpec, Manifest
from tertulia.devstack.stack import Stack
from tertulia.testing import DirectClient, eventually, open_stack
from tests.harness.api_server import bearer, make_key
from tests.harness.stream_reader import ReceivedEvent, read_stream

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

TURNS = 60
CUTS = 10
EVENTS_A_STREAM = 8
GROUP = "A long evening"


@pytest.fixture(scope="module")
async def stack_with_api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack with worker and API as processes."""

    data = tmp_path_factory.mktemp("stack") / "data"
    async with open_stack(data, workers=1, with_api=True) as running:
        yield running


def definitions() -> Manifest:
    agents = tuple(AgentSpec.model_validate({"name": name}) for name in ("Velma", "Tomas", "Rosa"))
    manager = {"manager_type": "round_robin", "max_turns": TURNS}
    group = {"name": GROUP, "agents": ["Velma", "Tomas", "Rosa"], "manager_config": manager}
    return Manifest(agents=agents, groups=(GroupSpec.model_validate(group),))


@dataclass
class ReconnectingReader:
    """An event reader that disconnects by itself `CUTS` times and continues after the last event it has received."""

    client: httpx2.AsyncClient
    conversation: str
    received: list[ReceivedEvent] = field(default_factory=list)
    cuts: int = 0
    """Disconnections by the reader itself."""
    broken: int = 0
    """Disconnections from outside."""

    async def read(self) -> None:
        """Read until the conversation is closed."""
        while not self._is_over():
            remaining = EVENTS_A_STREAM if self.cuts < CUTS else 10_000
            last = self.received[-1].id if self.received else 0
            stream = read_stream(self.client, self.conversation, last or 0)
            try:
                async with aclosing(stream):
                    async for event in stream:
                        self.received.append(event)
                        remaining -= 1
                        if not remaining:
                            self.cuts += 1
                            break
            except (httpx2.HTTPError, AssertionError):
                self.broken += 1
                await asyncio.sleep(0.2)

    def _is_over(self) -> bool:
        return bool(self.received) and self.received[-1].data.get("phase") == "closed"


async def kill_alternately(stack: Stack, reading: asyncio.Task[None]) -> int:
    """Send SIGKILL to worker and API alternately while the reader runs; return how often."""
    moments, kills = random.Random(3), 0
    while not reading.done() and kills < 6:
        await asyncio.sleep(1 + moments.random() * 1.5)
        if not reading.done():
            await stack.kill(("worker-1", "api")[kills % 2])
            kills += 1
    return kills


async def test_reader_sees_events_once_despite_kills(stack_with_api: Stack) -> None:
    stack = stack_with_api
    assert stack.addresses.api_url
    await stack.model.set_behaviour(delay_ms=100)
    async with DirectClient.open(stack.configuration) as client:
        await client.apply(definitions())
        key = await make_key(client.scope.database, "read")
        conversation = (
            await client.conversations.create(GROUP, "What shall we do on Sunday?", close_after_round=True)
        ).id
        await eventually(
            lambda: client.conversations.handle(conversation).status(live=True), lambda status: status.messages >= 1
        )
        async with httpx2.AsyncClient(
            base_url=stack.addresses.api_url, headers=bearer(key.secret), timeout=60
        ) as readers_client:
            reader = ReconnectingReader(readers_client, conversation)
            reading = asyncio.create_task(reader.read())
            kills = await kill_alternately(stack, reading)
            await asyncio.wait_for(reading, 240)
        transcript = [message async for message in client.conversations.handle(conversation).transcript()]
    ids = [event.id for event in reader.received]
    print(f"{len(ids)} events, {reader.cuts} cuts, {reader.broken} broken streams, {kills} kills")
    assert ids == list(range(1, len(ids) + 1)), "each exactly once, in order"
    assert [(event.data["seq"], event.data["text"]) for event in reader.received if event.kind == "message"] == [
        (message.seq, message.text) for message in transcript
    ]
    assert [event.data["turn"] for event in reader.received if event.kind == "turn_started"] == list(
        range(1, TURNS + 1)
    )
    assert reader.cuts == CUTS and reader.broken > 0 and kills >= 4
