"""One suite for every backend of `Tertulia`: each test runs once per backend, against the same running servers.

Fixtures of the suite:
    servers: Temporal, Postgres, a worker in this process and the API as a process of its own; once per session.
    pair: an organisation of its own with two clients: `pair.client` over the backend under test and `pair.other` over
        another backend. Tests write through `client` and compare what both return.

Another backend takes part with one more entry in `BACKENDS`.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import TypeVar

import pytest
from temporalio.client import Client

from tertulia import Configuration, Conversation, StoredAgent, StoredGroup, Tertulia, TertuliaError
from tertulia.core.ids import OrganisationId
from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tertulia.store.database import Database
from tertulia.temporal.plugin import TertuliaClientPlugin
from tertulia.worker import run_workers
from tests.harness.api_server import make_key, new_organisation, start_api_process

T = TypeVar("T")


def new_id(prefix: str) -> str:
    """Return an id that no other test uses: ids are unique across organisations."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True)
class Servers:
    """The running servers of the suite."""

    configuration: Configuration
    database: Database
    api_url: str


def _connect_direct(servers: Servers, organisation: OrganisationId, _: str) -> AbstractAsyncContextManager[Tertulia]:
    return Tertulia.connect(servers.configuration, organisation=organisation)


def _connect_http(servers: Servers, _: OrganisationId, key: str) -> AbstractAsyncContextManager[Tertulia]:
    return Tertulia.connect_http(servers.api_url, key)


Connect = Callable[[Servers, OrganisationId, str], AbstractAsyncContextManager[Tertulia]]
BACKENDS: Mapping[str, Connect] = {"direct": _connect_direct, "http": _connect_http}
"""Access to each backend: the servers, the organisation's id, an admin key of the organisation."""


@dataclass(frozen=True)
class Pair:
    """Two clients of one organisation, over different backends."""

    client: Tertulia
    other: Tertulia
    organisation: OrganisationId

    async def same(self, read: Callable[[Tertulia], Awaitable[T]]) -> T:
        """Return what `read` returns, which must be equal for both clients."""
        value = await read(self.client)
        assert value == await read(self.other)
        return value

    async def same_error(
        self, call: Callable[[Tertulia], Awaitable[object]], *, same_text: bool = True
    ) -> TertuliaError:
        """Return the error that `call` raises, which must be equal for both clients: class, code and text.

        Args:
            call: a call that must fail.
            same_text: also compare the text; False for an id that has no path in the REST API.
        """
        errors = []
        for client in (self.client, self.other):
            with pytest.raises(TertuliaError) as caught:
                await call(client)
            errors.append(caught.value)
        error, other = errors
        assert (type(error), error.code) == (type(other), other.code)
        if same_text:
            assert str(error) == str(other)
        return error

    async def agents(self, *names: str) -> list[StoredAgent]:
        """Create agents with these names."""
        return [await self.client.agents.create(name=name, instructions=f"You are {name}.") for name in names]

    async def group(self, *names: str, **settings: object) -> StoredGroup:
        """Create agents with these names, and a group of them in which one round has one turn of each."""
        agent_ids = [agent.id for agent in await self.agents(*names)]
        return await self.client.groups.create(name="Table", agent_ids=agent_ids, settings=settings)

    async def start(self, *names: str, message: str = "Shall we begin?") -> Conversation:
        """Start a conversation of a new group and wait for the end of its first round."""
        group = await self.group(*names)
        conversation = await self.client.conversations.create(group.group.id, message)
        await conversation.wait_for_round(timeout_seconds=30)
        return conversation


@pytest.fixture(scope="session")
async def servers(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    """The servers of the suite, on a task queue of their own."""
    variables = {"TERTULIA_TASK_QUEUE": f"conformance-{uuid.uuid4().hex[:8]}", "TERTULIA_REQUESTS_PER_MINUTE": "0"}
    variables |= {"TERTULIA_GRACEFUL_SHUTDOWN_SECONDS": "1"}
    configuration = Configuration.from_environment({**stack.environment, **variables})
    plugin = TertuliaClientPlugin(configuration.encryption_keys)
    temporal = await Client.connect(**configuration.temporal_connect_config(), plugins=[plugin])
    log = tmp_path_factory.mktemp("api") / "api.log"
    async with (
        Database(configuration.database_url) as database,
        run_workers(temporal, configuration),
        start_api_process(stack, log, **variables) as api,
    ):
        yield Servers(configuration, database, api.url)


@pytest.fixture(params=list(BACKENDS))
async def pair(request: pytest.FixtureRequest, servers: Servers, model: OfflineModelControl) -> AsyncIterator[Pair]:
    """Two clients of a new organisation; the first one is over the backend under test."""
    organisation = await new_organisation(servers.database)
    key = (await make_key(servers.database, "admin", organisation=organisation)).secret
    other = next(name for name in BACKENDS if name != request.param)
    async with AsyncExitStack() as clients:
        opened = [
            await clients.enter_async_context(BACKENDS[name](servers, organisation, key))
            for name in (request.param, other)
        ]
        yield Pair(opened[0], opened[1], organisation)
