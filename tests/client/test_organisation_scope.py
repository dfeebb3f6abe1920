"""A direct client of one organisation reads and changes nothing of another one; operators reach all."""

import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from temporalio.client import Client

from tertulia import (
    Configuration,
    ConfigurationError,
    IdTaken,
    InvalidDefinition,
    NotFound,
    Operator,
    Tertulia,
    Unavailable,
)
from tertulia.devstack.stack import Stack
from tertulia.temporal.plugin import TertuliaClientPlugin
from tests.client.conformance.conftest import Pair, Servers, new_id, pair, servers

__all__ = ["pair", "servers"]


@pytest.fixture
async def stranger(servers: Servers) -> AsyncIterator[Tertulia]:
    """A direct client of another organisation than the pair's."""
    async with Tertulia.connect_operator(servers.configuration) as operator:
        yield await operator.organisation((await operator.organisations.create(new_id("org"))).id)


async def test_lists_hold_own_rows_only(pair: Pair, stranger: Tertulia) -> None:
    talk = await pair.start("Ana")
    await pair.client.blocks.create(label="b")
    for resource in (stranger.agents, stranger.blocks, stranger.groups, stranger.conversations, stranger.keys):
        assert await resource.list() == [] and await resource.count() == 0
    for find in (stranger.agents.find("Ana"), stranger.groups.find("Table"), stranger.conversations.find(talk.id[:8])):
        with pytest.raises(NotFound):
            await find


async def test_foreign_rows_are_not_found(pair: Pair, stranger: Tertulia) -> None:
    talk = await pair.start("Ana", "Ben")
    row = await talk.retrieve()
    group = (await pair.client.groups.retrieve(row.group_id)).group
    agent_id = group.agent_ids[0]
    block = await pair.client.blocks.create(label="b")
    key = (await pair.client.keys.list())[0]
    foreign = stranger.conversations.handle(talk.id)
    own_agent = (await stranger.agents.create(name="Zoë")).id
    own_group = (await stranger.groups.create(name="Own", agent_ids=[own_agent])).group.id

    async def first_event() -> None:
        async for _ in foreign.events():
            break

    calls: list[Callable[[], Any]] = [
        lambda: stranger.agents.retrieve(agent_id),
        lambda: stranger.agents.update(agent_id, name="x"),
        lambda: stranger.agents.delete(agent_id),
        lambda: stranger.agents.delete(agent_id, force=True),
        lambda: stranger.agents.attach_block(own_agent, block.id),
        lambda: stranger.agents.create(block_ids=[block.id]),
        lambda: stranger.blocks.retrieve(block.id),
        lambda: stranger.blocks.update(block.id, value="x"),
        lambda: stranger.blocks.delete(block.id),
        lambda: stranger.groups.retrieve(group.id),
        lambda: stranger.groups.update(group.id, name="x"),
        lambda: stranger.groups.delete(group.id),
        lambda: stranger.groups.attach_block(own_group, block.id),
        lambda: stranger.groups.create(agent_ids=[agent_id]),
        lambda: stranger.groups.post(group.id, "Hello."),
        lambda: stranger.groups.reset(group.id),
        lambda: stranger.conversations.create(group.id, "Hello."),
        lambda: stranger.conversations.create("Table", "Hello."),
        lambda: stranger.conversations.retrieve(talk.id),
        lambda: stranger.conversations.delete(talk.id),
        lambda: foreign.status(),
        lambda: foreign.status(live=True),
        lambda: foreign.status_at(),
        lambda: foreign.recent_turns(),
        lambda: foreign.event_cursor(last=0),
        lambda: foreign.wait_for_round(),
        lambda: foreign.fork(),
        lambda: foreign.post("Hello."),
        lambda: foreign.stop(),
        lambda: foreign.members.list(),
        lambda: foreign.members.changes(),
        lambda: foreign.members.add("Zoë"),
        lambda: anext(foreign.transcript()),
        lambda: anext(foreign.turns()),
        first_event,
        lambda: stranger.keys.retrieve(key.id),
        lambda: stranger.keys.update(key.id, name="x"),
        lambda: stranger.keys.delete(key.id),
    ]
    for number, call in enumerate(calls):
        with pytest.raises(NotFound):
            await call()
            pytest.fail(f"call {number} reached another organisation")
    assert await talk.retrieve() == row
    assert (await pair.client.groups.retrieve(group.id)).group == group
    with pytest.raises(NotFound):
        await pair.client.conversations.handle(talk.id).members.add("Zoë")


async def test_foreign_conversation_id_is_taken(pair: Pair, stranger: Tertulia) -> None:
    talk = await pair.start("Ana")
    agent = await stranger.agents.create(name="Zoë")
    group = await stranger.groups.create(name="Own", agent_ids=[agent.id])
    with pytest.raises(IdTaken):
        await stranger.conversations.create(group.group.id, "Hello.", id=talk.id)
    assert (await talk.status()).round == 1


async def test_unknown_organisation_is_refused(servers: Servers) -> None:
    with pytest.raises(NotFound):
        async with Tertulia.connect(servers.configuration, organisation="nobody"):
            pass


async def test_operator_manages_organisations(servers: Servers) -> None:
    async with Tertulia.connect_operator(servers.configuration) as operator:
        assert isinstance(operator, Operator)
        created = await operator.organisations.create(new_id("org"), name="Café ü")
        assert await operator.organisations.retrieve(created.id) == created
        assert created in await operator.organisations.list()
        with pytest.raises(InvalidDefinition):
            await operator.organisations.create(created.id)
        with pytest.raises(InvalidDefinition):
            await operator.organisations.create("no blanks")
        for read in (operator.organisations.retrieve, operator.organisation):
            with pytest.raises(NotFound):
                await read("nobody")
        tenant, default = await operator.organisation(created.id), await operator.organisation("default")
        await tenant.agents.create(name="Ana")
        assert await tenant.agents.count() == 1
        assert created.id not in [key.organisation_id for key in await default.keys.list()]


async def test_connect_with_own_temporal_client(servers: Servers, stack: Stack) -> None:
    connect_config = servers.configuration.temporal_connect_config()
    plugin = TertuliaClientPlugin(servers.configuration.encryption_keys)
    temporal = await Client.connect(**connect_config, plugins=[plugin])
    suffix = uuid.uuid4().hex[:8]
    async with Tertulia.connect(servers.configuration, temporal_client=temporal) as client:
        agent = await client.agents.create(name=f"Ana-{suffix}")
        group = await client.groups.create(name=f"Table-{suffix}", agent_ids=[agent.id])
        talk = await client.conversations.create(group.group.id, "Hello.")
        assert (await talk.wait_for_round(timeout_seconds=30)).turn == 1
    assert await temporal.service_client.check_health()


async def test_connect_refuses_other_data_converter(servers: Servers) -> None:
    plain = await Client.connect(**servers.configuration.temporal_connect_config())
    with pytest.raises(ConfigurationError):
        async with Tertulia.connect(servers.configuration, temporal_client=plain):
            pass


async def test_database_errors_are_translated(servers: Servers, stack: Stack) -> None:
    url = servers.configuration.database_url.replace("/tertulia?", "/nowhere?")
    configuration = Configuration.from_environment({**stack.environment, "DATABASE_URL": url})
    async with Tertulia.connect(configuration, is_lazy=True) as client:
        for call in (client.agents.count, client.conversations.list, lambda: client.blocks.retrieve("b")):
            with pytest.raises(Unavailable):
                await call()
