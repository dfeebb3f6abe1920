"""Changes of groups: each written once, in one transaction, with what the running conversations have to be told of it.

Law: a change has an id. Written before, it is not written again: its first outcome is read back.
"""

from collections.abc import Awaitable, Callable

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tertulia.core.base import Record
from tertulia.core.errors import Conflict, NotFound
from tertulia.core.group import DynamicConfig, Group
from tertulia.core.ids import AgentId, ConversationId, GroupId, OrganisationId
from tertulia.core.patches import GroupPatch, apply_group_patch
from tertulia.store.agents import agent_groups
from tertulia.store.database import Database
from tertulia.store.definition_rows import living, unknown
from tertulia.store.groups import GROUP_COLUMNS, group_of, replace_group
from tertulia.store.tables import agents, conversations, group_changes, groups, members


class ChangedGroup(Record):
    """A group after a change."""

    group_id: GroupId
    revision: int


class Written(Record):
    """What a change has written, and so what conversations are to be told."""

    groups: tuple[ChangedGroup, ...] = ()
    """Their conversations read them anew…"""
    closes: bool = False
    """…or close."""
    left: AgentId | None = None
    """An agent that is gone, also from conversations to which it was added by hand."""


_Change = Callable[[AsyncConnection], Awaitable[Written]]


async def write_patch(
    database: Database,
    change_id: str,
    organisation_id: OrganisationId,
    group_id: GroupId,
    patch: GroupPatch,
    expected_revision: int | None,
) -> Written:
    """Change a group.

    Raises:
        NotFound: no such group, agent or block.
        InvalidDefinition: such a group cannot be.
        Conflict: it has another revision than the expected one, or the name is taken.
    """

    async def change(connection: AsyncConnection) -> Written:
        group = await _locked(connection, organisation_id, group_id)
        if expected_revision is not None and group.revision != expected_revision:
            raise Conflict(f"the group has revision {group.revision} now, not {expected_revision}; read it anew")
        await replace_group(connection, organisation_id, apply_group_patch(group, patch))
        now = await _locked(connection, organisation_id, group_id)
        return Written(groups=(ChangedGroup(group_id=group_id, revision=now.revision),))

    return await _once(database, change_id, change)


async def write_deletion(
    database: Database, change_id: str, organisation_id: OrganisationId, group_id: GroupId, *, closes: bool
) -> Written:
    """Delete a group; with `closes`, its conversations are to close.

    Raises:
        NotFound: no such group.
    """

    async def change(connection: AsyncConnection) -> Written:
        group = await _locked(connection, organisation_id, group_id)
        gone = update(groups).where(groups.c.id == group_id)
        await connection.execute(gone.values(deleted_at=func.now(), revision=groups.c.revision + 1))
        told = (ChangedGroup(group_id=group_id, revision=group.revision + 1),)
        return Written(groups=told if closes else (), closes=closes)

    return await _once(database, change_id, change)


async def write_agent_deletion(
    database: Database, change_id: str, organisation_id: OrganisationId, agent_id: AgentId
) -> Written:
    """Delete an agent, and take it out of every group; where it managed, the next in line does.

    Raises:
        NotFound: no such agent.
    """

    async def change(connection: AsyncConnection) -> Written:
        gone = update(agents).where(living(agents, organisation_id), agents.c.id == agent_id)
        deleted = await connection.execute(gone.values(deleted_at=func.now()).returning(agents.c.id))
        if deleted.first() is None:
            raise NotFound(unknown("agent", [agent_id]))
        changed = []
        for group_id in await agent_groups(connection, organisation_id, agent_id):
            group = await _locked(connection, organisation_id, group_id)
            await replace_group(connection, organisation_id, _without(group, agent_id))
            changed.append(ChangedGroup(group_id=group_id, revision=group.revision + 1))
        return Written(groups=tuple(changed), left=agent_id)

    return await _once(database, change_id, change)


async def _once(database: Database, change_id: str, change: _Change) -> Written:
    async with database.transaction() as connection:
        # Two attempts at one change wait for each other.
        await connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(change_id, 0))))
        before = select(group_changes.c.written).where(group_changes.c.id == change_id)
        if (row := (await connection.execute(before)).first()) is not None:
            return Written.model_validate(row.written)
        written = await change(connection)
        await connection.execute(insert(group_changes).values(id=change_id, written=written.model_dump(mode="json")))
        return written


async def _locked(connection: AsyncConnection, organisation_id: OrganisationId, group_id: GroupId) -> Group:
    query = select(*GROUP_COLUMNS).where(living(groups, organisation_id), groups.c.id == group_id)
    row = (await connection.execute(query.with_for_update(of=groups))).first()
    if row is None:
        raise NotFound(unknown("group", [group_id]))
    return group_of(row)


def _without(group: Group, agent_id: AgentId) -> Group:
    rules = group.manager_config
    if isinstance(rules, DynamicConfig):
        left = [one for one in rules.manager_ids if one != agent_id]
        first = left[0] if left else None
        rules = rules.model_copy(update={"manager_agent_id": first, "fallback_manager_ids": tuple(left[1:])})
    standby = tuple(
        one.model_copy(update={"stands_in_for": None}) if one.stands_in_for == agent_id else one
        for one in group.standby
        if one.agent_id != agent_id
    )
    agent_ids = tuple(one for one in group.agent_ids if one != agent_id)
    return group.model_copy(update={"agent_ids": agent_ids, "standby": standby, "manager_config": rules})


async def running_conversations(
    database: Database, group_id: GroupId, *, after: str = "", limit: int = 100
) -> list[ConversationId]:
    """The open conversations of a group, by id, after that one."""
    query = select(conversations.c.id).where(
        conversations.c.group_id == group_id, conversations.c.closed_at.is_(None), conversations.c.id > after
    )
    rows = await database.rows(query.order_by(conversations.c.id).limit(limit))
    return [ConversationId(row.id) for row in rows]


async def conversations_with(
    database: Database, organisation_id: OrganisationId, agent_id: AgentId, *, after: str = "", limit: int = 100
) -> list[ConversationId]:
    """The open conversations in which the agent is, by id, after that one."""
    joined = conversations.join(members, members.c.conversation_id == conversations.c.id)
    query = (
        select(conversations.c.id)
        .select_from(joined)
        .where(
            members.c.agent_id == agent_id,
            members.c.state != "removed",
            conversations.c.organisation_id == organisation_id,
            conversations.c.closed_at.is_(None),
            conversations.c.id > after,
        )
    )
    rows = await database.rows(query.order_by(conversations.c.id).limit(limit))
    return [ConversationId(row.id) for row in rows]
