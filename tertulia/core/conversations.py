"""Requests that start a conversation."""

from pydantic import Field

from tertulia.core.base import Definition
from tertulia.core.commands import DEFAULT_SENDER
from tertulia.core.group import MAX_MEMBERS
from tertulia.core.ids import AgentId
from tertulia.core.names import DisplayName, Identifier


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
