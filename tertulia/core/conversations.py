"""Requests that start a conversation."""

from datetime import datetime

from pydantic import Field, PositiveInt

from tertulia.core.base import Definition
from tertulia.core.commands import DEFAULT_SENDER
from tertulia.core.group import MAX_MEMBERS
from tertulia.core.ids import AgentId
from tertulia.core.names import DisplayName, Identifier
from tertulia.core.phases import PublicPhase


class NewConversation(Definition):
    """A conversation that is to be started."""

    group: str = Field(min_length=1, max_length=128)
    """The group's id or name."""
    message: str = Field(min_length=1)
    """What is said first."""
    sender: DisplayName = DEFAULT_SENDER
    id: Identifier | None = None
    """One is made where none is given."""
    close_after_round: bool = False
    """Close once the first round has ended and no message waits."""
    continue_as_new_after_turns: PositiveInt | None = None
    """Continue as a new Temporal run after this many turns; null = by the length of the history."""


class NewFork(Definition):
    """A conversation that is to share the beginning of another one."""

    turn: int | None = Field(default=None, ge=0)
    """The last turn that they share; null = all that were taken so far, 0 = none."""
    agent_ids: tuple[AgentId, ...] | None = Field(default=None, min_length=1, max_length=MAX_MEMBERS)
    """Who takes part, in order; null = those who take part in the other one now."""
    model: str | None = Field(default=None, min_length=1, max_length=200)
    """A model that everyone is asked with, instead of their own."""
    message: str | None = Field(default=None, min_length=1)
    """What is said first; null = it waits for a message."""
    sender: DisplayName = DEFAULT_SENDER
    id: Identifier | None = None


class ConversationFilter(Definition):
    """Which conversations a list contains: those that match every field that is set."""

    group: str | None = Field(default=None, max_length=128)
    """Id or name of the group."""
    phase: PublicPhase | None = None
    """The present phase."""
    member: str | None = Field(default=None, max_length=128)
    """Id or name of a present member."""
    id_prefix: str | None = Field(default=None, max_length=128)
    """The id starts with this text."""
    created_after: datetime | None = None
    """Created at this time or later."""
    created_before: datetime | None = None
    """Created before this time."""
