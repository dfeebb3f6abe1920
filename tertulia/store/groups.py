"""The groups of an organisation. Invariant: saving an equal definition changes nothing."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, func, insert, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncConnection

from tertulia.core.blocks import MemoryBlock
from tertulia.core.errors import NotFound
from tertulia.core.group import Group, GroupFilter, Standby, StoredGroup, check_members
from tertulia.core.ids import AgentId, BlockId, GroupId, OrganisationId
from tertulia.core.paging import Page
from tertulia.core.records import SaveOutcome
from tertulia.store.agents import AGENT_COLUMNS, agent_of, in_group
from tertulia.store.block_attachments import GROUP, attach, blocks_of, write_block_texts, write_memory
from tertulia.store.database import Database
from tertulia.store.definition_rows import (
    active,
    bump_revision,
    by_id_or_name,
    check_created,
    missing_name_message,
    not_found_message,
    write_row,
)
from tertulia.store.paging import count, read_page
from tertulia.store.tables import agents, groups, groups_agents

_WRITTEN = ("id", "name", "description", "manager_config", "settings")
_FIELDS = (*_WRITTEN, "metadata")


def _members_column() -> ColumnElement[Any]:
    member = groups_agents.c
    one = func.json_build_array(member.agent_id, member.standby, member.stands_in_for)
    query = select(func.coalesce(func.json_agg(aggregate_order_by(one, member.position)), func.json_build_array()))
    return query.where(member.group_id == groups.c.id).correlate(groups).scalar_subquery()


GROUP_COLUMNS = (
    *(groups.c[name] for name in (*_FIELDS, "revision")),
    _members_column().label("members"),
    blocks_of(GROUP, ("id", "label", "value")).label("blocks"),
)
"""The columns of a `Group`."""


async def save_group(
    database: Database, organisation_id: OrganisationId, group: Group, *, keep_memory: bool = False
) -> SaveOutcome:
    """Create the group, or update the one with its id, including its ordered members. Metadata stay.

    Args:
        database: the database.
        organisation_id: the organisation.
        group: the definition.
        keep_memory: leave the shared blocks as they are; otherwise they get the texts of `group.shared_memory`.

    Raises:
        NotFound: a member or the manager does not exist.
        Conflict: another group has the name, or another organisation the id.
        InvalidDefinition: two members have one name, or two blocks one label.
    """
    async with database.transaction() as connection:
        outcome = await _write(connection, organisation_id, group, _WRITTEN)
        memory_changed = not keep_memory and await write_memory(
            connection, organisation_id, GROUP, group.id, group.shared_memory
        )
        return await _counted(connection, group, outcome, changed=memory_changed)


async def replace_group(connection: AsyncConnection, organisation_id: OrganisationId, group: Group) -> SaveOutcome:
    """Write the group with its metadata and the blocks of `shared_block_ids`. `shared_memory` is ignored.

    Raises:
        NotFound: no such agent or block.
        Conflict: another group has the name, another organisation the id, or two blocks have one label.
        InvalidDefinition: two members have one name.
    """
    outcome = await _write(connection, organisation_id, group, _FIELDS)
    attached = await attach(connection, organisation_id, GROUP, group.id, group.shared_block_ids)
    return await _counted(connection, group, outcome, changed=attached)


async def write_shared_texts(
    database: Database, organisation_id: OrganisationId, group_id: GroupId, memory: Sequence[MemoryBlock]
) -> tuple[tuple[BlockId, ...], bool]:
    """Write the texts that the members share. See `write_block_texts`."""
    async with database.transaction() as connection:
        ids, changed = await write_block_texts(connection, organisation_id, GROUP, group_id, memory)
        return tuple(ids), changed


async def _write(
    connection: AsyncConnection, organisation_id: OrganisationId, group: Group, fields: Iterable[str]
) -> SaveOutcome:
    await check_agents(connection, organisation_id, group)
    values = group.model_dump(mode="json", include=set(fields))
    outcome = await write_row(connection, groups, organisation_id, values)
    return await _counted(connection, group, outcome, changed=await write_members(connection, group))


async def _counted(connection: AsyncConnection, group: Group, outcome: SaveOutcome, *, changed: bool) -> SaveOutcome:
    if not changed or outcome != "unchanged":
        return outcome
    await bump_revision(connection, groups, group.id)
    return "updated"


async def check_agents(connection: AsyncConnection, organisation_id: OrganisationId, group: Group) -> None:
    """Refuse members that do not exist, and two members with one name.

    Raises:
        NotFound: the message names the missing ids.
        InvalidDefinition: the message names the members.
    """
    ids = (*group.member_ids, *group.manager_ids)
    query = select(*AGENT_COLUMNS).where(active(agents, organisation_id), agents.c.id.in_(ids))
    # An agent that is being deleted holds its row: what is found here stays until this is written.
    found = await connection.execute(query.with_for_update(read=True, of=agents))
    check_members(group, [agent_of(row) for row in found])


async def write_members(connection: AsyncConnection, group: Group) -> bool:
    """Replace the group's members by these, in this order; return whether anything changed."""
    columns = groups_agents.c.agent_id, groups_agents.c.standby, groups_agents.c.stands_in_for
    own = groups_agents.c.group_id == group.id
    present = await connection.execute(select(*columns).where(own).order_by(groups_agents.c.position))
    if [tuple(row) for row in present] == _members(group):
        return False
    await connection.execute(delete(groups_agents).where(own))
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
        await connection.execute(insert(groups_agents), rows)
    return True


def _members(group: Group) -> list[tuple[AgentId, bool, AgentId | None]]:
    speakers = ((agent_id, False, None) for agent_id in group.agent_ids)
    standby = ((one.agent_id, True, one.stands_in_for) for one in group.standby)
    return [*speakers, *standby]


async def find_group(database: Database, organisation_id: OrganisationId, id_or_name: str) -> Group:
    """Return the group with this id or, failing that, with this name in any case.

    Raises:
        NotFound: no such group.
    """
    row = await database.row(by_id_or_name(groups, organisation_id, GROUP_COLUMNS, id_or_name))
    if row is None:
        message = await missing_name_message(database, groups, organisation_id, id_or_name)
        raise NotFound(f"{message}; `tertulia apply FILE.yaml` creates groups")
    return group_of(row)


def group_of(row: Row[Any]) -> Group:
    """Build a group from a row of `GROUP_COLUMNS`."""
    values = {name: row._mapping[name] for name in (*_FIELDS, "revision")}
    return Group.model_validate(
        {
            **values,
            "agent_ids": [agent_id for agent_id, standby, _ in row.members if not standby],
            "standby": [Standby(agent_id=one, stands_in_for=other) for one, standby, other in row.members if standby],
            "shared_block_ids": [block["id"] for block in row.blocks],
            "shared_memory": [{"label": block["label"], "value": block["value"]} for block in row.blocks],
        }
    )


_STORED = (*GROUP_COLUMNS, groups.c.default_conversation_id, groups.c.created_at, groups.c.updated_at)


async def create_group(database: Database, organisation_id: OrganisationId, group: Group) -> StoredGroup:
    """Create a group in a transaction of its own. See `replace_group`.

    Raises:
        Conflict: also if the id is taken.
    """
    async with database.transaction() as connection:
        check_created(group.id, await replace_group(connection, organisation_id, group))
        return await _read(connection, organisation_id, group.id)


async def read_group(database: Database, organisation_id: OrganisationId, group_id: str) -> StoredGroup:
    """Return the group with this id and its default conversation.

    Raises:
        NotFound: no such group; the message suggests names that exist.
    """
    try:
        async with database.transaction() as connection:
            return await _read(connection, organisation_id, group_id)
    except NotFound:
        raise NotFound(await missing_name_message(database, groups, organisation_id, group_id)) from None


async def _read(connection: AsyncConnection, organisation_id: OrganisationId, group_id: str) -> StoredGroup:
    query = select(*_STORED).where(active(groups, organisation_id), groups.c.id == group_id)
    row = (await connection.execute(query)).first()
    if row is None:
        raise NotFound(not_found_message("group", [group_id]))
    return _stored(row)


async def list_groups(
    database: Database, organisation_id: OrganisationId, page: Page, filter: GroupFilter | None = None
) -> list[StoredGroup]:
    """Return one page of the groups that match `filter`.

    Raises:
        NotFound: no group has the id in `page.before` or `page.after`.
    """
    filter = filter or GroupFilter()
    query = select(*_STORED).where(active(groups, organisation_id))
    if filter.manager_type is not None:
        query = query.where(groups.c.manager_config["manager_type"].astext == filter.manager_type)
    if filter.name is not None:
        query = query.where(func.lower(groups.c.name) == func.lower(filter.name))
    if filter.agent_id is not None:
        query = query.where(in_group(filter.agent_id))
    return [_stored(row) for row in await read_page(database, groups, organisation_id, query, page)]


async def count_groups(database: Database, organisation_id: OrganisationId) -> int:
    """Return the number of groups."""
    return await count(database, groups, active(groups, organisation_id))


def _stored(row: Row[Any]) -> StoredGroup:
    return StoredGroup(
        group=group_of(row),
        default_conversation_id=row.default_conversation_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
