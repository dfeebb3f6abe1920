"""Agents and groups: what people have defined. Saving the same definition twice changes nothing."""

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import Row, Table, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from groups.agents import Agent
from groups.errors import InvalidDefinition, NotFound
from groups.group import Group, Standby, check_members
from groups.ids import AgentId
from store.database import Database
from store.tables import agents, group_members, groups

Outcome = Literal["created", "updated", "unchanged"]

_AGENT_FIELDS = ("id", "name", "description", "instructions", "model", "memory")
_GROUP_FIELDS = ("id", "name", "description", "manager_config", "shared_memory", "settings")


async def save_agent(database: Database, agent: Agent) -> Outcome:
    """Create the agent, or bring the one of that id up to date.

    Raises:
        InvalidDefinition: another agent bears the name.
    """
    async with database.transaction() as connection:
        return await _save(connection, agents, agent.model_dump(mode="json", include=set(_AGENT_FIELDS)))


async def save_group(database: Database, group: Group) -> Outcome:
    """Create the group, or bring the one of that id, its ordered members included, up to date.

    Raises:
        InvalidDefinition: a member or the manager does not exist, two members bear one name, or another group bears
            the group's.
    """
    async with database.transaction() as connection:
        rows = await connection.execute(select(*(agents.c[name] for name in _AGENT_FIELDS)))
        check_members(group, [_agent(row) for row in rows])
        values = group.model_dump(mode="json", include=set(_GROUP_FIELDS))
        members = [tuple(row) for row in await connection.execute(_MEMBERS, {"group_id": group.id})]
        changed = members != _members(group)
        outcome = await _save(connection, groups, values, touch=changed)
        if changed:
            await _replace_members(connection, group)
        return outcome


async def _save(connection: AsyncConnection, table: Table, values: dict[str, Any], *, touch: bool = False) -> Outcome:
    try:
        return await _write(connection, table, values, touch=touch)
    except IntegrityError as error:
        if f"uq_{table.name}_name" not in str(error.orig):
            raise
        kind = table.name.removesuffix("s")
        raise InvalidDefinition(f"name: another {kind} already bears the name {values['name']!r}") from None


async def _write(connection: AsyncConnection, table: Table, values: dict[str, Any], *, touch: bool) -> Outcome:
    columns = [table.c[name] for name in values]
    found = (await connection.execute(select(*columns).where(table.c.id == values["id"]).with_for_update())).first()
    if found is None:
        await connection.execute(insert(table).values(values))
        return "created"
    if dict(found._mapping) == values and not touch:
        return "unchanged"
    changed = {**values, "revision": table.c.revision + 1, "updated_at": func.now()}
    await connection.execute(update(table).where(table.c.id == values["id"]).values(changed))
    return "updated"


_MEMBERS = (
    select(group_members.c.agent_id, group_members.c.standby, group_members.c.stands_in_for)
    .where(group_members.c.group_id == bindparam("group_id"))
    .order_by(group_members.c.position)
)


def _members(group: Group) -> list[tuple[AgentId, bool, AgentId | None]]:
    speakers = ((agent_id, False, None) for agent_id in group.agent_ids)
    standby = ((one.agent_id, True, one.stands_in_for) for one in group.standby)
    return [*speakers, *standby]


async def _replace_members(connection: AsyncConnection, group: Group) -> None:
    await connection.execute(delete(group_members).where(group_members.c.group_id == group.id))
    rows = [
        {
            "group_id": group.id,
            "agent_id": agent_id,
            "position": position,
            "standby": standby,
            "stands_in_for": stands_in_for,
        }
        for position, (agent_id, standby, stands_in_for) in enumerate(_members(group))
    ]
    if rows:
        await connection.execute(insert(group_members), rows)


async def find_agent(database: Database, who: str) -> Agent:
    """The agent of that id or, else, of that name, whatever its case.

    Raises:
        NotFound: there is none.
    """
    row = await database.row(_by_id_or_name(agents, _AGENT_FIELDS, who))
    if row is None:
        raise NotFound(f"no such agent: {who!r}")
    return _agent(row)


async def agents_of(database: Database, agent_ids: Sequence[AgentId]) -> list[Agent]:
    """These agents, in this order; those that do not exist are left out."""
    rows = await database.rows(select(*(agents.c[name] for name in _AGENT_FIELDS)).where(agents.c.id.in_(agent_ids)))
    by_id = {row.id: _agent(row) for row in rows}
    return [by_id[agent_id] for agent_id in agent_ids if agent_id in by_id]


async def find_group(database: Database, which: str) -> Group:
    """The group of that id or, else, of that name, whatever its case.

    Raises:
        NotFound: there is none.
    """
    row = await database.row(_by_id_or_name(groups, (*_GROUP_FIELDS, "revision"), which))
    if row is None:
        raise NotFound(f"no such group: {which!r}; `tertulia apply FILE.yaml` creates groups")
    members = await database.rows(_MEMBERS, {"group_id": row.id})
    speakers = [member.agent_id for member in members if not member.standby]
    standby = [Standby(agent_id=one.agent_id, stands_in_for=one.stands_in_for) for one in members if one.standby]
    return Group.model_validate({**row._mapping, "agent_ids": speakers, "standby": standby})


def _by_id_or_name(table: Table, fields: Sequence[str], which: str) -> Any:
    matches = or_(table.c.id == which, func.lower(table.c.name) == func.lower(which))
    by_id_first = (table.c.id == which).desc()
    return select(*(table.c[name] for name in fields)).where(matches).order_by(by_id_first).limit(1)


def _agent(row: Row[Any]) -> Agent:
    return Agent.model_validate(dict(row._mapping))
