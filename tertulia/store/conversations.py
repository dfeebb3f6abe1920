"""The rows of conversations. Invariant: opened once, counted up by each turn, closed once."""

from typing import Any

from pydantic import JsonValue
from sqlalchemy import ColumnElement, Row, and_, bindparam, delete, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from tertulia.core.base import Record
from tertulia.core.conversations import ConversationFilter
from tertulia.core.errors import Conflict, NotFound
from tertulia.core.group import CatchUp, catch_up_start
from tertulia.core.ids import DEFAULT_ORGANISATION, AgentId, ConversationId, GroupId, OrganisationId
from tertulia.core.paging import Page
from tertulia.core.phases import PhaseChange
from tertulia.core.records import ConversationRow, StoredConversation
from tertulia.core.roster import MemberRef
from tertulia.core.state import Fork
from tertulia.store.database import Database
from tertulia.store.forks import copy_shared_part
from tertulia.store.paging import read_page
from tertulia.store.rounds import change_phase
from tertulia.store.tables import (
    conversations,
    events,
    groups,
    members,
    membership_changes,
    messages,
    rounds,
    selections,
    turns,
)


class ConversationOpening(Record):
    """The data that a conversation starts with."""

    organisation_id: OrganisationId = DEFAULT_ORGANISATION
    group_id: GroupId
    revision: int = 1
    """The group's revision from which the other fields were read."""
    members: tuple[MemberRef, ...]
    standby: tuple[AgentId, ...] = ()
    catch_up: CatchUp = "full"
    fork: Fork | None = None


async def open_conversation(database: Database, conversation_id: ConversationId, opening: ConversationOpening) -> bool:
    """Create the conversation and its members. Idempotent.

    Returns:
        False if the group has another revision than `opening.revision`. Read the group again then: a change of a group
        notifies the conversations that are open, so a conversation must open with the present group.
    """
    async with database.transaction() as connection:
        found = select(groups.c.revision).where(groups.c.id == opening.group_id).with_for_update(read=True)
        if (await connection.execute(found)).scalar_one() != opening.revision:
            return False
        values = {"id": conversation_id, "organisation_id": opening.organisation_id, "group_id": opening.group_id}
        await connection.execute(insert(conversations).values(values).on_conflict_do_nothing())
        own = conversations.c.id == conversation_id
        last_event = await connection.execute(select(conversations.c.last_event).where(own).with_for_update())
        if last_event.scalar_one():
            return True
        # An earlier attempt may have opened it with what the group was then.
        await connection.execute(delete(members).where(members.c.conversation_id == conversation_id))
        rows = [
            {
                "conversation_id": conversation_id,
                "agent_id": member.agent_id,
                "name": member.name,
                "state": "standby" if member.agent_id in opening.standby else "active",
                "position": position,
                "visible_from": catch_up_start(opening.catch_up, 0),
                "cursor": 0,
            }
            for position, member in enumerate(opening.members)
        ]
        if rows:
            await connection.execute(insert(members), rows)
        if opening.fork and opening.fork.seq:
            await copy_shared_part(connection, conversation_id, opening.fork)
    return True


async def close_conversation(
    database: Database, conversation_id: ConversationId, change: PhaseChange, final_status: dict[str, JsonValue]
) -> int:
    """Set every member's cursor to the last message, store the end and emit its event. Returns the last `seq`."""
    closed = (
        update(conversations)
        .where(conversations.c.id == conversation_id)
        .values(
            stop_reason=change.reason,
            final_status=final_status,
            closed_at=func.coalesce(conversations.c.closed_at, func.now()),
        )
        .returning(conversations.c.last_seq)
    )
    async with database.transaction() as connection:
        last_seq: int = (await connection.execute(closed)).scalar_one()
        await change_phase(connection, conversation_id, change)
        caught_up = members.c.conversation_id == conversation_id, members.c.state != "removed"
        await connection.execute(update(members).where(*caught_up).values(cursor=last_seq))
        return last_seq


async def reserve_conversation(
    database: Database,
    organisation_id: OrganisationId,
    conversation_id: ConversationId,
    group_id: GroupId,
    fork: Fork | None = None,
) -> bool:
    """Reserve the id for the organisation's conversation before its workflow starts. Idempotent.

    Returns:
        False if the id belongs to another conversation.
    """
    values: dict[str, object] = {
        "id": conversation_id,
        "organisation_id": organisation_id,
        "group_id": group_id,
    }
    if fork:
        values |= {"forked_from": fork.source, "forked_turn": fork.turn}
    async with database.transaction() as connection:
        await connection.execute(insert(conversations).values(values).on_conflict_do_nothing())
        own = select(conversations.c.group_id).where(
            conversations.c.id == conversation_id, conversations.c.organisation_id == organisation_id
        )
        return (await connection.execute(own)).scalar_one_or_none() == group_id


_COLUMNS = (
    conversations.c.id.label("conversation_id"),
    conversations.c.organisation_id,
    conversations.c.group_id,
    groups.c.name.label("group"),
    conversations.c.phase,
    conversations.c.last_seq,
    conversations.c.last_turn,
    conversations.c.stop_reason,
    conversations.c.forked_from,
    conversations.c.forked_turn,
    conversations.c.created_at,
    conversations.c.closed_at,
)
_joined = conversations.join(groups, groups.c.id == conversations.c.group_id)


async def find_conversation(
    database: Database, conversation_id: str, organisation_id: OrganisationId | None = None
) -> StoredConversation:
    """Return the conversation with this id and, if it is closed, its final status.

    Args:
        database: the database.
        conversation_id: the id.
        organisation_id: find only a conversation of this organisation; None = of any.

    Raises:
        NotFound: no such conversation.
    """
    query = select(*_COLUMNS, conversations.c.final_status).select_from(_joined)
    query = query.where(conversations.c.id == conversation_id)
    if organisation_id is not None:
        query = query.where(conversations.c.organisation_id == organisation_id)
    row = await database.row(query)
    if row is None:
        raise NotFound(f"no such conversation: {conversation_id!r}; `tertulia list` shows those there are")
    return StoredConversation.model_validate(dict(row._mapping))


_OWNED = select(conversations.c.id).where(
    conversations.c.id == bindparam("id"), conversations.c.organisation_id == bindparam("organisation_id")
)


async def check_owner(database: Database, conversation_id: str, organisation_id: OrganisationId) -> None:
    """Refuse a conversation of another organisation.

    Raises:
        NotFound: the organisation has no conversation with this id.
    """
    if await database.row(_OWNED, {"id": conversation_id, "organisation_id": organisation_id}) is None:
        raise NotFound(f"no such conversation: {conversation_id!r}")


async def list_conversations(
    database: Database, organisation_id: OrganisationId, page: Page, filter: ConversationFilter | None = None
) -> list[ConversationRow]:
    """Return one page of an organisation's conversations that match `filter`.

    Raises:
        NotFound: no conversation has the id in `page.before` or `page.after`.
    """
    query = select(*_COLUMNS).select_from(_joined).where(_matches(organisation_id, filter))
    return [_conversation(row) for row in await read_page(database, conversations, organisation_id, query, page)]


async def count_conversations(
    database: Database, organisation_id: OrganisationId, filter: ConversationFilter | None = None
) -> int:
    """Return the number of an organisation's conversations that match `filter`."""
    query = select(func.count()).select_from(_joined).where(_matches(organisation_id, filter))
    row = await database.row(query)
    return int(row[0]) if row else 0


def _matches(organisation_id: OrganisationId, filter: ConversationFilter | None) -> ColumnElement[bool]:
    conditions = [conversations.c.organisation_id == organisation_id]
    if filter is None:
        return and_(*conditions)
    if filter.group is not None:
        conditions.append(
            or_(conversations.c.group_id == filter.group, func.lower(groups.c.name) == filter.group.lower())
        )
    if filter.phase is not None:
        conditions.append(conversations.c.phase == filter.phase)
    if filter.id_prefix is not None:
        conditions.append(conversations.c.id.startswith(filter.id_prefix, autoescape=True))
    if filter.created_after is not None:
        conditions.append(conversations.c.created_at >= filter.created_after)
    if filter.created_before is not None:
        conditions.append(conversations.c.created_at < filter.created_before)
    if filter.member is not None:
        is_member = or_(members.c.agent_id == filter.member, func.lower(members.c.name) == filter.member.lower())
        own = members.c.conversation_id == conversations.c.id, members.c.state != "removed"
        conditions.append(exists().where(*own, is_member))
    return and_(*conditions)


async def delete_conversation(database: Database, organisation_id: OrganisationId, conversation_id: str) -> None:
    """Delete a closed conversation and everything recorded of it. Forks keep their own copy of what they share.

    Raises:
        NotFound: the organisation has no such conversation.
        Conflict: the conversation is open.
    """
    own = conversations.c.id == conversation_id, conversations.c.organisation_id == organisation_id
    async with database.transaction() as connection:
        row = (await connection.execute(select(conversations.c.closed_at).where(*own).with_for_update())).first()
        if row is None:
            raise NotFound(f"no such conversation: {conversation_id!r}")
        if row.closed_at is None:
            raise Conflict(f"{conversation_id!r} is open: stop it first, then delete it")
        default = groups.c.default_conversation_id == conversation_id
        await connection.execute(update(groups).where(default).values(default_conversation_id=None))
        forks = conversations.c.forked_from == conversation_id
        await connection.execute(update(conversations).where(forks).values(forked_from=None, forked_turn=None))
        for table in (events, selections, membership_changes, messages, turns, rounds, members):
            await connection.execute(delete(table).where(table.c.conversation_id == conversation_id))
        await connection.execute(delete(conversations).where(*own))


def _conversation(row: Row[Any]) -> ConversationRow:
    return ConversationRow.model_validate(dict(row._mapping))
