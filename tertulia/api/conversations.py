"""`/v1/conversations`: start, read and fork conversations. What steers one that runs is in `commands`."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tertulia.api.dependencies import Client
from tertulia.api.schemas.requests import Body, Paged
from tertulia.api.security import Operator, Poster, Reader
from tertulia.core.conversations import NewConversation, NewFork
from tertulia.core.ids import ConversationId
from tertulia.core.paging import DEFAULT_PAGE, MAX_PAGE
from tertulia.core.phases import PublicPhase
from tertulia.core.state import TurnSummary
from tertulia.core.status import ConversationStatus
from tertulia.service.conversations import Conversations
from tertulia.store.conversations import ConversationRow
from tertulia.store.membership import MemberRow, MembershipChange
from tertulia.store.spans import Span, read_span
from tertulia.store.transcript import Message
from tertulia.store.turns import FinishedTurn, read_turns

router = APIRouter(prefix="/conversations", tags=["conversations"])


class Conversation(BaseModel):
    """A conversation, as the database has it."""

    id: str
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
    def of(cls, row: ConversationRow) -> Self:
        """What a row tells of its conversation."""
        values = row.model_dump(include=set(cls.model_fields))
        return cls(**values, id=row.conversation_id, messages=row.last_seq, turns=row.last_turn)


class Beginning(BaseModel):
    """A place among a conversation's events."""

    after: int
    """The number of an event, as the stream of events takes it; 0 = before the first."""


class ConversationQuery(Paged):
    """Which conversations."""

    group_id: str | None = None
    """Only those of this group."""


class SpanQuery(Body):
    """Which part of a list that is counted: 1, 2, 3…"""

    after: int = Field(default=0, ge=0, le=2**53)
    limit: int = Field(default=DEFAULT_PAGE, ge=1, le=MAX_PAGE)


@router.get("/")
async def conversations(
    client: Client, principal: Reader, query: Annotated[ConversationQuery, Query()]
) -> list[Conversation]:
    """A page of the conversations."""
    service = Conversations(client, principal.organisation_id)
    return [Conversation.of(row) for row in await service.listed(query.page, query.group_id)]


@router.post("/", status_code=201)
async def start(client: Client, principal: Poster, body: NewConversation) -> Conversation:
    """Start a conversation of a group with its first message. It goes on by itself; its events tell how."""
    return Conversation.of(await Conversations(client, principal.organisation_id).start(body))


@router.get("/{conversation_id}")
async def retrieve(client: Client, principal: Reader, conversation_id: str) -> Conversation:
    """A conversation."""
    return Conversation.of(await Conversations(client, principal.organisation_id).retrieve(conversation_id))


@router.get("/{conversation_id}/status")
async def status(client: Client, principal: Reader, conversation_id: str) -> ConversationStatus:
    """Where a conversation stands: phase, roster, cost, what waits and what was refused."""
    return await client.within(principal.organisation_id).present_status(conversation_id)


@router.get("/{conversation_id}/beginning")
async def beginning(
    client: Client,
    principal: Reader,
    conversation_id: str,
    last: Annotated[int | None, Query(ge=0, le=2**53, description="How many messages; none = all of them.")] = None,
) -> Beginning:
    """Behind which event to begin to follow the conversation, so as to be told its last messages and all since then."""
    await Conversations(client, principal.organisation_id).retrieve(conversation_id)
    return Beginning(after=await client.within(principal.organisation_id).beginning(conversation_id, last=last))


@router.get("/{conversation_id}/recent-turns")
async def recent_turns(client: Client, principal: Reader, conversation_id: str) -> list[TurnSummary]:
    """The last turns, as the conversation itself remembers them."""
    return await client.within(principal.organisation_id).recent_turns(conversation_id)


@router.get("/{conversation_id}/messages")
async def transcript(
    client: Client, principal: Reader, conversation_id: str, query: Annotated[SpanQuery, Query()]
) -> list[Message]:
    """The messages with a `seq` greater than `after`, oldest first."""
    await client.within(principal.organisation_id).check(conversation_id)
    return await read_span(client.database, ConversationId(conversation_id), Span(after=query.after, limit=query.limit))


@router.get("/{conversation_id}/turns")
async def turns(
    client: Client, principal: Reader, conversation_id: str, query: Annotated[SpanQuery, Query()]
) -> list[FinishedTurn]:
    """The turns after number `after`, oldest first: who spoke, why, by which model, at what cost."""
    await client.within(principal.organisation_id).check(conversation_id)
    return await read_turns(client.database, conversation_id, after_turn=query.after, limit=query.limit)


@router.get("/{conversation_id}/members")
async def members(client: Client, principal: Reader, conversation_id: str) -> list[MemberRow]:
    """Everyone who is, or was, in the conversation, and how far each has read."""
    return await client.within(principal.organisation_id).members(conversation_id)


@router.get("/{conversation_id}/membership")
async def membership(
    client: Client, principal: Reader, conversation_id: str, query: Annotated[SpanQuery, Query()]
) -> list[MembershipChange]:
    """The changes of the roster after epoch `after`, oldest first, with what caused each."""
    scoped = client.within(principal.organisation_id)
    return await scoped.membership(conversation_id, after_epoch=query.after, limit=query.limit)


@router.post("/{conversation_id}/fork", status_code=201)
async def fork(client: Client, principal: Operator, conversation_id: str, body: NewFork) -> Conversation:
    """Start a conversation that shares this one's beginning, up to a turn, with another roster or another model."""
    return Conversation.of(await Conversations(client, principal.organisation_id).fork(conversation_id, body))
