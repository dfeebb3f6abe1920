"""One conversation as a reader sees it pass: what each of its events tells, in words of this program."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from tertulia.core.base import Record
from tertulia.core.failover import NO_PARTICIPANTS
from tertulia.core.phases import PhaseChange, PublicPhase
from tertulia.core.records import ConversationEvent, FinishedTurn, LiveDelta, MembershipChange, Message
from tertulia.core.status import ConversationStatus

_RESUMED = "resumed"
NewsKind = Literal["paused", "resumed", "round_ended", "closed"]


class Circumstances(Record):
    """Of a turn, what is told beside the words that were spoken in it."""

    chosen_by: str
    reason: str
    error: str | None = None
    """What failed, though there was an answer in the end."""
    attempt: int = 1


@dataclass(frozen=True)
class Said:
    """A message entered the transcript."""

    message: Message
    turn: Circumstances | None
    """The turn in which it was said; None for a message from outside."""


@dataclass(frozen=True)
class Silent:
    """A member had the floor and nothing entered the transcript: it passed, or its turn failed."""

    turn: FinishedTurn


@dataclass(frozen=True)
class RosterChanged:
    """Someone joined, left, was muted…"""

    change: MembershipChange


@dataclass(frozen=True)
class News:
    """A change of the conversation's phase that a reader wants to know of."""

    kind: NewsKind
    round: int
    reason: str
    """Why, in one word: the stop reason; or an operator's words for a pause."""
    explanation: str


@dataclass(frozen=True)
class TookFloor:
    """Somebody begins to speak."""

    turn: int
    speaker: str


@dataclass(frozen=True)
class Overheard:
    """Words as they are said."""

    delta: LiveDelta


Happening: TypeAlias = Said | Silent | RosterChanged | News
"""What stays true, and so is told to everybody."""
Passing: TypeAlias = TookFloor | Overheard
"""What goes on at a moment, for those who look at a screen."""


class Timeline:
    """Turns events into happenings; it remembers the phase, since what a phase means hangs on the one before."""

    def __init__(self) -> None:
        self.phase: PublicPhase | None = None
        """As far as it has been told."""

    def happening(self, event: ConversationEvent) -> Happening | TookFloor | None:
        """What the event tells a reader; None for nothing that a reader needs."""
        match event.kind:
            case "message":
                return _said(event)
            case "membership":
                return RosterChanged(MembershipChange.model_validate(event.data))
            case "turn_passed" | "turn_failed" | "turn_discarded" | "turn_cancelled":
                return Silent(FinishedTurn.model_validate(event.data))
            case "turn_started":
                return TookFloor(int(str(event.data["turn"])), str(event.data["speaker"]))
            case "phase":
                return self._news(PhaseChange.model_validate({"number": 0, **event.data}))
            case _:
                return None

    def _news(self, change: PhaseChange) -> News | None:
        before, self.phase = self.phase, change.phase
        kind = _kind(before, change)
        if kind is None:
            return None
        reason = _why_paused(change.reason) if kind == "paused" else change.reason
        return News(kind, change.round, "" if kind == "resumed" else reason, change.explanation)


def _said(event: ConversationEvent) -> Said:
    message = Message.model_validate(event.data)
    return Said(message, None if message.turn is None else Circumstances.model_validate(event.data))


def _kind(
    before: PublicPhase | None, change: PhaseChange
) -> Literal["paused", "resumed", "round_ended", "closed"] | None:
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


def _why_paused(reason: str) -> str:
    return "no member can speak" if reason == NO_PARTICIPANTS else reason or "an operator paused it"


def closing(status: ConversationStatus) -> News:
    """The end of a conversation from before its events were kept."""
    return News("closed", status.round, status.stop_reason or "", status.stop_explanation or "")


def is_at_rest(status: ConversationStatus) -> bool:
    """Whether the round has ended and nothing waits to set off another, or an operator holds it.

    Not while nobody can speak and somebody is tried again later: that pause ends by itself.
    """
    if status.phase == "paused":
        return status.next_probe_at is None
    round_over = status.phase == "ready" and status.stop_reason is not None
    return status.phase == "closed" or (round_over and not status.pending.messages)
