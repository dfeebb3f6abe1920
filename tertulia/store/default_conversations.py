"""The conversation that messages to a group go to: one at a time, a new one once that has closed or is put aside."""

from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects.postgresql import insert

from tertulia.core.errors import NotFound
from tertulia.core.ids import ConversationId, GroupId, OrganisationId
from tertulia.store.database import Database
from tertulia.store.definition_rows import living, unknown
from tertulia.store.tables import conversations, groups, messages


async def claim_conversation(
    database: Database,
    organisation_id: OrganisationId,
    group_id: GroupId,
    new_id: ConversationId,
    *,
    message_id: str,
    closed: ConversationId | None = None,
) -> ConversationId:
    """Where the message goes: where it is already; else to the conversation that the group has, or to `new_id`.

    Args:
        database: where.
        organisation_id: whose group it is.
        group_id: the group.
        new_id: the id of a conversation that is to be, if one is needed.
        message_id: the message's.
        closed: a conversation that is known to have closed, though the database may not know it yet.

    Raises:
        NotFound: no such group.
        NewIdTaken: `new_id` is needed and belongs to another conversation.
    """
    row = await database.row(_PRESENT, {"organisation_id": organisation_id, "group_id": group_id})
    if row and row.default_conversation_id not in (None, closed) and row.closed_at is None:
        return ConversationId(row.default_conversation_id)
    async with database.transaction() as connection:
        query = select(groups.c.default_conversation_id).where(living(groups, organisation_id), groups.c.id == group_id)
        row = (await connection.execute(query.with_for_update())).first()
        if row is None:
            raise NotFound(unknown("group", [group_id]))
        present: str | None = row.default_conversation_id
        if present is not None:
            said = messages.c.conversation_id == present, messages.c.message_id == message_id
            if (await connection.execute(select(messages.c.seq).where(*said))).first() is not None:
                return ConversationId(present)
            ended = select(conversations.c.closed_at).where(conversations.c.id == present)
            if present != closed and (await connection.execute(ended)).scalar_one_or_none() is None:
                return ConversationId(present)
        chosen = update(groups).where(groups.c.id == group_id).values(default_conversation_id=new_id)
        await connection.execute(chosen)
        values = {"id": new_id, "organisation_id": organisation_id, "group_id": group_id}
        inserted = insert(conversations).values(values).on_conflict_do_nothing().returning(conversations.c.id)
        if (await connection.execute(inserted)).first() is None:
            raise NewIdTaken
        return new_id


class NewIdTaken(Exception):
    """The id proposed for a new conversation belongs to another one; nothing was changed."""


_PRESENT = (
    select(groups.c.default_conversation_id, conversations.c.closed_at)
    .join(conversations, conversations.c.id == groups.c.default_conversation_id)
    .where(living(groups, bindparam("organisation_id")), groups.c.id == bindparam("group_id"))
)


async def put_aside(database: Database, organisation_id: OrganisationId, group_id: GroupId) -> ConversationId | None:
    """Let the next message begin a new conversation; the one that it was, if there was any.

    Raises:
        NotFound: no such group.
    """
    async with database.transaction() as connection:
        own = living(groups, organisation_id), groups.c.id == group_id
        row = (await connection.execute(select(groups.c.default_conversation_id).where(*own).with_for_update())).first()
        if row is None:
            raise NotFound(unknown("group", [group_id]))
        await connection.execute(update(groups).where(*own).values(default_conversation_id=None))
        return ConversationId(row.default_conversation_id) if row.default_conversation_id else None
