"""Agents of an organisation. Invariant: saving an equal definition changes nothing; deleted agents are not found."""

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import JsonValue
from sqlalchemy import ColumnElement, Row, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tertulia.core.agents import Agent, AgentFilter, AgentPatch, ModelSettings, StoredAgent
from tertulia.core.blocks import NewBlock
from tertulia.core.errors import Conflict, InvalidDefinition, NotFound
from tertulia.core.ids import AgentId, BlockId, GroupId, OrganisationId
from tertulia.core.paging import Page
from tertulia.core.records import SaveOutcome
from tertulia.store.block_attachments import AGENT, TEXT_FIELDS, attach, blocks_of, write_memory
from tertulia.store.blocks import insert_block
from tertulia.store.database import Database
from tertulia.store.definition_rows import (
    active,
    bump_revision,
    by_id_or_name,
    check_created,
    conflicts_named,
    missing_name_message,
    not_found_message,
    revision_bump,
    write_row,
)
from tertulia.store.paging import containing, count, read_page
from tertulia.store.tables import agents, agents_blocks, groups, groups_agents

_FIELDS = ("id", "name", "description", "instructions", "model")
AGENT_COLUMNS = (*(agents.c[name] for name in _FIELDS), blocks_of(AGENT, TEXT_FIELDS).label("memory"))
"""The columns of an `Agent`."""


async def save_agent(
    database: Database, organisation_id: OrganisationId, agent: Agent, *, keep_memory: bool = False
) -> SaveOutcome:
    """Create the agent, or update the one with its id.

    Args:
        database: the database.
        organisation_id: the organisation.
        agent: the definition.
        keep_memory: leave the agent's blocks as they are.

    Raises:
        Conflict: another agent has the name, or another organisation the id.
        InvalidDefinition: two blocks have one label.
    """
    async with database.transaction() as connection:
        values = agent.model_dump(mode="json", include=set(_FIELDS))
        outcome = await write_row(connection, agents, organisation_id, values)
        if keep_memory or not await write_memory(connection, organisation_id, AGENT, agent.id, agent.memory):
            return outcome
        if outcome == "unchanged":
            await bump_revision(connection, agents, agent.id)
        return "created" if outcome == "created" else "updated"


async def find_agent(database: Database, organisation_id: OrganisationId, id_or_name: str) -> Agent:
    """Return the agent with this id or, failing that, with this name in any case.

    Raises:
        NotFound: no such agent.
    """
    row = await database.row(by_id_or_name(agents, organisation_id, AGENT_COLUMNS, id_or_name))
    if row is None:
        raise NotFound(await missing_name_message(database, agents, organisation_id, id_or_name))
    return agent_of(row)


async def read_agents(database: Database, organisation_id: OrganisationId, agent_ids: Sequence[AgentId]) -> list[Agent]:
    """Return these agents in this order, without those that do not exist."""
    query = select(*AGENT_COLUMNS).where(active(agents, organisation_id), agents.c.id.in_(agent_ids))
    by_id = {row.id: agent_of(row) for row in await database.rows(query)}
    return [by_id[agent_id] for agent_id in agent_ids if agent_id in by_id]


def agent_of(row: Row[Any]) -> Agent:
    """Build an agent from a row of `AGENT_COLUMNS`."""
    return Agent.model_validate({name: row._mapping[name] for name in Agent.model_fields})


_STORED = (
    *(agents.c[name] for name in StoredAgent.model_fields if name != "blocks"),
    blocks_of(AGENT).label("blocks"),
)


async def create_agent(
    database: Database,
    organisation_id: OrganisationId,
    agent: Agent,
    *,
    tags: Sequence[str] = (),
    metadata: dict[str, JsonValue] | None = None,
    new_blocks: Sequence[NewBlock] = (),
    block_ids: Sequence[BlockId] = (),
) -> StoredAgent:
    """Create an agent with new blocks, followed by existing ones. `agent.memory` is ignored.

    Raises:
        NotFound: no such block.
        Conflict: the id or the name is taken, or two blocks have one label.
        InvalidDefinition: a block's value is longer than its limit.
    """
    async with database.transaction() as connection:
        values = agent.model_dump(mode="json", include=set(_FIELDS)) | {"tags": [*tags], "metadata": metadata or {}}
        check_created(agent.id, await write_row(connection, agents, organisation_id, values))
        made = [(await insert_block(connection, organisation_id, draft)).id for draft in new_blocks]
        await attach(connection, organisation_id, AGENT, agent.id, [*made, *block_ids])
        return await _read(connection, organisation_id, agent.id)


async def read_agent(database: Database, organisation_id: OrganisationId, agent_id: str) -> StoredAgent:
    """Return the agent with this id and its blocks.

    Raises:
        NotFound: no such agent; the message suggests names that exist.
    """
    try:
        async with database.transaction() as connection:
            return await _read(connection, organisation_id, agent_id)
    except NotFound:
        raise NotFound(await missing_name_message(database, agents, organisation_id, agent_id)) from None


async def _read(connection: AsyncConnection, organisation_id: OrganisationId, agent_id: str) -> StoredAgent:
    query = select(*_STORED).where(active(agents, organisation_id), agents.c.id == agent_id)
    return _stored(_found((await connection.execute(query)).first(), agent_id))


async def list_agents(
    database: Database, organisation_id: OrganisationId, page: Page, filter: AgentFilter | None = None
) -> list[StoredAgent]:
    """Return one page of the agents that match `filter`.

    Raises:
        NotFound: no agent has the id in `page.before` or `page.after`.
    """
    filter = filter or AgentFilter()
    query = select(*_STORED).where(active(agents, organisation_id))
    if filter.name is not None:
        query = query.where(func.lower(agents.c.name) == func.lower(filter.name))
    if filter.query_text is not None:
        query = query.where(containing(agents.c.name, filter.query_text))
    if filter.tags:
        tags = literal([*filter.tags], agents.c.tags.type)
        query = query.where(agents.c.tags.op("@>" if filter.match_all_tags else "&&")(tags))
    return [_stored(row) for row in await read_page(database, agents, organisation_id, query, page)]


async def agents_with_block(
    database: Database, organisation_id: OrganisationId, block_id: str, page: Page
) -> list[StoredAgent]:
    """Return one page of the agents to which the block is attached."""
    having = select(agents_blocks.c.agent_id).where(agents_blocks.c.block_id == block_id)
    query = select(*_STORED).where(active(agents, organisation_id), agents.c.id.in_(having))
    return [_stored(row) for row in await read_page(database, agents, organisation_id, query, page)]


async def count_agents(database: Database, organisation_id: OrganisationId) -> int:
    """Return the number of agents."""
    return await count(database, agents, active(agents, organisation_id))


async def change_agent(
    database: Database,
    organisation_id: OrganisationId,
    agent_id: str,
    patch: AgentPatch,
    *,
    expected_revision: int | None = None,
) -> StoredAgent:
    """Update an agent.

    Raises:
        NotFound: no such agent or block.
        Conflict: the revision is not the expected one, the name is taken, or two blocks have one label.
        InvalidDefinition: the name would be empty.
    """
    async with database.transaction() as connection:
        own = active(agents, organisation_id), agents.c.id == agent_id
        columns = [agents.c[name] for name in (*_FIELDS, "tags", "metadata", "revision")]
        row = _found((await connection.execute(select(*columns).where(*own).with_for_update())).first(), agent_id)
        if expected_revision not in (None, row.revision):
            raise Conflict(f"the agent {agent_id!r} has revision {row.revision} by now, not {expected_revision}")
        present = row._mapping
        values = _values(patch, present["model"])
        changed = {name: value for name, value in values.items() if value != present[name]}
        if changed:
            with conflicts_named(agents, {**present, **values}):
                await connection.execute(update(agents).where(*own).values(changed | revision_bump(agents)))
        if "block_ids" in patch.model_fields_set:
            attached = await attach(connection, organisation_id, AGENT, agent_id, patch.block_ids or ())
            if attached and not changed:
                await bump_revision(connection, agents, agent_id)
        return await _read(connection, organisation_id, agent_id)


async def change_attachments(
    database: Database, organisation_id: OrganisationId, agent_id: str, change: Callable[[list[BlockId]], list[BlockId]]
) -> StoredAgent:
    """Replace the agent's blocks by those that `change` returns for the present ones.

    Raises:
        NotFound: no such agent or block.
        Conflict: two blocks have one label.
    """
    async with database.transaction() as connection:
        own = active(agents, organisation_id), agents.c.id == agent_id
        _found((await connection.execute(select(agents.c.id).where(*own).with_for_update())).first(), agent_id)
        present = [block.id for block in (await _read(connection, organisation_id, agent_id)).blocks]
        if await attach(connection, organisation_id, AGENT, agent_id, change(present)):
            await bump_revision(connection, agents, agent_id)
        return await _read(connection, organisation_id, agent_id)


_NAMED_GROUPS = 20
_EMPTY: dict[str, Any] = {"description": "", "instructions": "", "tags": [], "metadata": {}}


def _values(patch: AgentPatch, model: dict[str, Any]) -> dict[str, Any]:
    given = patch.model_dump(mode="json", exclude_unset=True, exclude={"block_ids", "model", "model_name"})
    if "name" in given and given["name"] is None:
        raise InvalidDefinition("name: an agent has one")
    values = {name: _EMPTY[name] if value is None else value for name, value in given.items()}
    if "model" in patch.model_fields_set:
        values["model"] = (patch.model or ModelSettings()).model_dump(mode="json")
    if "model_name" in patch.model_fields_set:
        values["model"] = values.get("model", model) | {"model": patch.model_name}
    return values


async def delete_agent(database: Database, organisation_id: OrganisationId, agent_id: str) -> None:
    """Mark an agent as deleted. Its name is free again; its messages stay.

    Raises:
        NotFound: no such agent.
        Conflict: groups have it as a member or manager; the message names them.
    """
    async with database.transaction() as connection:
        own = active(agents, organisation_id), agents.c.id == agent_id
        # A group that takes the agent in meanwhile waits for this lock, and finds it gone.
        _found((await connection.execute(select(agents.c.id).where(*own).with_for_update())).first(), agent_id)
        needing = select(groups.c.name).where(active(groups, organisation_id), in_group(agent_id))
        if names := [*(await connection.execute(needing.order_by(groups.c.name).limit(_NAMED_GROUPS))).scalars()]:
            listed = ", ".join(map(repr, names))
            raise Conflict(f"the agent {agent_id!r} is in these groups, or manages them: {listed}; `force` removes it")
        await connection.execute(update(agents).where(*own).values(deleted_at=func.now()))


async def agent_groups(
    connection: AsyncConnection, organisation_id: OrganisationId, agent_id: AgentId | str
) -> list[GroupId]:
    """Return the ids of the groups that have the agent as a member or manager."""
    query = select(groups.c.id).where(active(groups, organisation_id), in_group(agent_id))
    return [*(await connection.execute(query.order_by(groups.c.id))).scalars()]


def in_group(agent_id: str) -> ColumnElement[bool]:
    """WHERE clause on groups: the agent is a member, on standby or a manager."""
    having = select(groups_agents.c.group_id).where(groups_agents.c.agent_id == agent_id)
    rules = groups.c.manager_config
    managing = rules["manager_agent_id"].astext == agent_id, rules["fallback_manager_ids"].contains([agent_id])
    return or_(groups.c.id.in_(having), *managing)


def _found(row: Row[Any] | None, agent_id: str) -> Row[Any]:
    if row is None:
        raise NotFound(not_found_message("agent", [agent_id]))
    return row


def _stored(row: Row[Any]) -> StoredAgent:
    return StoredAgent.model_validate(dict(row._mapping))
