"""What is kept of conversations and of keys, as it is read back: the same whoever reads it, and from wherever."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from pydantic import JsonValue

from tertulia.core.base import Record, wire_name
from tertulia.core.events import TurnOutcome
from tertulia.core.group import ManagerConfig
from tertulia.core.ids import DEFAULT_ORGANISATION, AgentId, ConversationId, GroupId, KeyId, OrganisationId
from tertulia.core.phases import PublicPhase
from tertulia.core.roster import MemberState
from tertulia.core.status import ConversationStatus
from tertulia.core.usage import Usage

SaveOutcome = Literal["created", "updated", "unchanged"]
"""What became of a definition that was saved."""


class ConversationRow(Record):
    """What the database knows of a conversation."""

    conversation_id: ConversationId
    organisation_id: OrganisationId = DEFAULT_ORGANISATION
    group_id: GroupId
    group: str
    phase: PublicPhase = "ready"
    """As those outside were told last."""
    last_seq: int
    last_turn: int
    stop_reason: str | None
    forked_from: ConversationId | None = None
    """The conversation whose beginning this one shares…"""
    forked_turn: int | None = None
    """…up to that turn."""
    created_at: datetime
    closed_at: datetime | None
    final_status: dict[str, JsonValue] | None = None


class Message(Record):
    """One message, as `tertulia show --json` prints it."""

    seq: int
    turn: int | None
    role: Literal["user", "assistant"]
    sender_id: str | None
    sender: str
    text: str
    created_at: datetime


class TurnRecord(Record):
    """What is kept of a turn."""

    turn: int
    round: int
    epoch: int
    speaker_id: AgentId
    speaker: str
    chosen_by: str
    reason: str
    outcome: TurnOutcome
    error: str | None = None
    """What failed, also where there was an answer in the end."""
    seq: int
    """The last message of the transcript after this turn."""
    attempt: int
    model: str | None = None
    fallback_index: Annotated[int, wire_name("fallback")] = 0
    """Which of the agent's models answered: 0 = its own."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    model_calls: int = 1
    started_at: datetime


class FinishedTurn(TurnRecord):
    """A turn as it was read back."""

    finished_at: datetime


class MembershipChange(Record):
    """A line of the audit."""

    epoch: int
    command_id: str
    kind: Literal["add", "remove", "replace", "reorder", "mute", "unmute", "reinstate", "health", "manager_health"]
    detail: dict[str, JsonValue]
    after_turn: int
    after_seq: int
    created_at: datetime


class MemberRow(Record):
    """Someone who is, or was, in a conversation."""

    agent_id: str
    name: str
    state: MemberState | Literal["removed"]
    visible_from: int
    cursor: int
    turns: int = 0
    """Turns it has taken in this conversation."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    model_calls: int = 0


EventKind = Literal[
    "message",
    "speaker_chosen",
    "turn_started",
    "turn_passed",
    "turn_failed",
    "turn_discarded",
    "turn_cancelled",
    "selection_failed",
    "membership",
    "phase",
]


class ConversationEvent(Record):
    """One event, with all that is to be told of it."""

    number: int
    kind: EventKind
    created_at: datetime
    data: dict[str, JsonValue]

    @property
    def is_end(self) -> bool:
        """Whether it tells that the conversation is closed: nothing follows."""
        return self.kind == "phase" and self.data.get("phase") == "closed"


class LiveDelta(Record):
    """Some words, as they are said: only a foretaste of the message, which alone is the truth."""

    turn: int
    attempt: int
    """A turn that is begun anew has a higher one, and begins at `offset` 0."""
    offset: int
    """How many characters of the turn's words come before these."""
    text: str


class KeyRow(Record):
    """What is kept of a key."""

    id: KeyId
    organisation_id: OrganisationId
    name: str
    hint: str
    """The key's first characters, to tell it by."""
    scopes: tuple[str, ...]
    created_at: datetime
    used_at: datetime | None
    """When it was last used, to the minute."""
    revoked_at: datetime | None


class GroupAnswer(Record):
    """What came of a message to a group."""

    conversation_id: ConversationId
    rules: ManagerConfig
    """The group's manager."""
    message_ids: tuple[str, ...]
    """Under which the messages are known: said again with these, they count once."""
    messages: tuple[Message, ...] = ()
    """What was said from the first of these messages on, until the round ended."""
    usage: Usage = Usage()
    stop_reason: str | None = None
    """Why the round ended; None if nobody waited for that."""
    turns: int = 0


NO_DATABASE = "the database does not answer"


@dataclass(frozen=True)
class Interrupted:
    """What the events are read from does not answer. Told once; what follows goes on where it stopped."""

    reason: str = NO_DATABASE


StreamEvent: TypeAlias = ConversationEvent | LiveDelta | Interrupted


@dataclass(frozen=True)
class StatusAt:
    """A conversation's status at a place in its event stream."""

    status: ConversationStatus
    last_event: int
    """Number of the newest event, read after the status query returned."""
