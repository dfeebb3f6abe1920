"""`/v1/conversations`: start, list, read, fork and delete conversations. Commands are in `commands`."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field

from tertulia.api.dependencies import ConversationsToChange, ConversationsToRead, ConversationsToStart
from tertulia.api.schemas.requests import DeletedResponse, PageQuery, RequestModel
from tertulia.core.conversations import ConversationFilter, NewConversation, NewFork
from tertulia.core.paging import DEFAULT_PAGE, MAX_PAGE
from tertulia.core.phases import PublicPhase
from tertulia.core.records import ConversationRow, FinishedTurn, MemberRow, MembershipChange, Message
from tertulia.core.state import TurnSummary
from tertulia.core.status import ConversationStatus

router = APIRouter(prefix="/conversations", tags=["conversations"])


class Conversation(BaseModel):
    """A conversation, as the database has it."""

    id: str
    organisation_id: str
    group_id: str
    group: str
    """The group's name."""
    phase: PublicPhase
    messages: int
    turns: int
    stop_reason: str | None
    """Why the last round, or the conversation, ended."""
    forked_from: str | None
    forked_turn: int | None
    created_at: datetime
    closed_at: datetime | None

    @classmethod
    def from_row(cls, row: ConversationRow) -> Self:
        """Convert from a row."""
        values = row.model_dump(include=set(cls.model_fields))
        return cls(**values, id=row.conversation_id, messages=row.last_seq, turns=row.last_turn)


class EventCursor(BaseModel):
    """A place among a conversation's events."""

    after: int
    """The number of an event, as the event stream takes it; 0 = before the first."""


class ConversationFilterQuery(RequestModel):
    """Which conversations are meant: those that match every field that is set."""

    group_id: str | None = Field(default=None, max_length=128, description="Id or name of the group.")
    phase: PublicPhase | None = None
    member: str | None = Field(default=None, max_length=128, description="Id or name of a present member.")
    id_prefix: str | None = Field(default=None, max_length=128, description="The id starts with this text.")
    created_after: AwareDatetime | None = Field(default=None, description="Created at this time or later.")
    created_before: AwareDatetime | None = Field(default=None, description="Created before this time.")

    @property
    def filter(self) -> ConversationFilter:
        """The filter that the service takes."""
        return ConversationFilter(
            group=self.group_id,
            phase=self.phase,
            member=self.member,
            id_prefix=self.id_prefix,
            created_after=self.created_after,
            created_before=self.created_before,
        )


class ConversationQuery(ConversationFilterQuery, PageQuery):
    """One page of the conversations that match."""


class NumberedPageQuery(RequestModel):
    """Which part of a list that is counted: 1, 2, 3…"""

    after: int = Field(default=0, ge=0, le=2**53)
    limit: int = Field(default=DEFAULT_PAGE, ge=1, le=MAX_PAGE)


@router.get("/")
async def conversations(
    service: ConversationsToRead, query: Annotated[ConversationQuery, Query()]
) -> list[Conversation]:
    """List the conversations of the organisation, page by page."""
    return [Conversation.from_row(row) for row in await service.list(query.page, query.filter)]


@router.post("/", status_code=201)
async def create(service: ConversationsToStart, body: NewConversation) -> Conversation:
    """Start a conversation of a group with its first message. It runs by itself; its events report its progress."""
    return Conversation.from_row(await service.create(body))


@router.get("/count")
async def count(service: ConversationsToRead, query: Annotated[ConversationFilterQuery, Query()]) -> int:
    """Return the number of conversations that match the query."""
    return await service.count(query.filter)


@router.get("/{conversation_id}")
async def retrieve(service: ConversationsToRead, conversation_id: str) -> Conversation:
    """Return a conversation."""
    return Conversation.from_row(await service.retrieve(conversation_id))


@router.delete("/{conversation_id}")
async def delete(service: ConversationsToChange, conversation_id: str) -> DeletedResponse:
    """Delete a closed conversation: its transcript, everything recorded of it, and its history in Temporal."""
    await service.delete(conversation_id)
    return DeletedResponse(message=f"conversation {conversation_id!r} deleted")


@router.get("/{conversation_id}/status")
async def status(
    service: ConversationsToRead,
    conversation_id: str,
    live: Annotated[bool, Query(description="Ask the workflow even if the conversation is closed.")] = False,
) -> ConversationStatus:
    """Return the status: phase, roster, usage, pending input and refused signals."""
    return await service.status(conversation_id, live=live)


Last = Annotated[int | None, Query(ge=0, le=2**53, description="How many messages; none = all of them.")]


@router.get("/{conversation_id}/events/cursor")
async def event_cursor(service: ConversationsToRead, conversation_id: str, last: Last = None) -> EventCursor:
    """Return the event number after which the last messages follow, for `after` of the event stream."""
    return EventCursor(after=await service.event_cursor(conversation_id, last=last))


@router.get("/{conversation_id}/beginning", deprecated=True)
async def beginning(service: ConversationsToRead, conversation_id: str, last: Last = None) -> EventCursor:
    """Return the same as `events/cursor`."""
    return await event_cursor(service, conversation_id, last)


@router.get("/{conversation_id}/recent-turns")
async def recent_turns(service: ConversationsToRead, conversation_id: str) -> list[TurnSummary]:
    """Return the last turns, as the running conversation keeps them."""
    return await service.recent_turns(conversation_id)


@router.get("/{conversation_id}/messages")
async def transcript(
    service: ConversationsToRead, conversation_id: str, query: Annotated[NumberedPageQuery, Query()]
) -> list[Message]:
    """List the messages with a `seq` greater than `after`, the oldest first."""
    return await service.messages(conversation_id, after=query.after, limit=query.limit)


@router.get("/{conversation_id}/turns")
async def turns(
    service: ConversationsToRead, conversation_id: str, query: Annotated[NumberedPageQuery, Query()]
) -> list[FinishedTurn]:
    """List the turns after turn `after`, the oldest first: speaker, reason, model and cost."""
    return await service.turns(conversation_id, after=query.after, limit=query.limit)


@router.get("/{conversation_id}/members")
async def members(service: ConversationsToRead, conversation_id: str) -> list[MemberRow]:
    """List every present and former member, with the last message each has read."""
    return await service.members(conversation_id)


@router.get("/{conversation_id}/membership")
async def membership(
    service: ConversationsToRead, conversation_id: str, query: Annotated[NumberedPageQuery, Query()]
) -> list[MembershipChange]:
    """List the changes of the roster after epoch `after`, the oldest first, each with its command."""
    return await service.membership_changes(conversation_id, after=query.after, limit=query.limit)


@router.post("/{conversation_id}/fork", status_code=201)
async def fork(service: ConversationsToChange, conversation_id: str, body: NewFork) -> Conversation:
    """Start a conversation that shares this one's first turns, with another roster or another model."""
    return Conversation.from_row(await service.fork(conversation_id, body))
