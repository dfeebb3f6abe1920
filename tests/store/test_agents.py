"""Agents in the database: saved once, updated, found by id or name, not found when deleted."""

import pytest

from tertulia.core.agents import Agent, AgentFilter, AgentPatch, ModelSettings, StoredAgent
from tertulia.core.blocks import MemoryBlock, NewBlock
from tertulia.core.errors import Conflict, InvalidDefinition, NotFound
from tertulia.core.group import DynamicConfig, Group, Standby
from tertulia.core.ids import DEFAULT_ORGANISATION, AgentId, GroupId
from tertulia.core.paging import Page
from tertulia.store.agents import (
    agent_groups,
    change_agent,
    count_agents,
    create_agent,
    delete_agent,
    find_agent,
    list_agents,
    read_agent,
    read_agents,
    save_agent,
)
from tertulia.store.database import Database
from tertulia.store.groups import save_group
from tertulia.store.tables import agents
from tests.store.harness import unique_id
from tests.store.sample_rows import new_agent, new_organisation, save_agents


async def test_save_agent_creates_then_updates(database: Database) -> None:
    agent = new_agent(
        description="does x",
        instructions="Be “kind”.",
        model=ModelSettings(model="m", temperature=0.5, extra={"stop": ["a"]}),
        memory=(MemoryBlock(label="notes", value="x"),),
    )
    assert await save_agent(database, DEFAULT_ORGANISATION, agent) == "created"
    assert await save_agent(database, DEFAULT_ORGANISATION, agent) == "unchanged"
    assert await find_agent(database, DEFAULT_ORGANISATION, agent.id) == agent
    changed = agent.model_copy(update={"description": "does y"})
    assert await save_agent(database, DEFAULT_ORGANISATION, changed) == "updated"
    assert await find_agent(database, DEFAULT_ORGANISATION, agent.id) == changed
    row = await database.row(agents.select().where(agents.c.id == agent.id))
    assert row is not None
    assert row.revision == 2


async def test_find_agent_by_id_or_name(database: Database) -> None:
    [one] = await save_agents(database, 1)
    assert await find_agent(database, DEFAULT_ORGANISATION, one.name.upper()) == one
    named_like_an_id = new_agent(name=one.id.removeprefix("agent-"))
    id_like_a_name = Agent(id=AgentId(named_like_an_id.name), name=unique_id("Other"))
    await save_agent(database, DEFAULT_ORGANISATION, named_like_an_id)
    await save_agent(database, DEFAULT_ORGANISATION, id_like_a_name)
    assert await find_agent(database, DEFAULT_ORGANISATION, named_like_an_id.name) == id_like_a_name
    with pytest.raises(NotFound, match="no such agent: 'nobody'"):
        await find_agent(database, DEFAULT_ORGANISATION, "nobody")


async def test_agent_names_are_unique(database: Database) -> None:
    [one, other] = await save_agents(database, 2)
    with pytest.raises(Conflict, match="name: another agent"):
        await save_agent(database, DEFAULT_ORGANISATION, new_agent(name=one.name.upper()))
    with pytest.raises(Conflict, match="name: another agent"):
        await save_agent(database, DEFAULT_ORGANISATION, other.model_copy(update={"name": one.name}))
    assert await find_agent(database, DEFAULT_ORGANISATION, other.id) == other


async def test_agents_of_keeps_requested_order(database: Database) -> None:
    made = await save_agents(database, 3)
    ids = [made[2].id, AgentId("nobody"), made[0].id]
    assert await read_agents(database, DEFAULT_ORGANISATION, ids) == [made[2], made[0]]


async def test_delete_agent_frees_name_and_id(database: Database) -> None:
    [one] = await save_agents(database, 1)
    await delete_agent(database, DEFAULT_ORGANISATION, one.id)
    for attempt in (
        find_agent(database, DEFAULT_ORGANISATION, one.name),
        read_agent(database, DEFAULT_ORGANISATION, one.id),
        change_agent(database, DEFAULT_ORGANISATION, one.id, AgentPatch(description="x")),
        delete_agent(database, DEFAULT_ORGANISATION, one.id),
    ):
        with pytest.raises(NotFound, match=f"no such agent: '{one.name}'|no such agent: '{one.id}'"):
            await attempt
    assert await read_agents(database, DEFAULT_ORGANISATION, [one.id]) == []
    assert await save_agent(database, DEFAULT_ORGANISATION, new_agent(name=one.name)) == "created"
    renamed = one.model_copy(update={"name": unique_id("Back")})
    assert await save_agent(database, DEFAULT_ORGANISATION, renamed) == "created"
    assert await find_agent(database, DEFAULT_ORGANISATION, one.id) == renamed


async def test_delete_agent_used_by_groups_is_refused(database: Database) -> None:
    member, standby, manager, deputy, free = await save_agents(database, 5)
    group = Group(
        id=GroupId(unique_id("g")),
        name=unique_id("Group"),
        agent_ids=(member.id,),
        standby=(Standby(agent_id=standby.id),),
        manager_config=DynamicConfig(manager_agent_id=manager.id, fallback_manager_ids=(deputy.id,)),
    )
    await save_group(database, DEFAULT_ORGANISATION, group)
    for needed in (member, standby, manager, deputy):
        with pytest.raises(Conflict, match=f"is in these groups, or manages them: '{group.name}'"):
            await delete_agent(database, DEFAULT_ORGANISATION, needed.id)
    await delete_agent(database, DEFAULT_ORGANISATION, free.id)
    async with database.transaction() as connection:
        assert await agent_groups(connection, DEFAULT_ORGANISATION, deputy.id) == [group.id]


async def test_change_agent_changes_named_fields_only(database: Database) -> None:
    model = ModelSettings(model="m", temperature=0.5)
    agent = new_agent(description="d", instructions="i", model=model)
    made = await create_agent(
        database,
        DEFAULT_ORGANISATION,
        agent,
        tags=["b", "a"],
        metadata={"k": [1]},
        new_blocks=[NewBlock(label="notes", value="x")],
    )
    assert (made.tags, made.metadata, made.blocks[0].value, made.revision) == (("b", "a"), {"k": [1]}, "x", 1)

    async def changed(**fields: object) -> StoredAgent:
        return await change_agent(database, DEFAULT_ORGANISATION, agent.id, AgentPatch.model_validate(fields))

    other = await changed(model_name="other")
    assert (other.model, other.revision) == (model.model_copy(update={"model": "other"}), 2)
    assert (await changed(model_name="other")).revision == 2
    bare = await changed(description=None, tags=None, metadata=None, model=None, instructions=None, block_ids=None)
    assert (bare.description, bare.tags, bare.metadata, bare.instructions) == ("", (), {}, "")
    assert (bare.model, bare.blocks, bare.revision) == (ModelSettings(), (), 3)
    with pytest.raises(InvalidDefinition, match="name: an agent has one"):
        await changed(name=None)
    with pytest.raises(Conflict, match="has revision 3 by now, not 2"):
        await change_agent(database, DEFAULT_ORGANISATION, agent.id, AgentPatch(name="x"), expected_revision=2)
    [taken] = await save_agents(database, 1)
    with pytest.raises(Conflict, match=r"has the name .* already"):
        await changed(name=taken.name)


async def test_list_agents_filters_by_name_and_tags(database: Database) -> None:
    ours = await new_organisation(database)
    ids = []
    for name, tags in (("Ana", ["x", "y"]), ("Ben", ["y"]), ("Cleo", [])):
        agent = new_agent(name=name)
        ids.append((await create_agent(database, ours, agent, tags=tags)).id)

    async def shown(**only: object) -> list[str]:
        found = await list_agents(database, ours, Page(), AgentFilter.model_validate(only))
        return [agent.name for agent in found]

    assert await shown() == ["Ana", "Ben", "Cleo"]
    assert await shown(name="ana") == ["Ana"]
    assert await shown(query_text="E") == ["Ben", "Cleo"]
    assert await shown(tags=["x", "y"]) == ["Ana", "Ben"]
    assert await shown(tags=["x", "y"], match_all_tags=True) == ["Ana"]
    await delete_agent(database, ours, ids[0])
    assert await shown() == ["Ben", "Cleo"]
    assert await count_agents(database, ours) == 2
    rest = await list_agents(database, ours, Page(after=ids[0]))
    assert [agent.name for agent in rest] == ["Ben", "Cleo"], "a page goes on after an agent that was deleted meanwhile"


async def test_agents_of_other_organisation_are_hidden(database: Database) -> None:
    ours, theirs = await new_organisation(database), await new_organisation(database)
    agent = new_agent()
    made = await create_agent(database, theirs, agent)
    for attempt in (
        find_agent(database, ours, agent.name),
        read_agent(database, ours, agent.id),
        change_agent(database, ours, agent.id, AgentPatch(name="Mine")),
        delete_agent(database, ours, agent.id),
        list_agents(database, ours, Page(before=agent.id)),
    ):
        with pytest.raises(NotFound, match="no such agent"):
            await attempt
    assert await list_agents(database, ours, Page()) == []
    with pytest.raises(Conflict, match="is taken"):
        await save_agent(database, ours, agent)
    assert await read_agent(database, theirs, agent.id) == made
    namesake = new_agent(name=agent.name).model_copy(update={"id": AgentId(unique_id("a"))})
    assert await save_agent(database, ours, namesake) == "created"


async def test_create_agent_refuses_existing_id(database: Database) -> None:
    agent = new_agent()
    await create_agent(database, DEFAULT_ORGANISATION, agent)
    with pytest.raises(Conflict, match=f"id: {agent.id!r} is taken"):
        await create_agent(database, DEFAULT_ORGANISATION, agent.model_copy(update={"instructions": "Another."}))
    assert (await find_agent(database, DEFAULT_ORGANISATION, agent.id)).instructions == agent.instructions


async def test_missing_name_suggests_similar_names(database: Database) -> None:
    owner = await new_organisation(database)
    with pytest.raises(NotFound, match=r"^no such agent: 'Velma'; there is no agent yet$"):
        await find_agent(database, owner, "Velma")
    for name in ("Velma", "Bruno", "Celeste", "Ines"):
        agent = Agent(id=AgentId(f"agent-{name}-{owner}"), name=name)
        await save_agent(database, owner, agent)
    with pytest.raises(NotFound, match="did you mean 'Velma'"):
        await find_agent(database, owner, "velmar")
    with pytest.raises(NotFound, match=r"there are 'Bruno', 'Celeste', 'Ines', …$"):
        await find_agent(database, owner, "xyz")
    with pytest.raises(NotFound, match="there is no agent yet"):
        await find_agent(database, await new_organisation(database), "velmar")
