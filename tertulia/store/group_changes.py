"""Changes of groups: each stored once, in one transaction, with the conversations to notify.

Invariant: a change has an id. If it was stored before, its first result is returned and nothing is written.
"""

from collections.abc import Awaitable, Callable

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tertulia.core.activity_contracts import GroupChangeResult, GroupRevision
from tertulia.core.errors import Conflict, NotFound
from tertulia.core.group import DynamicConfig, Group
from tertulia.core.ids import AgentId, ConversationId, GroupId, OrganisationId
from tertulia.core.patches import GroupPatch, apply_group_patch
from tertulia.store.agents import agent_groups
from tertulia.store.database import Database
from tertulia.store.definition_rows import active, not_found_message
from tertulia.store.groups import GROUP_COLUMNS, group_of, replace_group
from tertulia.store.tables import agents, conversations, group_changes, groups, members

_Change = Callable[[AsyncConnection], Awaitable[GroupChangeResult]]


async def write_patch(
    database: Database,
    change_id: str,
    organisation_id: OrganisationId,
    group_id: GroupId,
    patch: GroupPatch,
    expected_revision: int | None,
) -> GroupChangeResult:
    """Update a group.

    Raises:
        NotFound: no such group, agent or block.
        InvalidDefinition: the updated group would be invalid.
        Conflict: the revision is not the expected one, or the name is taken.
    """

    async def change(connection: AsyncConnection) -> GroupChangeResult:
        group = await _locked(connection, organisation_id, group_id)
        if expected_revision is not None and group.revision != expected_revision:
            raise Conflict(f"the group has revision {group.revision} now, not {expected_revision}; read it again")
        await replace_group(connection, organisation_id, apply_group_patch(group, patch))
        now = await _locked(connection, organisation_id, group_id)
        return GroupChangeResult(groups=(GroupRevision(group_id=group_id, revision=now.revision),))

    return await _once(database, change_id, change)


async def write_deletion(
    database: Database, change_id: str, organisation_id: OrganisationId, group_id: GroupId, *, closes: bool
) -> GroupChangeResult:
    """Delete a group. Its conversations are notified only if they are to close.

    Raises:
        NotFound: no such group.
    """

    async def change(connection: AsyncConnection) -> GroupChangeResult:
        group = await _locked(connection, organisation_id, group_id)
        gone = update(groups).where(groups.c.id == group_id)
        await connection.execute(gone.values(deleted_at=func.now(), revision=groups.c.revision + 1))
        changed = (GroupRevision(group_id=group_id, revision=group.revision + 1),)
        return GroupChangeResult(groups=changed if closes else (), closes=closes)

    return await _once(database, change_id, change)


async def write_agent_deletion(
    database: Database, change_id: str, organisation_id: OrganisationId, agent_id: AgentId
) -> GroupChangeResult:
    """Delete an agent and remove it from every group; the next fallback manager replaces a deleted manager.

    Raises:
        NotFound: no such agent.
    """

    async def change(connection: AsyncConnection) -> GroupChangeResult:
        gone = update(agents).where(active(agents, organisation_id), agents.c.id == agent_id)
        deleted = await connection.execute(gone.values(deleted_at=func.now()).returning(agents.c.id))
        if deleted.first() is None:
            raise NotFound(not_found_message("agent", [agent_id]))
        changed = []
        for group_id in await agent_groups(connection, organisation_id, agent_id):
            group = await _locked(connection, organisation_id, group_id)
            await replace_group(connection, organisation_id, _without(group, agent_id))
            changed.append(GroupRevision(group_id=group_id, revision=group.revision + 1))
        return GroupChangeResult(groups=tuple(changed), left=agent_id)

    return await _once(database, change_id, change)


async def _once(database: Database, change_id: str, change: _Change) -> GroupChangeResult:
    async with database.transaction() as connection:
        # Two attempts at one change wait for each other.
        await connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(change_id, 0))))
        before = select(group_changes.c.written).where(group_changes.c.id == change_id)
        if (row := (await connection.execute(before)).first()) is not None:
            return GroupChangeResult.model_validate(row.written)
        written = await change(connection)
        await connection.execute(insert(group_changes).values(id=change_id, written=written.model_dump(mode="json")))
        return written


async def _locked(connection: AsyncConnection, organisation_id: OrganisationId, group_id: GroupId) -> Group:
    query = select(*GROUP_COLUMNS).where(active(groups, organisation_id), groups.c.id == group_id)
    row = (await connection.execute(query.with_for_update(of=groups))).first()
    if row is None:
        raise NotFound(not_found_message("group", [group_id]))
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
    """Return up to `limit` open conversations of a group with an id after `after`, by id."""
    query = select(conversations.c.id).where(
        conversations.c.group_id == group_id, conversations.c.closed_at.is_(None), conversations.c.id > after
    )
    rows = await database.rows(query.order_by(conversations.c.id).limit(limit))
    return [ConversationId(row.id) for row in rows]


async def conversations_with(
    database: Database, organisation_id: OrganisationId, agent_id: AgentId, *, after: str = "", limit: int = 100
) -> list[ConversationId]:
    """Return up to `limit` open conversations that have the agent as a member, with an id after `after`, by id."""
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
