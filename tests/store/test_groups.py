"""Groups in the database: saved once, updated, found by id or name, not found when deleted."""

import asyncio

import pytest
from sqlalchemy import func, select, update

from tertulia.core.agents import ModelChoice, ModelSettings
from tertulia.core.blocks import MemoryBlock, NewBlock
from tertulia.core.budgets import Budget
from tertulia.core.errors import Conflict, NotFound
from tertulia.core.group import DynamicConfig, Group, GroupFilter, GroupSettings, RoundRobinConfig, Standby
from tertulia.core.ids import DEFAULT_ORGANISATION, AgentId, GroupId
from tertulia.core.paging import Page
from tertulia.core.termination import AllOf, MaxTurns, TokenBudget
from tertulia.store.agents import create_agent, find_agent, save_agent
from tertulia.store.blocks import create_block
from tertulia.store.database import Database
from tertulia.store.groups import (
    count_groups,
    create_group,
    find_group,
    list_groups,
    read_group,
    replace_group,
    save_group,
)
from tertulia.store.tables import agents
from tests.store.harness import unique_id
from tests.store.sample_rows import new_agent, new_organisation, save_agents


async def test_save_group_creates_then_updates(database: Database) -> None:
    manager, *members = await save_agents(database, 4)
    group = Group(
        id=GroupId(unique_id("g")),
        name=unique_id("Group"),
        agent_ids=tuple(agent.id for agent in members),
        manager_config=DynamicConfig(manager_agent_id=manager.id, starvation_turns=None),
        shared_memory=(MemoryBlock(label="facts", value="x"),),
        settings=GroupSettings(termination=AllOf(conditions=(MaxTurns(limit=3), TokenBudget(limit=9)))),
    )
    assert await save_group(database, DEFAULT_ORGANISATION, group) == "created"
    assert await save_group(database, DEFAULT_ORGANISATION, group) == "unchanged"
    found = await find_group(database, DEFAULT_ORGANISATION, group.name.swapcase())
    assert len(found.shared_block_ids) == 1
    group = group.model_copy(update={"shared_block_ids": found.shared_block_ids})
    assert found == group
    renamed = group.model_copy(update={"name": unique_id("Group")})
    assert await save_group(database, DEFAULT_ORGANISATION, renamed) == "updated"
    assert await find_group(database, DEFAULT_ORGANISATION, group.id) == renamed.model_copy(update={"revision": 2})


async def test_save_group_order_change_is_update(database: Database) -> None:
    members = [agent.id for agent in await save_agents(database, 3)]
    group = Group(id=GroupId(unique_id("g")), name=unique_id("Group"), agent_ids=tuple(members))
    await save_group(database, DEFAULT_ORGANISATION, group)
    for order in (members[::-1], members[:1], []):
        changed = group.model_copy(update={"agent_ids": tuple(order)})
        assert await save_group(database, DEFAULT_ORGANISATION, changed) == "updated"
        assert list((await find_group(database, DEFAULT_ORGANISATION, group.id)).agent_ids) == order
        assert await save_group(database, DEFAULT_ORGANISATION, changed) == "unchanged"


async def test_save_group_with_unknown_agent_is_refused(database: Database) -> None:
    group = Group(id=GroupId(unique_id("g")), name=unique_id("Group"), agent_ids=(AgentId("nobody"),))
    with pytest.raises(NotFound, match="no such agent: 'nobody'"):
        await save_group(database, DEFAULT_ORGANISATION, group)
    with pytest.raises(NotFound, match="no such group"):
        await find_group(database, DEFAULT_ORGANISATION, group.id)


async def test_group_names_are_unique(database: Database) -> None:
    one = Group(id=GroupId(unique_id("g")), name=unique_id("Group"))
    await save_group(database, DEFAULT_ORGANISATION, one)
    with pytest.raises(Conflict, match="name: another group"):
        await save_group(database, DEFAULT_ORGANISATION, Group(id=GroupId(unique_id("g")), name=one.name.lower()))


async def test_save_group_keeps_standby_order(database: Database) -> None:
    members = [agent.id for agent in await save_agents(database, 5)]
    group = Group(
        id=GroupId(unique_id("g")),
        name=unique_id("Group"),
        agent_ids=tuple(members[:2]),
        standby=(Standby(agent_id=members[4], stands_in_for=members[1]), Standby(agent_id=members[2])),
    )
    assert await save_group(database, DEFAULT_ORGANISATION, group) == "created"
    assert await find_group(database, DEFAULT_ORGANISATION, group.id) == group
    assert await save_group(database, DEFAULT_ORGANISATION, group) == "unchanged"
    last = group
    for standby in (
        group.standby[::-1],
        (Standby(agent_id=members[4], stands_in_for=members[0]),),
        (Standby(agent_id=members[4]),),
        (),
    ):
        last = group.model_copy(update={"standby": standby})
        assert await save_group(database, DEFAULT_ORGANISATION, last) == "updated"
        assert (await find_group(database, DEFAULT_ORGANISATION, group.id)).standby == standby
        assert await save_group(database, DEFAULT_ORGANISATION, last) == "unchanged"
    promoted = last.model_copy(update={"agent_ids": (*last.agent_ids, members[4])})
    assert await save_group(database, DEFAULT_ORGANISATION, promoted) == "updated"
    assert (await find_group(database, DEFAULT_ORGANISATION, group.id)).member_ids == promoted.agent_ids


async def test_save_group_keeps_fallback_managers(database: Database) -> None:
    manager, deputy, member = await save_agents(database, 3)
    rules = DynamicConfig(manager_agent_id=manager.id, fallback_manager_ids=(deputy.id,), max_pair_turns=None)
    budgets = (Budget(tokens=9, on_reached="stop"), Budget(scope="member", member=member.name, seconds=0.5))
    group = Group(
        id=GroupId(unique_id("g")),
        name=unique_id("Group"),
        agent_ids=(member.id,),
        manager_config=rules,
        settings=GroupSettings(budgets=budgets, on_failure=("standby",), cool_down_turns=None),
    )
    await save_group(database, DEFAULT_ORGANISATION, group)
    assert await find_group(database, DEFAULT_ORGANISATION, group.id) == group
    model = ModelSettings(model="main", fallbacks=(ModelChoice(model="spare", max_tokens=5), ModelChoice()))
    await save_agent(database, DEFAULT_ORGANISATION, member.model_copy(update={"model": model}))
    assert (await find_agent(database, DEFAULT_ORGANISATION, member.id)).model == model
    unknown = rules.model_copy(update={"fallback_manager_ids": (AgentId("nobody"),)})
    with pytest.raises(NotFound, match="no such agent: 'nobody'"):
        await save_group(database, DEFAULT_ORGANISATION, group.model_copy(update={"manager_config": unknown}))


async def test_replace_group_replaces_every_field(database: Database) -> None:
    [agent] = await save_agents(database, 1)
    block = await create_block(database, DEFAULT_ORGANISATION, NewBlock(label="facts", value="x"))
    group = Group(
        id=GroupId(unique_id("g")),
        name=unique_id("Group"),
        agent_ids=(agent.id,),
        shared_block_ids=(block.id,),
        metadata={"a": 1},
    )
    made = await create_group(database, DEFAULT_ORGANISATION, group)
    assert made.group == group.model_copy(update={"shared_memory": (MemoryBlock(label="facts", value="x"),)})
    assert (made.default_conversation_id, made.group.revision) == (None, 1)
    assert await save_group(database, DEFAULT_ORGANISATION, group, keep_memory=True) == "unchanged"
    async with database.transaction() as connection:
        assert await replace_group(connection, DEFAULT_ORGANISATION, group) == "unchanged"
        bare = group.model_copy(update={"shared_block_ids": (), "metadata": {}, "agent_ids": ()})
        assert await replace_group(connection, DEFAULT_ORGANISATION, bare) == "updated"
    stored = (await read_group(database, DEFAULT_ORGANISATION, group.id)).group
    assert stored == bare.model_copy(update={"revision": 2})


async def test_list_groups_applies_filters(database: Database) -> None:
    ours = await new_organisation(database)
    ana, ben, host = [(await create_agent(database, ours, new_agent())).id for _ in range(3)]
    members = {"Led": (ana,), "Turns": (ana, ben), "Empty": ()}
    ids = []
    for name, agent_ids in members.items():
        rules = DynamicConfig(manager_agent_id=host) if name == "Led" else RoundRobinConfig()
        group = Group(id=GroupId(unique_id("g")), name=name, agent_ids=agent_ids, manager_config=rules)
        ids.append((await create_group(database, ours, group)).group.id)

    async def shown(**only: object) -> list[str]:
        found = await list_groups(database, ours, Page(), GroupFilter.model_validate(only))
        return [stored.group.name for stored in found]

    assert await shown() == ["Led", "Turns", "Empty"]
    assert await shown(manager_type="dynamic") == ["Led"]
    assert await shown(manager_type="supervisor") == []
    assert await shown(name="tURNS") == ["Turns"]
    assert await shown(agent_id=ana) == ["Led", "Turns"]
    assert await shown(agent_id=host, manager_type="dynamic") == ["Led"]
    assert [one.group.name for one in await list_groups(database, ours, Page(after=ids[0], limit=1))] == ["Turns"]
    assert await count_groups(database, ours) == 3


async def test_groups_of_other_organisation_are_hidden(database: Database) -> None:
    ours, theirs = await new_organisation(database), await new_organisation(database)
    agent = await create_agent(database, theirs, new_agent())
    block = await create_block(database, theirs, NewBlock(label="facts"))
    group = Group(
        id=GroupId(unique_id("g")), name=unique_id("Group"), agent_ids=(agent.id,), shared_block_ids=(block.id,)
    )
    with pytest.raises(NotFound, match=f"no such agent: '{agent.id}'"):
        await create_group(database, ours, group)
    with pytest.raises(NotFound, match=f"no such block: '{block.id}'"):
        await create_group(database, ours, group.model_copy(update={"agent_ids": ()}))
    await create_group(database, theirs, group)
    for attempt in (
        find_group(database, ours, group.name),
        read_group(database, ours, group.id),
        list_groups(database, ours, Page(before=group.id)),
    ):
        with pytest.raises(NotFound, match="no such group"):
            await attempt
    assert await list_groups(database, ours, Page()) == []
    bare = Group(id=group.id, name="Mine")
    with pytest.raises(Conflict, match="is taken"):
        await create_group(database, ours, bare)


async def test_create_group_waits_for_agent_deletion(database: Database) -> None:
    [agent] = await save_agents(database, 1)
    group = Group(id=GroupId(unique_id("g")), name=unique_id("Group"), agent_ids=(agent.id,))
    async with database.transaction() as connection:
        own = agents.c.id == agent.id
        await connection.execute(select(agents.c.id).where(own).with_for_update())
        creating = asyncio.create_task(create_group(database, DEFAULT_ORGANISATION, group))
        done, _ = await asyncio.wait([creating], timeout=0.5)
        assert not done
        await connection.execute(update(agents).where(own).values(deleted_at=func.now()))
    with pytest.raises(NotFound, match="no such agent"):
        await creating


async def test_create_group_refuses_existing_id(database: Database) -> None:
    group = Group(id=GroupId(unique_id("group")), name=unique_id("Group"))
    await create_group(database, DEFAULT_ORGANISATION, group)
    with pytest.raises(Conflict, match=f"id: {group.id!r} is taken"):
        await create_group(database, DEFAULT_ORGANISATION, group.model_copy(update={"description": "Another."}))
    assert (await find_group(database, DEFAULT_ORGANISATION, group.id)).description == ""
