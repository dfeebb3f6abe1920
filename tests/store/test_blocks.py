"""Memory blocks in the database: versions, limits, concurrent writers, attachments."""

import asyncio

import pytest

from tertulia.core.blocks import BlockFilter, BlockPatch, MemoryBlock, NewBlock
from tertulia.core.errors import Conflict, InvalidDefinition, NotFound
from tertulia.core.group import Group
from tertulia.core.ids import DEFAULT_ORGANISATION, BlockId, GroupId
from tertulia.core.paging import Page
from tertulia.store.agents import change_attachments, create_agent, find_agent, read_agent, save_agent
from tertulia.store.blocks import change_block, count_blocks, create_block, delete_block, find_block, list_blocks
from tertulia.store.database import Database
from tertulia.store.groups import create_group, find_group, read_group, save_group
from tests.store.harness import unique_id
from tests.store.sample_rows import new_agent, new_organisation

OURS = DEFAULT_ORGANISATION


def memory(**texts: str) -> tuple[MemoryBlock, ...]:
    return tuple(MemoryBlock(label=label, value=value) for label, value in texts.items())


async def test_block_version_counts_value_changes(database: Database) -> None:
    block = await create_block(database, OURS, NewBlock(label="facts", value=" x\n", metadata={"a": [1]}))
    assert (block.value, block.version, block.limit) == (" x\n", 1, 20_000)
    assert await find_block(database, OURS, block.id) == block
    changed = await change_block(database, OURS, block.id, BlockPatch(value="y"))
    assert (changed.value, changed.version, changed.metadata) == ("y", 2, {"a": [1]})
    assert (await change_block(database, OURS, block.id, BlockPatch(value="y"))).version == 2
    described = await change_block(database, OURS, block.id, BlockPatch(description="d", label="truths", limit=5))
    assert (described.version, described.description, described.label) == (2, "d", "truths")
    assert described.updated_at > block.updated_at


async def test_change_block_checks_expected_version(database: Database) -> None:
    block = await create_block(database, OURS, NewBlock(label="facts", value="x"))
    await change_block(database, OURS, block.id, BlockPatch(value="y"), expected_version=1)
    with pytest.raises(Conflict, match="version 2 by now, not 1"):
        await change_block(database, OURS, block.id, BlockPatch(value="z"), expected_version=1)
    assert (await find_block(database, OURS, block.id)).value == "y"


async def test_concurrent_appends_make_ten_versions(database: Database) -> None:
    block = await create_block(database, OURS, NewBlock(label="facts"))
    writing = [change_block(database, OURS, block.id, BlockPatch(append=f"{number};")) for number in range(10)]
    versions = {changed.version for changed in await asyncio.gather(*writing)}
    last = await find_block(database, OURS, block.id)
    assert versions == set(range(2, 12))
    assert last.version == 11
    assert sorted(last.value.split(";")[:-1]) == [str(number) for number in range(10)]


async def test_block_value_over_limit_is_refused(database: Database) -> None:
    with pytest.raises(InvalidDefinition, match="value: 4 characters; the limit of block 'facts' is 3"):
        await create_block(database, OURS, NewBlock(label="facts", value="1234", limit=3))
    block = await create_block(database, OURS, NewBlock(label="facts", value="123", limit=3))
    for patch in (BlockPatch(value="1234"), BlockPatch(append="4"), BlockPatch(limit=2)):
        with pytest.raises(InvalidDefinition, match="the limit of block"):
            await change_block(database, OURS, block.id, patch)
    with pytest.raises(InvalidDefinition, match="either `value` or `append`"):
        await change_block(database, OURS, block.id, BlockPatch(value="1", append="2"))
    assert (await change_block(database, OURS, block.id, BlockPatch(append="4", limit=4))).value == "1234"


async def test_list_blocks_pages_in_both_directions(database: Database) -> None:
    ours = await new_organisation(database)
    ids = [(await create_block(database, ours, NewBlock(label=f"l{number % 2}"))).id for number in range(5)]

    async def shown(**page: object) -> list[int]:
        found = await list_blocks(database, ours, Page.model_validate(page))
        return [ids.index(block.id) for block in found]

    assert await shown() == [0, 1, 2, 3, 4]
    assert await shown(limit=2) == [0, 1]
    assert await shown(limit=2, after=ids[1]) == [2, 3]
    assert await shown(limit=2, before=ids[4]) == [2, 3]
    assert await shown(after=ids[0], before=ids[3]) == [1, 2]
    assert await shown(after=ids[4]) == []
    assert await shown(order="desc", limit=2) == [4, 3]
    assert await shown(order="desc", limit=2, after=ids[3]) == [2, 1]
    assert await shown(order="desc", limit=2, before=ids[0]) == [2, 1]
    odd = await list_blocks(database, ours, Page(), BlockFilter(label="l1"))
    assert [block.id for block in odd] == [ids[1], ids[3]]
    assert await count_blocks(database, ours) == 5
    with pytest.raises(NotFound, match="after: no such block: 'nothing'"):
        await shown(after="nothing")


async def test_block_search_is_literal(database: Database) -> None:
    ours = await new_organisation(database)
    block = await create_block(database, ours, NewBlock(label="Share", value="up by 5%_"))
    await create_block(database, ours, NewBlock(label="other", value="up by 50"))
    for only in (BlockFilter(label_search="sHAR"), BlockFilter(value_search="5%_")):
        assert await list_blocks(database, ours, Page(), only) == [block]


async def test_delete_block_detaches_it_everywhere(database: Database) -> None:
    block = await create_block(database, OURS, NewBlock(label="facts", value="x"))
    agent = await create_agent(database, OURS, new_agent(), block_ids=[block.id])
    group = Group(id=GroupId(unique_id("g")), name=unique_id("Group"), shared_block_ids=(block.id,))
    assert (await create_group(database, OURS, group)).group.shared_memory == memory(facts="x")
    await delete_block(database, OURS, block.id)
    bare = await read_agent(database, OURS, agent.id)
    assert (bare.blocks, bare.revision) == ((), 2)
    left = (await read_group(database, OURS, group.id)).group
    assert (left.shared_block_ids, left.revision) == ((), 2)
    with pytest.raises(NotFound, match="no such block"):
        await delete_block(database, OURS, block.id)


async def test_attachments_keep_order_and_unique_labels(database: Database) -> None:
    first, second, twin = [(await create_block(database, OURS, NewBlock(label=label))).id for label in ("a", "b", "a")]
    agent = await create_agent(database, OURS, new_agent(), block_ids=[second, first])
    assert [block.id for block in agent.blocks] == [second, first]
    turned = await change_attachments(database, OURS, agent.id, lambda ids: ids[::-1])
    assert ([block.id for block in turned.blocks], turned.revision) == ([first, second], 2)
    with pytest.raises(Conflict, match="two blocks labelled 'a'"):
        await change_attachments(database, OURS, agent.id, lambda ids: [*ids, twin])
    with pytest.raises(NotFound, match="no such block: 'nothing', 'nowhere'"):
        await change_attachments(database, OURS, agent.id, lambda ids: [BlockId("nothing"), BlockId("nowhere")])
    assert await read_agent(database, OURS, agent.id) == turned


async def test_blocks_of_other_organisation_are_hidden(database: Database) -> None:
    theirs = await new_organisation(database)
    block = await create_block(database, theirs, NewBlock(label="secret", value="x"))
    agent = await create_agent(database, OURS, new_agent())
    for attempt in (
        find_block(database, OURS, block.id),
        change_block(database, OURS, block.id, BlockPatch(value="y")),
        delete_block(database, OURS, block.id),
        list_blocks(database, OURS, Page(after=block.id)),
        change_attachments(database, OURS, agent.id, lambda ids: [block.id]),
    ):
        with pytest.raises(NotFound, match="no such block"):
            await attempt
    assert await find_block(database, theirs, block.id) == block


async def test_save_agent_replaces_memory(database: Database) -> None:
    agent = new_agent(memory=memory(notes="x", plan="p"))
    await save_agent(database, OURS, agent)
    before = {block.label: block for block in (await read_agent(database, OURS, agent.id)).blocks}
    written = agent.model_copy(update={"memory": memory(fresh="f", notes="y")})
    assert await save_agent(database, OURS, written) == "updated"
    assert await save_agent(database, OURS, written) == "unchanged"
    stored = await read_agent(database, OURS, agent.id)
    assert [(block.label, block.value, block.version) for block in stored.blocks] == [
        ("fresh", "f", 1),
        ("notes", "y", 2),
    ]
    assert stored.blocks[1].id == before["notes"].id
    assert (await find_block(database, OURS, before["plan"].id)).value == "p"
    silent = agent.model_copy(update={"memory": ()})
    assert await save_agent(database, OURS, silent, keep_memory=True) == "unchanged"
    assert (await find_agent(database, OURS, agent.id)).memory == memory(fresh="f", notes="y")
    assert await save_agent(database, OURS, silent) == "updated"
    assert (await find_agent(database, OURS, agent.id)).memory == ()
    twice = agent.model_copy(update={"memory": (*memory(notes="x"), *memory(notes="y"))})
    with pytest.raises(InvalidDefinition, match="two blocks have the label 'notes'"):
        await save_agent(database, OURS, twice)


async def test_save_group_replaces_shared_memory(database: Database) -> None:
    group = Group(id=GroupId(unique_id("g")), name=unique_id("Group"), shared_memory=memory(facts="x"))
    await save_group(database, OURS, group)
    changed = group.model_copy(update={"shared_memory": memory(facts="y")})
    assert await save_group(database, OURS, changed) == "updated"
    assert await save_group(database, OURS, group, keep_memory=True) == "unchanged"
    found = await find_group(database, OURS, group.id)
    assert (found.shared_memory, found.revision) == (memory(facts="y"), 2)
