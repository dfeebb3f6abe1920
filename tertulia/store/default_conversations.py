"""The default conversation of a group, to which messages to the group go. A closed or reset one is replaced."""

from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects.postgresql import insert

from tertulia.core.errors import NotFound
from tertulia.core.ids import ConversationId, GroupId, OrganisationId
from tertulia.store.database import Database
from tertulia.store.definition_rows import active, not_found_message
from tertulia.store.tables import conversations, groups, messages


async def claim_default_conversation(
    database: Database,
    organisation_id: OrganisationId,
    group_id: GroupId,
    new_id: ConversationId,
    *,
    message_id: str,
    closed: ConversationId | None = None,
) -> ConversationId:
    """Return the conversation that takes a message to the group.

    It is the one that has the message already, else the group's open default conversation, else `new_id`.

    Args:
        database: the database.
        organisation_id: the organisation.
        group_id: the group.
        new_id: the id of a new conversation, if one is needed.
        message_id: the message.
        closed: a conversation that has closed, although the database may not have recorded it yet.

    Raises:
        NotFound: no such group.
        NewIdTaken: `new_id` is needed and belongs to another conversation.
    """
    row = await database.row(_PRESENT, {"organisation_id": organisation_id, "group_id": group_id})
    if row and row.default_conversation_id not in (None, closed) and row.closed_at is None:
        return ConversationId(row.default_conversation_id)
    async with database.transaction() as connection:
        query = select(groups.c.default_conversation_id).where(active(groups, organisation_id), groups.c.id == group_id)
        row = (await connection.execute(query.with_for_update())).first()
        if row is None:
            raise NotFound(not_found_message("group", [group_id]))
        present: str | None = row.default_conversation_id
        if present is not None:
            is_posted = messages.c.conversation_id == present, messages.c.message_id == message_id
            if (await connection.execute(select(messages.c.seq).where(*is_posted))).first() is not None:
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
    .where(active(groups, bindparam("organisation_id")), groups.c.id == bindparam("group_id"))
)


async def reset_default_conversation(
    database: Database, organisation_id: OrganisationId, group_id: GroupId
) -> ConversationId | None:
    """Remove the group's default conversation, so that the next message starts a new one; return its id, if any.

    Raises:
        NotFound: no such group.
    """
    async with database.transaction() as connection:
        own = active(groups, organisation_id), groups.c.id == group_id
        row = (await connection.execute(select(groups.c.default_conversation_id).where(*own).with_for_update())).first()
        if row is None:
            raise NotFound(not_found_message("group", [group_id]))
        await connection.execute(update(groups).where(*own).values(default_conversation_id=None))
        return ConversationId(row.default_conversation_id) if row.default_conversation_id else None
