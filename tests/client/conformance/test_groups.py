"""`Tertulia.groups` on every backend."""

import pytest

from tertulia import (
    CommandRefused,
    Conflict,
    DynamicConfig,
    GroupSettings,
    InvalidDefinition,
    NotFound,
    RoundRobinConfig,
)
from tests.client.conformance.conftest import Pair, new_id


async def test_create_group_with_every_field(pair: Pair) -> None:
    ana, ben, cleo, manager = await pair.agents("Ana", "Ben", "Cleo", "Manager")
    block, group_id = await pair.client.blocks.create(label="rules", value="Be brief."), new_id("table")
    created = await pair.client.groups.create(
        id=group_id,
        name="Der lange Tisch ☕",
        description="Ein Café.\nZweite Zeile.",
        agent_ids=[ana.id, ben.id],
        standby=[{"agent_id": cleo.id, "stands_in_for": ben.id}],
        manager_config={"manager_type": "dynamic", "manager_agent_id": manager.id, "max_turns": 7},
        settings={"context_tokens": 4000},
        shared_block_ids=[block.id],
        metadata={"k": {"ü": None}},
    )
    assert created == await pair.same(lambda client: client.groups.retrieve(group_id))
    assert created.group.metadata == {"k": {"ü": None}}
    assert isinstance(created.group.manager_config, DynamicConfig) and created.group.manager_config.max_turns == 7
    assert created.group.settings.context_tokens == 4000
    assert (created.group.revision, created.default_conversation_id) == (1, None)


async def test_create_group_with_defaults(pair: Pair) -> None:
    created = await pair.client.groups.create()
    assert created == await pair.same(lambda client: client.groups.retrieve(created.group.id))
    assert created.group.name.startswith("Group ") and created.group.agent_ids == ()
    assert created.group.manager_config == RoundRobinConfig() and created.group.settings == GroupSettings()


async def test_invalid_groups_are_refused_alike(pair: Pair) -> None:
    (ana,) = await pair.agents("Ana")
    cases: list[tuple[type[Exception], dict[str, object]]] = [
        (InvalidDefinition, {"name": "a:b"}),
        (InvalidDefinition, {"agent_ids": [ana.id, ana.id]}),
        (InvalidDefinition, {"manager_config": {"manager_type": "swarm"}}),
        (InvalidDefinition, {"settings": {"unknown": 1}}),
        (InvalidDefinition, {"standby": [{"agent_id": ana.id, "stands_in_for": "nobody"}]}),
        (
            InvalidDefinition,
            {"agent_ids": [ana.id], "manager_config": {"manager_type": "dynamic", "manager_agent_id": ana.id}},
        ),
        (NotFound, {"agent_ids": ["nobody"]}),
        (NotFound, {"shared_block_ids": ["nothing"]}),
    ]
    for kind, fields in cases:
        error = await pair.same_error(lambda client, fields=fields: client.groups.create(**{"name": "G", **fields}))  # type: ignore[misc]
        assert type(error) is kind, fields
    group_id = new_id("g")
    await pair.client.groups.create(id=group_id, name="G")
    assert isinstance(await pair.same_error(lambda client: client.groups.create(id=group_id, name="H")), Conflict)
    assert isinstance(await pair.same_error(lambda client: client.groups.create(name="g")), Conflict)
    assert await pair.same(lambda client: client.groups.count()) == 1


async def test_update_group(pair: Pair) -> None:
    group = (await pair.group("Ana", "Ben")).group
    (cleo,) = await pair.agents("Cleo")
    updated = await pair.client.groups.update(
        group.id,
        name="Other",
        description="d",
        agent_ids=[cleo.id, group.agent_ids[0]],
        standby=[{"agent_id": group.agent_ids[1]}],
        manager_config={"max_turns": 3},
        settings={"context_tokens": 5000},
        metadata={"a": None},
        expected_revision=group.revision,
    )
    assert updated == await pair.same(lambda client: client.groups.retrieve(group.id))
    assert (updated.group.name, updated.group.agent_ids) == ("Other", (cleo.id, group.agent_ids[0]))
    assert updated.group.manager_config.max_turns == 3 and updated.group.metadata == {"a": None}
    cleared = await pair.client.groups.update(group.id, settings=None, manager_config=None, standby=None, metadata=None)
    assert cleared == await pair.same(lambda client: client.groups.retrieve(group.id))
    assert (cleared.group.settings, cleared.group.manager_config) == (GroupSettings(), RoundRobinConfig())
    assert (cleared.group.standby, cleared.group.metadata) == ((), {})


async def test_invalid_group_updates_are_refused_alike(pair: Pair) -> None:
    group = (await pair.group("Ana", "Ben")).group
    await pair.client.groups.create(name="Taken")
    cases: list[tuple[type[Exception], dict[str, object]]] = [
        (Conflict, {"description": "x", "expected_revision": 99}),
        (Conflict, {"name": "taken"}),
        (InvalidDefinition, {"name": None}),
        (InvalidDefinition, {"settings": {"context_tokens": "many"}}),
        (InvalidDefinition, {"manager_config": {"manager_type": "dynamic"}}),
        (InvalidDefinition, {"nonsense": 1}),
        (NotFound, {"agent_ids": ["nobody"]}),
    ]
    for kind, fields in cases:
        error = await pair.same_error(lambda client, fields=fields: client.groups.update(group.id, **fields))  # type: ignore[misc]
        assert type(error) is kind, fields
    assert (await pair.same(lambda client: client.groups.retrieve(group.id))).group == group


async def test_find_and_list_groups(pair: Pair) -> None:
    (manager,) = await pair.agents("Manager")
    first = await pair.client.groups.create(name="Eins / ü")
    config = DynamicConfig(manager_agent_id=manager.id)
    second = await pair.client.groups.create(name="Zwei", manager_config=config)
    assert await pair.same(lambda client: client.groups.find("eins / Ü")) == first
    assert await pair.same(lambda client: client.groups.find(second.group.id)) == second
    assert isinstance(await pair.same_error(lambda client: client.groups.find("Drei")), NotFound)
    assert await pair.same(lambda client: client.groups.list()) == [first, second]
    assert await pair.same(lambda client: client.groups.list(order="desc", limit=1)) == [second]
    assert await pair.same(lambda client: client.groups.list(manager_type="dynamic")) == [second]
    assert await pair.same(lambda client: client.groups.list(name="EINS / ü")) == [first]


@pytest.mark.parametrize("conversations", ["close", "detach"])
async def test_delete_group(pair: Pair, conversations: str) -> None:
    talk = await pair.start("Ana")
    group_id = (await talk.retrieve()).group_id
    await pair.client.groups.delete(group_id, conversations=conversations)  # type: ignore[arg-type]
    assert isinstance(await pair.same_error(lambda client: client.groups.retrieve(group_id)), NotFound)
    assert isinstance(await pair.same_error(lambda client: client.groups.delete(group_id)), NotFound)
    if conversations == "close":
        async for _ in talk.events():
            pass
    phase = (await pair.same(lambda client: client.conversations.handle(talk.id).retrieve())).phase
    assert phase == ("closed" if conversations == "close" else "ready")
    first, *_ = [message async for message in talk.transcript()]
    assert first.text == "Shall we begin?"


async def test_attach_and_detach_group_block(pair: Pair) -> None:
    group = await pair.client.groups.create(name="Table")
    block = await pair.client.blocks.create(label="b")
    attached = await pair.client.groups.attach_block(group.group.id, block.id)
    assert attached == await pair.same(lambda client: client.groups.attach_block(group.group.id, block.id))
    assert attached.group.shared_block_ids == (block.id,)
    missing = await pair.same_error(lambda client: client.groups.attach_block(group.group.id, "nothing"))
    detached = await pair.client.groups.detach_block(group.group.id, block.id)
    assert detached.group.shared_block_ids == ()
    again = await pair.same_error(lambda client: client.groups.detach_block(group.group.id, block.id))
    assert isinstance(missing, NotFound) and isinstance(again, NotFound)


async def test_post_to_group_and_reset(pair: Pair) -> None:
    group_id = (await pair.group("Ana")).group.id
    talk = await pair.client.groups.post(group_id, "Hello ü.", sender="Zoë", message_id="once")
    assert (await pair.other.groups.post(group_id, "Hello ü.", sender="Zoë", message_id="once")).id == talk.id
    await talk.wait_for_round(timeout_seconds=30)
    assert (await pair.other.groups.post(group_id, "And?")).id == talk.id
    await talk.wait_for_round(timeout_seconds=30)
    texts = [one.text async for one in talk.transcript() if one.role == "user"]
    assert texts == ["Hello ü.", "And?"]
    stored = await pair.same(lambda client: client.groups.retrieve(group_id))
    assert stored.default_conversation_id == talk.id
    await pair.client.groups.reset(group_id)
    assert (await pair.client.groups.post(group_id, "Again.")).id != talk.id


async def test_refused_messages_to_groups(pair: Pair) -> None:
    empty = (await pair.client.groups.create(name="Empty")).group.id
    assert type(await pair.same_error(lambda client: client.groups.post(empty, "Hello."))) is CommandRefused
    assert type(await pair.same_error(lambda client: client.groups.post("nobody", "Hello."))) is NotFound
    assert type(await pair.same_error(lambda client: client.groups.reset("nobody"))) is NotFound
    await pair.same_error(lambda client: client.groups.post(empty, ""))
