"""Requests that start conversations, and the filter of their list."""

from pydantic import AwareDatetime, Field, PositiveInt

from tertulia.core.base import Definition
from tertulia.core.commands import DEFAULT_SENDER
from tertulia.core.group import MAX_MEMBERS
from tertulia.core.ids import AgentId
from tertulia.core.names import DisplayName, Identifier
from tertulia.core.phases import PublicPhase


class NewConversation(Definition):
    """Request to start a conversation."""

    group: str = Field(min_length=1, max_length=128)
    """Id or name of the group."""
    message: str = Field(min_length=1)
    """First message."""
    sender: DisplayName = DEFAULT_SENDER
    id: Identifier | None = None
    """Null = generated from the group's name."""
    close_after_round: bool = False
    """Close once the first round has ended and no message waits."""
    continue_as_new_after_turns: PositiveInt | None = None
    """Continue as a new Temporal run after this many turns; null = by the length of the history."""


class NewFork(Definition):
    """Request to fork a conversation: a new one that shares the transcript up to a turn."""

    turn: int | None = Field(default=None, ge=0)
    """Last shared turn; null = the last turn taken, 0 = none."""
    agent_ids: tuple[AgentId, ...] | None = Field(default=None, min_length=1, max_length=MAX_MEMBERS)
    """Members of the fork in order; null = the present members of the source."""
    model: str | None = Field(default=None, min_length=1, max_length=200)
    """Provider's name of a model for every member instead of its own; null = each its own."""
    message: str | None = Field(default=None, min_length=1)
    """First message; null = the fork waits for one."""
    sender: DisplayName = DEFAULT_SENDER
    id: Identifier | None = None


class ConversationFilter(Definition):
    """Filter of conversations; all given fields must match."""

    group: str | None = Field(default=None, max_length=128)
    """Id or name of the group."""
    phase: PublicPhase | None = None
    """Published phase."""
    member: str | None = Field(default=None, max_length=128)
    """Id or name of a present member."""
    id_prefix: str | None = Field(default=None, max_length=128)
    """Start of the id."""
    created_after: AwareDatetime | None = None
    """Created at this time or later."""
    created_before: AwareDatetime | None = None
    """Created before this time."""
