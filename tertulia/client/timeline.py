"""The items that a reader of a conversation sees, made from its events."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from tertulia.core.base import Record
from tertulia.core.failover import NO_PARTICIPANTS
from tertulia.core.phases import PhaseChange, PublicPhase
from tertulia.core.records import ConversationEvent, FinishedTurn, LiveDelta, MembershipChange, Message
from tertulia.core.status import ConversationStatus

_RESUMED = "resumed"
PhaseNoticeKind = Literal["paused", "resumed", "round_ended", "closed"]


class TurnNote(Record):
    """The part of a turn that is shown beside its message."""

    chosen_by: str
    reason: str
    error: str | None = None
    """The failure that came before the message."""
    attempt: int = 1


@dataclass(frozen=True)
class MessageAdded:
    """A message entered the transcript."""

    message: Message
    turn: TurnNote | None
    """The member's turn; None for a message from outside."""


@dataclass(frozen=True)
class TurnWithoutMessage:
    """A turn ended without a message: the member passed, the turn failed, or it was dropped."""

    turn: FinishedTurn


@dataclass(frozen=True)
class RosterChanged:
    """A member joined, left, was muted, …"""

    change: MembershipChange


@dataclass(frozen=True)
class PhaseNotice:
    """A change of the conversation's phase that readers are shown."""

    kind: PhaseNoticeKind
    round: int
    reason: str
    """The stop reason, in one word; for a pause, the operator's reason."""
    explanation: str


@dataclass(frozen=True)
class TurnStarted:
    """A member's turn starts."""

    turn: int
    speaker: str


@dataclass(frozen=True)
class TextDelta:
    """Text of a turn while the model produces it."""

    delta: LiveDelta


TimelineItem: TypeAlias = MessageAdded | TurnWithoutMessage | RosterChanged | PhaseNotice
"""Items that stay on a screen."""
TransientItem: TypeAlias = TurnStarted | TextDelta
"""Items that are shown live and never stored."""


class Timeline:
    """Makes items from events. It keeps the phase, because the meaning of a phase depends on the one before."""

    def __init__(self) -> None:
        self.phase: PublicPhase | None = None
        """The last phase an event reported."""

    def item_of(self, event: ConversationEvent) -> TimelineItem | TurnStarted | None:
        """Return the event's item; None for an event that readers are not shown."""
        match event.kind:
            case "message":
                return _message_added(event)
            case "membership":
                return RosterChanged(MembershipChange.model_validate(event.data))
            case "turn_passed" | "turn_failed" | "turn_discarded" | "turn_cancelled":
                return TurnWithoutMessage(FinishedTurn.model_validate(event.data))
            case "turn_started":
                return TurnStarted(int(str(event.data["turn"])), str(event.data["speaker"]))
            case "phase":
                return self._phase_notice(PhaseChange.model_validate({"number": 0, **event.data}))
            case _:
                return None

    def _phase_notice(self, change: PhaseChange) -> PhaseNotice | None:
        before, self.phase = self.phase, change.phase
        kind = _notice_kind(before, change)
        if kind is None:
            return None
        reason = _pause_reason(change.reason) if kind == "paused" else change.reason
        return PhaseNotice(kind, change.round, "" if kind == "resumed" else reason, change.explanation)


def _message_added(event: ConversationEvent) -> MessageAdded:
    message = Message.model_validate(event.data)
    return MessageAdded(message, None if message.turn is None else TurnNote.model_validate(event.data))


def _notice_kind(before: PublicPhase | None, change: PhaseChange) -> PhaseNoticeKind | None:
    match change.phase:
        case "closed":
            return "closed"
        case "paused":
            return "paused"
        case "ready" if change.reason not in ("", _RESUMED):
            return "round_ended"
        case _ if before == "paused" or change.reason == _RESUMED:
            return "resumed"
    return None


def _pause_reason(reason: str) -> str:
    return "no member can speak" if reason == NO_PARTICIPANTS else reason or "an operator paused it"


def closing_notice(status: ConversationStatus) -> PhaseNotice:
    """Return the notice of the end of a conversation that was closed before events were recorded."""
    return PhaseNotice("closed", status.round, status.stop_reason or "", status.stop_explanation or "")
