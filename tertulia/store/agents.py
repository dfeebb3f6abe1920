"""The agents that people have defined. Saving the same definition twice changes nothing; a deleted one is not there."""

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
    by_id_or_name,
    counted,
    living,
    refuse_taken,
    refused,
    touch,
    unknown,
    write_row,
)
from tertulia.store.paging import containing, count, read_page
from tertulia.store.tables import agents, agents_blocks, group_members, groups

_FIELDS = ("id", "name", "description", "instructions", "model")
AGENT_COLUMNS = (*(agents.c[name] for name in _FIELDS), blocks_of(AGENT, TEXT_FIELDS).label("memory"))
"""What an `Agent` is made of."""


async def save_agent(
    database: Database, organisation_id: OrganisationId, agent: Agent, *, keep_memory: bool = False
) -> SaveOutcome:
    """Create the agent, or bring the one of that id, its memory included unless `keep_memory`, up to date.

    Raises:
        Conflict: another agent bears the name, or the id belongs to somebody else.
        InvalidDefinition: two blocks of its memory bear one label.
    """
    async with database.transaction() as connection:
        values = agent.model_dump(mode="json", include=set(_FIELDS))
        outcome = await write_row(connection, agents, organisation_id, values)
        if keep_memory or not await write_memory(connection, organisation_id, AGENT, agent.id, agent.memory):
            return outcome
        if outcome == "unchanged":
            await touch(connection, agents, agent.id)
        return "created" if outcome == "created" else "updated"


async def find_agent(database: Database, organisation_id: OrganisationId, who: str) -> Agent:
    """The agent of that id or, else, of that name, whatever its case.

    Raises:
        NotFound: there is none.
    """
    row = await database.row(by_id_or_name(agents, organisation_id, AGENT_COLUMNS, who))
    if row is None:
        raise NotFound(unknown("agent", [who]))
    return agent_of(row)


async def agents_of(database: Database, organisation_id: OrganisationId, agent_ids: Sequence[AgentId]) -> list[Agent]:
    """These agents, in this order; those that do not exist are left out."""
    query = select(*AGENT_COLUMNS).where(living(agents, organisation_id), agents.c.id.in_(agent_ids))
    by_id = {row.id: agent_of(row) for row in await database.rows(query)}
    return [by_id[agent_id] for agent_id in agent_ids if agent_id in by_id]


def agent_of(row: Row[Any]) -> Agent:
    """The agent that was read with `AGENT_COLUMNS`."""
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
    drafts: Sequence[NewBlock] = (),
    block_ids: Sequence[BlockId] = (),
) -> StoredAgent:
    """Make an agent with new blocks and those that are there, in this order; its `memory` says nothing.

    Raises:
        NotFound: there is no such block.
        Conflict: there is an agent of that id, or one that bears the name, or two blocks bear one label.
        InvalidDefinition: a block's value is longer than its limit.
    """
    async with database.transaction() as connection:
        values = agent.model_dump(mode="json", include=set(_FIELDS)) | {"tags": [*tags], "metadata": metadata or {}}
        refuse_taken(agent.id, await write_row(connection, agents, organisation_id, values))
        made = [(await insert_block(connection, organisation_id, draft)).id for draft in drafts]
        await attach(connection, organisation_id, AGENT, agent.id, [*made, *block_ids])
        return await _read(connection, organisation_id, agent.id)


async def read_agent(database: Database, organisation_id: OrganisationId, agent_id: str) -> StoredAgent:
    """The agent of that id, with all that is kept of it.

    Raises:
        NotFound: there is none.
    """
    async with database.transaction() as connection:
        return await _read(connection, organisation_id, agent_id)


async def _read(connection: AsyncConnection, organisation_id: OrganisationId, agent_id: str) -> StoredAgent:
    query = select(*_STORED).where(living(agents, organisation_id), agents.c.id == agent_id)
    return _stored(_found((await connection.execute(query)).first(), agent_id))


async def list_agents(
    database: Database, organisation_id: OrganisationId, page: Page, only: AgentFilter | None = None
) -> list[StoredAgent]:
    """The agents on that page.

    Raises:
        NotFound: the page begins or ends at an agent that does not exist.
    """
    only = only or AgentFilter()
    query = select(*_STORED).where(living(agents, organisation_id))
    if only.name is not None:
        query = query.where(func.lower(agents.c.name) == func.lower(only.name))
    if only.query_text is not None:
        query = query.where(containing(agents.c.name, only.query_text))
    if only.tags:
        tags = literal([*only.tags], agents.c.tags.type)
        query = query.where(agents.c.tags.op("@>" if only.match_all_tags else "&&")(tags))
    return [_stored(row) for row in await read_page(database, agents, organisation_id, query, page)]


async def agents_with_block(
    database: Database, organisation_id: OrganisationId, block_id: str, page: Page
) -> list[StoredAgent]:
    """The agents to which the block is attached, that page of them."""
    having = select(agents_blocks.c.agent_id).where(agents_blocks.c.block_id == block_id)
    query = select(*_STORED).where(living(agents, organisation_id), agents.c.id.in_(having))
    return [_stored(row) for row in await read_page(database, agents, organisation_id, query, page)]


async def count_agents(database: Database, organisation_id: OrganisationId) -> int:
    """How many agents there are."""
    return await count(database, agents, living(agents, organisation_id))


async def change_agent(
    database: Database,
    organisation_id: OrganisationId,
    agent_id: str,
    patch: AgentPatch,
    *,
    expected_revision: int | None = None,
) -> StoredAgent:
    """Change an agent; without an expected revision, whatever it is by then.

    Raises:
        NotFound: there is none, or no such block.
        Conflict: its revision is another than the expected one, another agent bears the name, or two blocks one label.
        InvalidDefinition: an agent has a name.
    """
    async with database.transaction() as connection:
        own = living(agents, organisation_id), agents.c.id == agent_id
        columns = [agents.c[name] for name in (*_FIELDS, "tags", "metadata", "revision")]
        row = _found((await connection.execute(select(*columns).where(*own).with_for_update())).first(), agent_id)
        if expected_revision not in (None, row.revision):
            raise Conflict(f"the agent {agent_id!r} has revision {row.revision} by now, not {expected_revision}")
        present = row._mapping
        values = _values(patch, present["model"])
        changed = {name: value for name, value in values.items() if value != present[name]}
        if changed:
            with refused(agents, {**present, **values}):
                await connection.execute(update(agents).where(*own).values(changed | counted(agents)))
        if "block_ids" in patch.model_fields_set:
            attached = await attach(connection, organisation_id, AGENT, agent_id, patch.block_ids or ())
            if attached and not changed:
                await touch(connection, agents, agent_id)
        return await _read(connection, organisation_id, agent_id)


async def change_attachments(
    database: Database, organisation_id: OrganisationId, agent_id: str, change: Callable[[list[BlockId]], list[BlockId]]
) -> StoredAgent:
    """Let the agent have the blocks that `change` makes of those it has.

    Raises:
        NotFound: there is no such agent, or no such block.
        Conflict: two blocks bear one label.
    """
    async with database.transaction() as connection:
        own = living(agents, organisation_id), agents.c.id == agent_id
        _found((await connection.execute(select(agents.c.id).where(*own).with_for_update())).first(), agent_id)
        present = [block.id for block in (await _read(connection, organisation_id, agent_id)).blocks]
        if await attach(connection, organisation_id, AGENT, agent_id, change(present)):
            await touch(connection, agents, agent_id)
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
    """Mark an agent as deleted, which is in no group: its name is free again, and what it said stays.

    Raises:
        NotFound: there is none.
        Conflict: groups need it; the message names them.
    """
    async with database.transaction() as connection:
        own = living(agents, organisation_id), agents.c.id == agent_id
        # A group that takes the agent in meanwhile waits for this lock, and finds it gone.
        _found((await connection.execute(select(agents.c.id).where(*own).with_for_update())).first(), agent_id)
        needing = select(groups.c.name).where(living(groups, organisation_id), in_group(agent_id))
        if names := [*(await connection.execute(needing.order_by(groups.c.name).limit(_NAMED_GROUPS))).scalars()]:
            listed = ", ".join(map(repr, names))
            raise Conflict(f"the agent {agent_id!r} is in these groups, or manages them: {listed}; `force` removes it")
        await connection.execute(update(agents).where(*own).values(deleted_at=func.now()))


async def agent_groups(
    connection: AsyncConnection, organisation_id: OrganisationId, agent_id: AgentId | str
) -> list[GroupId]:
    """The ids of the groups in which the agent is, or which it manages."""
    query = select(groups.c.id).where(living(groups, organisation_id), in_group(agent_id))
    return [*(await connection.execute(query.order_by(groups.c.id))).scalars()]


def in_group(agent_id: str) -> ColumnElement[bool]:
    """Of groups: the agent is in it, on standby included, or manages it."""
    having = select(group_members.c.group_id).where(group_members.c.agent_id == agent_id)
    rules = groups.c.manager_config
    managing = rules["manager_agent_id"].astext == agent_id, rules["fallback_manager_ids"].contains([agent_id])
    return or_(groups.c.id.in_(having), *managing)


def _found(row: Row[Any] | None, agent_id: str) -> Row[Any]:
    if row is None:
        raise NotFound(unknown("agent", [agent_id]))
    return row


def _stored(row: Row[Any]) -> StoredAgent:
    return StoredAgent.model_validate(dict(row._mapping))
