"""`Tertulia.blocks` on every backend."""

import asyncio

import pytest

from tertulia import Conflict, InvalidDefinition, NotFound
from tests.client.conformance.conftest import Pair


async def test_create_block(pair: Pair) -> None:
    value = "  two\nlines \u2028 ☕ e\u0301  "
    created = await pair.client.blocks.create(
        label="Notizen", value=value, description="für alle", limit=30, metadata={"a": [None, 1]}
    )
    assert created == await pair.same(lambda client: client.blocks.retrieve(created.id))
    assert (created.label, created.value, created.limit, created.version) == ("Notizen", value, 30, 1)


@pytest.mark.parametrize(
    "fields",
    [{"label": ""}, {"label": "a:b"}, {"label": "a", "limit": 0}, {"label": "a", "value": "long", "limit": 3}],
)
async def test_invalid_block_is_refused_alike(pair: Pair, fields: dict[str, object]) -> None:
    error = await pair.same_error(lambda client: client.blocks.create(**fields))  # type: ignore[arg-type]
    assert isinstance(error, InvalidDefinition)
    assert await pair.same(lambda client: client.blocks.count()) == 0


async def test_update_block(pair: Pair) -> None:
    block = await pair.client.blocks.create(label="a", value="one", limit=20)
    appended = await pair.client.blocks.update(block.id, append=" two ", expected_version=1)
    assert (appended.value, appended.version) == ("one two ", 2)
    changed = await pair.client.blocks.update(block.id, label="b", description="d", metadata={"k": "ü"}, limit=10)
    assert changed == await pair.same(lambda client: client.blocks.retrieve(block.id))
    assert (changed.label, changed.description, changed.limit, changed.version) == ("b", "d", 10, 2)
    unchanged = await pair.client.blocks.update(block.id, value=None)
    assert unchanged.value == "one two "
    long = await pair.same_error(lambda client: client.blocks.update(block.id, append="x" * 10))
    both = await pair.same_error(lambda client: client.blocks.update(block.id, value="x", append="y"))
    assert isinstance(long, InvalidDefinition) and isinstance(both, InvalidDefinition)


async def test_block_version_must_match(pair: Pair) -> None:
    block = await pair.client.blocks.create(label="a", value="one")
    await pair.other.blocks.update(block.id, value="two")
    error = await pair.same_error(lambda client: client.blocks.update(block.id, value="x", expected_version=1))
    assert isinstance(error, Conflict)


async def test_concurrent_appends_are_all_kept(pair: Pair) -> None:
    block = await pair.client.blocks.create(label="a")
    clients = (pair.client, pair.other) * 5
    await asyncio.gather(*(client.blocks.update(block.id, append="x") for client in clients))
    assert (await pair.same(lambda client: client.blocks.retrieve(block.id))).value == "x" * 10


async def test_list_blocks_with_filters(pair: Pair) -> None:
    for label, value, description in (("human", "Ana", ""), ("persona", "ana ü", "who"), ("rules", "50%", "_")):
        await pair.client.blocks.create(label=label, value=value, description=description)

    async def labels(**filter: object) -> list[str]:
        return [one.label for one in await pair.same(lambda client: client.blocks.list(**filter))]  # type: ignore[arg-type]

    assert await labels() == ["human", "persona", "rules"]
    assert await labels(label="human") == ["human"]
    assert await labels(label_search="U") == ["human", "rules"]
    assert await labels(value_search="ANA") == ["human", "persona"]
    assert await labels(value_search="%") == ["rules"]
    assert await labels(description_search="_") == ["rules"]
    assert await labels(order="desc", limit=1) == ["rules"]


async def test_delete_block_detaches_it(pair: Pair) -> None:
    block = await pair.client.blocks.create(label="a")
    agent = await pair.client.agents.create(block_ids=[block.id])
    group = await pair.client.groups.create(agent_ids=[agent.id], shared_block_ids=[block.id])
    await pair.client.blocks.delete(block.id)
    assert (await pair.same(lambda client: client.agents.retrieve(agent.id))).blocks == ()
    assert (await pair.same(lambda client: client.groups.retrieve(group.group.id))).group.shared_block_ids == ()
    for call in (
        lambda client: client.blocks.retrieve(block.id),
        lambda client: client.blocks.update(block.id, value="x"),
        lambda client: client.blocks.delete(block.id),
    ):
        assert isinstance(await pair.same_error(call), NotFound)
