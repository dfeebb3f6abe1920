"""`/v1/conversations`: start, list, read, fork and delete conversations. Commands are in `commands`."""

from typing import Annotated

from fastapi import APIRouter, Query

from tertulia.api.dependencies import ConversationsToChange, ConversationsToRead, ConversationsToStart
from tertulia.api.schemas.conversations import (
    Conversation,
    ConversationFilterQuery,
    ConversationQuery,
    EventCursor,
    NumberedPageQuery,
)
from tertulia.api.schemas.responses import DeletedResponse
from tertulia.core.conversations import NewConversation, NewFork
from tertulia.core.records import FinishedTurn, MemberRow, MembershipChange, Message
from tertulia.core.state import TurnSummary
from tertulia.core.status import ConversationStatus

router = APIRouter(prefix="/conversations", tags=["conversations"])

Last = Annotated[int | None, Query(ge=0, le=2**53, description="Number of messages; null = all messages.")]


@router.get("/", summary="List conversations")
async def conversations(
    service: ConversationsToRead, query: Annotated[ConversationQuery, Query()]
) -> list[Conversation]:
    """List the conversations of the organisation, page by page."""
    return [Conversation.from_row(row) for row in await service.list(query.page, query.filter)]


@router.post("/", summary="Start a conversation", status_code=201)
async def create(service: ConversationsToStart, body: NewConversation) -> Conversation:
    """Start a conversation of a group with its first message.

    The response comes before the first turn; the conversation's events report the progress.
    """
    return Conversation.from_row(await service.create(body))


@router.get("/count", summary="Count conversations")
async def count(service: ConversationsToRead, query: Annotated[ConversationFilterQuery, Query()]) -> int:
    """Return the number of conversations that match the query."""
    return await service.count(query.filter)


@router.get("/{conversation_id}", summary="Retrieve a conversation")
async def retrieve(service: ConversationsToRead, conversation_id: str) -> Conversation:
    """Return a conversation."""
    return Conversation.from_row(await service.retrieve(conversation_id))


@router.delete("/{conversation_id}", summary="Delete a conversation")
async def delete(service: ConversationsToChange, conversation_id: str) -> DeletedResponse:
    """Delete a closed conversation: its transcript, all other records of it, and its history in Temporal."""
    await service.delete(conversation_id)
    return DeletedResponse(message=f"conversation {conversation_id!r} deleted")


@router.get("/{conversation_id}/status", summary="Retrieve the status of a conversation")
async def status(
    service: ConversationsToRead,
    conversation_id: str,
    live: Annotated[bool, Query(description="Query the workflow even if the conversation is closed.")] = False,
) -> ConversationStatus:
    """Return the status: phase, roster, usage, pending input and refused signals."""
    return await service.status(conversation_id, live=live)


@router.get("/{conversation_id}/events/cursor", summary="Find an event by messages")
async def event_cursor(service: ConversationsToRead, conversation_id: str, last: Last = None) -> EventCursor:
    """Return the event number after which the last messages follow, for `after` of the event stream."""
    return EventCursor(after=await service.event_cursor(conversation_id, last=last))


@router.get("/{conversation_id}/beginning", summary="Find an event by messages (old path)", deprecated=True)
async def beginning(service: ConversationsToRead, conversation_id: str, last: Last = None) -> EventCursor:
    """Return the same as `events/cursor`."""
    return await event_cursor(service, conversation_id, last)


@router.get("/{conversation_id}/recent-turns", summary="List the most recent turns")
async def recent_turns(service: ConversationsToRead, conversation_id: str) -> list[TurnSummary]:
    """List the most recent turns, oldest first, as the workflow keeps them."""
    return await service.recent_turns(conversation_id)


@router.get("/{conversation_id}/messages", summary="List the messages of a conversation")
async def transcript(
    service: ConversationsToRead, conversation_id: str, query: Annotated[NumberedPageQuery, Query()]
) -> list[Message]:
    """List the messages with a `seq` greater than `after`, oldest first."""
    return await service.messages(conversation_id, after=query.after, limit=query.limit)


@router.get("/{conversation_id}/turns", summary="List the turns of a conversation")
async def turns(
    service: ConversationsToRead, conversation_id: str, query: Annotated[NumberedPageQuery, Query()]
) -> list[FinishedTurn]:
    """List the turns after turn `after`, oldest first: speaker, reason, model and usage."""
    return await service.turns(conversation_id, after=query.after, limit=query.limit)


@router.get("/{conversation_id}/members", summary="List the members of a conversation")
async def members(service: ConversationsToRead, conversation_id: str) -> list[MemberRow]:
    """List every present and former member, with its usage and the last message that it has read."""
    return await service.members(conversation_id)


@router.get("/{conversation_id}/membership", summary="List roster changes")
async def membership(
    service: ConversationsToRead, conversation_id: str, query: Annotated[NumberedPageQuery, Query()]
) -> list[MembershipChange]:
    """List the roster changes after epoch `after`, oldest first, each with the id of its command."""
    return await service.membership_changes(conversation_id, after=query.after, limit=query.limit)


@router.post("/{conversation_id}/fork", summary="Fork a conversation", status_code=201)
async def fork(service: ConversationsToChange, conversation_id: str, body: NewFork) -> Conversation:
    """Start a conversation that shares the transcript of this one up to a turn, with other members or another model."""
    return Conversation.from_row(await service.fork(conversation_id, body))
