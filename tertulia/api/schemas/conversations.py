"""Conversations: the response, and the queries of their lists."""

from datetime import datetime
from typing import Self

from pydantic import AwareDatetime, Field

from tertulia.api.schemas.requests import PageQuery, RequestModel
from tertulia.api.schemas.responses import ResponseModel
from tertulia.core.conversations import ConversationFilter
from tertulia.core.paging import DEFAULT_PAGE, MAX_PAGE
from tertulia.core.phases import PublicPhase
from tertulia.core.records import ConversationRow


class Conversation(ResponseModel):
    """A conversation."""

    id: str
    organisation_id: str
    group_id: str
    group: str
    """Name of the group."""
    phase: PublicPhase
    """`executing`: a round runs; `ready`: the next message starts a round; `paused`; `closed`."""
    messages: int
    """Number of messages in the transcript."""
    turns: int
    """Number of turns taken."""
    stop_reason: str | None
    """Reason for the end of the last round or of the conversation."""
    forked_from: str | None
    """Source of a fork; null = not a fork."""
    forked_turn: int | None
    """Last turn that a fork shares with its source."""
    created_at: datetime
    closed_at: datetime | None

    @classmethod
    def from_row(cls, row: ConversationRow) -> Self:
        """Convert a stored conversation to its response."""
        values = row.model_dump(include=set(cls.model_fields))
        return cls(**values, id=row.conversation_id, messages=row.last_seq, turns=row.last_turn)


class EventCursor(ResponseModel):
    """A position in a conversation's event stream."""

    after: int
    """Number of an event, for `after` of the event stream; 0 = before the first event."""


class ConversationFilterQuery(RequestModel):
    """Query for the conversations that match every given field."""

    group_id: str | None = Field(default=None, max_length=128, description="Id or name of the group.")
    phase: PublicPhase | None = Field(default=None, description="Present phase.")
    member: str | None = Field(default=None, max_length=128, description="Id or name of a present member.")
    id_prefix: str | None = Field(default=None, max_length=128, description="Start of the conversation's id.")
    created_after: AwareDatetime | None = Field(
        default=None, description="Created at this time or later; ISO 8601 with a time zone."
    )
    created_before: AwareDatetime | None = Field(
        default=None, description="Created before this time; ISO 8601 with a time zone."
    )

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
    """Query for one page of the conversations that match every given field."""


class NumberedPageQuery(RequestModel):
    """Query for one page of a list whose rows are numbered 1, 2, 3…"""

    after: int = Field(default=0, ge=0, le=2**53, description="Number of a row; the page starts just after it.")
    limit: int = Field(default=DEFAULT_PAGE, ge=1, le=MAX_PAGE, description="Rows of the page at most.")
