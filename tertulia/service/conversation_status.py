"""Where a conversation stands: what its workflow says of itself, and how far its events have come."""

from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from tertulia.client.backend import Answer, SourceAway
from tertulia.core.errors import NotFound
from tertulia.core.records import NO_DATABASE
from tertulia.core.status import ConversationStatus
from tertulia.store.events import last_event, number_of_message

if TYPE_CHECKING:
    from tertulia.client.client import Tertulia


async def present_status(client: "Tertulia", conversation_id: str) -> ConversationStatus:
    """As the client's `status`, but a closed conversation is read from the database: that needs no worker.

    Raises:
        NotFound: there is no such conversation.
        Unavailable: no answer.
    """
    try:
        row = await client.conversation(conversation_id)
    except NotFound:
        # One that was started a moment ago has no row yet.
        return await client.status(conversation_id)
    if row.final_status is not None:
        return ConversationStatus.model_validate(row.final_status)
    return await client.status(conversation_id)


async def answer(client: "Tertulia", conversation_id: str) -> Answer:
    """What the workflow says of itself, and the last event that there was after it had answered.

    Raises:
        SourceAway: the database does not answer.
        Unavailable: nobody else answers.
    """
    try:
        status = await present_status(client, conversation_id)
        return Answer(status, await last_event(client.database, conversation_id))
    except (DBAPIError, TimeoutError):
        raise SourceAway(NO_DATABASE) from None


async def beginning(client: "Tertulia", conversation_id: str, *, last: int | None = None) -> int:
    """Behind which event to begin to watch: that before the last so many messages; None = from the start.

    Raises:
        NotFound: there is no such conversation.
    """
    try:
        row = await client.conversation(conversation_id)
    except NotFound:
        if not await client.is_running(conversation_id):
            raise
        return 0
    if last is None or last >= row.last_seq:
        return 0
    if last == 0:
        return await last_event(client.database, conversation_id)
    return await number_of_message(client.database, conversation_id, row.last_seq - last)
