"""Stored values as read back from the database or the REST API: rows, messages, turns, events."""

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
"""Result of saving a definition."""


class ConversationRow(Record):
    """A conversation as stored."""

    conversation_id: ConversationId
    organisation_id: OrganisationId = DEFAULT_ORGANISATION
    group_id: GroupId
    group: str
    phase: PublicPhase = "ready"
    """Last published phase."""
    last_seq: int
    last_turn: int
    stop_reason: str | None
    forked_from: ConversationId | None = None
    """Source of a fork; None = not a fork."""
    forked_turn: int | None = None
    """Last turn shared with the source."""
    created_at: datetime
    closed_at: datetime | None


class StoredConversation(ConversationRow):
    """A conversation as stored, with its last status."""

    final_status: dict[str, JsonValue] | None = None
    """Status at closing; None = still open."""

    @property
    def row(self) -> ConversationRow:
        """The conversation without its last status."""
        return ConversationRow.model_validate(self.model_dump(exclude={"final_status"}))


class Message(Record):
    """A message of the transcript, as `tertulia show --json` prints it."""

    seq: int
    turn: int | None
    role: Literal["user", "assistant"]
    sender_id: str | None
    sender: str
    text: str
    created_at: datetime


class TurnRecord(Record):
    """A turn as it is committed."""

    turn: int
    round: int
    epoch: int
    speaker_id: AgentId
    speaker: str
    chosen_by: str
    reason: str
    outcome: TurnOutcome
    error: str | None = None
    """Failure before or instead of the answer."""
    seq: int
    """Last message of the transcript after the turn."""
    attempt: int
    model: str | None = None
    fallback_index: Annotated[int, wire_name("fallback")] = 0
    """Index of the agent's model that answered: 0 = its own."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    model_calls: int = 1
    started_at: datetime


class FinishedTurn(TurnRecord):
    """A committed turn as read back."""

    finished_at: datetime


class MembershipChange(Record):
    """An applied roster change, as the audit keeps it."""

    epoch: int
    command_id: str
    kind: Literal["add", "remove", "replace", "reorder", "mute", "unmute", "reinstate", "health", "manager_health"]
    detail: dict[str, JsonValue]
    after_turn: int
    after_seq: int
    created_at: datetime


class MemberRow(Record):
    """A present or former member of a conversation."""

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
    """An event of a conversation, with its data."""

    number: int
    kind: EventKind
    created_at: datetime
    data: dict[str, JsonValue]

    @property
    def is_end(self) -> bool:
        """True if this event closes the conversation; no event follows."""
        return self.kind == "phase" and self.data.get("phase") == "closed"


class LiveDelta(Record):
    """Part of a message while the model produces it; a preview of the message that follows."""

    turn: int
    attempt: int
    """Attempt at the turn; a higher one starts again at `offset` 0."""
    offset: int
    """Number of characters of the attempt before `text`."""
    text: str


class KeyRow(Record):
    """An API key as stored, without its secret."""

    id: KeyId
    organisation_id: OrganisationId
    name: str
    hint: str
    """First characters of the key, for recognition."""
    scopes: tuple[str, ...]
    created_at: datetime
    used_at: datetime | None
    """Last use, to the minute."""
    revoked_at: datetime | None


class GroupAnswer(Record):
    """Result of a message to a group."""

    conversation_id: ConversationId
    rules: ManagerConfig
    """Manager configuration of the group."""
    message_ids: tuple[str, ...]
    """Ids of the posted messages; posting again with the same ids has no effect."""
    messages: tuple[Message, ...] = ()
    """Messages from the first posted one to the end of the round."""
    usage: Usage = Usage()
    stop_reason: str | None = None
    """Why the round ended; None = the caller did not wait for it."""
    turns: int = 0


NO_DATABASE = "the database does not answer"


INTERRUPTED_EVENT = "interrupted"
"""Name of the server-sent event for `Interrupted`; it has no id."""


@dataclass(frozen=True)
class Interrupted:
    """The source of the events does not answer. Reported once; the stream continues where it stopped."""

    reason: str = NO_DATABASE


StreamEvent: TypeAlias = ConversationEvent | LiveDelta | Interrupted


@dataclass(frozen=True)
class StatusAt:
    """A conversation's status at a place in its event stream."""

    status: ConversationStatus
    last_event: int
    """Number of the newest event, read after the status query returned."""
