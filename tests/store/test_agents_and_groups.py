"""Definitions in the database: saved once, brought up to date, found by id or name."""

import pytest

from groups.agents import Agent, MemoryBlock, ModelChoice, ModelSettings
from groups.budgets import Budget
from groups.errors import InvalidDefinition, NotFound
from groups.group import Dynamic, Group, GroupSettings, Standby
from groups.ids import AgentId, GroupId
from groups.termination import AllOf, MaxTurns, TokenBudget
from store.database import Database
from store.definitions import agents_of, find_agent, find_group, save_agent, save_group
from store.tables import agents
from tests.store.salon import unique


def new_agent(**fields: object) -> Agent:
    name = unique("Agent")
    return Agent.model_validate({"id": name.lower(), "name": name, **fields})


async def saved(database: Database, count: int) -> list[Agent]:
    made = [new_agent() for _ in range(count)]
    for agent in made:
        await save_agent(database, agent)
    return made


async def test_an_agent_is_created_then_unchanged_then_updated(database: Database) -> None:
    agent = new_agent(
        description="does x",
        instructions="Be “kind”.",
        model=ModelSettings(model="m", temperature=0.5, extra={"stop": ["a"]}),
        memory=(MemoryBlock(label="notes", value="x"),),
    )
    assert await save_agent(database, agent) == "created"
    assert await save_agent(database, agent) == "unchanged"
    assert await find_agent(database, agent.id) == agent
    changed = agent.model_copy(update={"description": "does y"})
    assert await save_agent(database, changed) == "updated"
    assert await find_agent(database, agent.id) == changed
    row = await database.row(agents.select().where(agents.c.id == agent.id))
    assert row is not None
    assert row.revision == 2


async def test_an_agent_is_found_by_its_name_in_any_case_and_first_by_its_id(database: Database) -> None:
    [one] = await saved(database, 1)
    assert await find_agent(database, one.name.upper()) == one
    named_like_an_id = new_agent(name=one.id.removeprefix("agent-"))
    id_like_a_name = Agent(id=AgentId(named_like_an_id.name), name=unique("Other"))
    await save_agent(database, named_like_an_id)
    await save_agent(database, id_like_a_name)
    assert await find_agent(database, named_like_an_id.name) == id_like_a_name
    with pytest.raises(NotFound, match="no such agent: 'nobody'"):
        await find_agent(database, "nobody")


async def test_two_agents_cannot_bear_one_name(database: Database) -> None:
    [one, other] = await saved(database, 2)
    with pytest.raises(InvalidDefinition, match="name: another agent"):
        await save_agent(database, new_agent(name=one.name.upper()))
    with pytest.raises(InvalidDefinition, match="name: another agent"):
        await save_agent(database, other.model_copy(update={"name": one.name}))
    assert await find_agent(database, other.id) == other


async def test_agents_come_in_the_order_asked_for_without_those_there_are_not(database: Database) -> None:
    made = await saved(database, 3)
    ids = [made[2].id, AgentId("nobody"), made[0].id]
    assert await agents_of(database, ids) == [made[2], made[0]]


async def test_a_group_is_created_then_unchanged_then_updated(database: Database) -> None:
    manager, *members = await saved(database, 4)
    group = Group(
        id=GroupId(unique("g")),
        name=unique("Group"),
        agent_ids=tuple(agent.id for agent in members),
        manager_config=Dynamic(manager_agent_id=manager.id, starvation_turns=None),
        shared_memory=(MemoryBlock(label="facts", value="x"),),
        settings=GroupSettings(termination=AllOf(conditions=(MaxTurns(limit=3), TokenBudget(limit=9)))),
    )
    assert await save_group(database, group) == "created"
    assert await save_group(database, group) == "unchanged"
    assert await find_group(database, group.name.swapcase()) == group
    renamed = group.model_copy(update={"name": unique("Group")})
    assert await save_group(database, renamed) == "updated"
    assert await find_group(database, group.id) == renamed.model_copy(update={"revision": 2})


async def test_a_change_of_a_groups_order_alone_is_an_update(database: Database) -> None:
    members = [agent.id for agent in await saved(database, 3)]
    group = Group(id=GroupId(unique("g")), name=unique("Group"), agent_ids=tuple(members))
    await save_group(database, group)
    for order in (members[::-1], members[:1], []):
        changed = group.model_copy(update={"agent_ids": tuple(order)})
        assert await save_group(database, changed) == "updated"
        assert list((await find_group(database, group.id)).agent_ids) == order
        assert await save_group(database, changed) == "unchanged"


async def test_a_group_of_unknown_agents_is_refused_and_nothing_is_written(database: Database) -> None:
    group = Group(id=GroupId(unique("g")), name=unique("Group"), agent_ids=(AgentId("nobody"),))
    with pytest.raises(InvalidDefinition, match="no such agent: 'nobody'"):
        await save_group(database, group)
    with pytest.raises(NotFound, match="no such group"):
        await find_group(database, group.id)


async def test_two_groups_cannot_bear_one_name(database: Database) -> None:
    one = Group(id=GroupId(unique("g")), name=unique("Group"))
    await save_group(database, one)
    with pytest.raises(InvalidDefinition, match="name: another group"):
        await save_group(database, Group(id=GroupId(unique("g")), name=one.name.lower()))


async def test_a_group_keeps_its_standby_members_in_order_and_for_whom_they_are(database: Database) -> None:
    members = [agent.id for agent in await saved(database, 5)]
    group = Group(
        id=GroupId(unique("g")),
        name=unique("Group"),
        agent_ids=tuple(members[:2]),
        standby=(Standby(agent_id=members[4], stands_in_for=members[1]), Standby(agent_id=members[2])),
    )
    assert await save_group(database, group) == "created"
    assert await find_group(database, group.id) == group
    assert await save_group(database, group) == "unchanged"
    last = group
    for standby in (
        group.standby[::-1],
        (Standby(agent_id=members[4], stands_in_for=members[0]),),
        (Standby(agent_id=members[4]),),
        (),
    ):
        last = group.model_copy(update={"standby": standby})
        assert await save_group(database, last) == "updated"
        assert (await find_group(database, group.id)).standby == standby
        assert await save_group(database, last) == "unchanged"
    promoted = last.model_copy(update={"agent_ids": (*last.agent_ids, members[4])})
    assert await save_group(database, promoted) == "updated"
    assert (await find_group(database, group.id)).member_ids == promoted.agent_ids


async def test_a_group_keeps_its_fallback_managers_and_an_agent_its_fallback_models(database: Database) -> None:
    manager, deputy, member = await saved(database, 3)
    rules = Dynamic(manager_agent_id=manager.id, fallback_manager_ids=(deputy.id,), max_pair_turns=None)
    budgets = (Budget(tokens=9, on_reached="stop"), Budget(scope="member", member=member.name, seconds=0.5))
    group = Group(
        id=GroupId(unique("g")),
        name=unique("Group"),
        agent_ids=(member.id,),
        manager_config=rules,
        settings=GroupSettings(budgets=budgets, on_failure=("standby",), cool_down_turns=None),
    )
    await save_group(database, group)
    assert await find_group(database, group.id) == group
    model = ModelSettings(model="main", fallbacks=(ModelChoice(model="spare", max_tokens=5), ModelChoice()))
    await save_agent(database, member.model_copy(update={"model": model}))
    assert (await find_agent(database, member.id)).model == model
    unknown = rules.model_copy(update={"fallback_manager_ids": (AgentId("nobody"),)})
    with pytest.raises(InvalidDefinition, match="no such agent: 'nobody'"):
        await save_group(database, group.model_copy(update={"manager_config": unknown}))
