"""One conversation as a reader sees it pass: messages, silent turns and changes of members in the order they happened.

Law: every message once, in order, none missed. Messages are read before turns, and turns before changes of members: so
what is read later may be ahead of the messages, in which case it waits, but is never behind them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from groups.status import ConversationStatus
from store.membership import MembershipChange
from store.transcript import Message
from store.turns import FinishedTurn


@dataclass(frozen=True)
class Said:
    """A message entered the transcript."""

    message: Message
    turn: FinishedTurn | None
    """The turn in which it was said; None for a message from outside."""


@dataclass(frozen=True)
class Silent:
    """A member had the floor and nothing entered the transcript: it passed, or its turn failed."""

    turn: FinishedTurn


@dataclass(frozen=True)
class RosterChanged:
    """Someone joined, left, was muted…"""

    change: MembershipChange


Happening: TypeAlias = Said | Silent | RosterChanged


@dataclass(frozen=True)
class Backlog:
    """How far the database was read, and what of it has not been passed on yet."""

    seq: int = 0
    turn: int = 0
    epoch: int = 0
    messages: tuple[Message, ...] = ()
    turns: tuple[FinishedTurn, ...] = ()
    changes: tuple[MembershipChange, ...] = ()

    def with_messages(self, read: Sequence[Message]) -> "Backlog":
        """The backlog with further messages."""
        return replace(self, messages=(*self.messages, *read), seq=read[-1].seq if read else self.seq)

    def with_turns(self, read: Sequence[FinishedTurn]) -> "Backlog":
        """The backlog with further turns."""
        return replace(self, turns=(*self.turns, *read), turn=read[-1].turn if read else self.turn)

    def with_changes(self, read: Sequence[MembershipChange]) -> "Backlog":
        """The backlog with further changes of members."""
        return replace(self, changes=(*self.changes, *read), epoch=read[-1].epoch if read else self.epoch)


def pass_on(backlog: Backlog) -> tuple[list[Happening], Backlog]:
    """What can be shown now, in order, and the backlog without it.

    The backlog holds everything that happened before its last message; of what came after, it may lack some.
    """
    turns = [turn for turn in backlog.turns if turn.seq <= backlog.seq]
    changes = [
        change for change in backlog.changes if change.after_seq <= backlog.seq and change.after_turn <= backlog.turn
    ]
    spoken = {turn.turn: turn for turn in turns if turn.outcome == "spoke"}
    happenings: list[Happening] = [
        *(Said(message, spoken.get(message.turn or 0)) for message in backlog.messages),
        *(Silent(turn) for turn in turns if turn.outcome != "spoke"),
        *(RosterChanged(change) for change in changes),
    ]
    left = replace(
        backlog,
        messages=(),
        turns=tuple(turn for turn in backlog.turns if turn.seq > backlog.seq),
        changes=tuple(change for change in backlog.changes if change not in changes),
    )
    return sorted(happenings, key=_place), left


def _place(happening: Happening) -> tuple[int, int, int, int]:
    """Where it stands: at its message, or behind the message and the turn after which it happened."""
    match happening:
        case Said(message=message):
            return message.seq, 0, 0, 0
        case Silent(turn=turn):
            return turn.seq, 1, turn.turn, 0
        case RosterChanged(change=change):
            return change.after_seq, 1, change.after_turn, change.epoch


@dataclass(frozen=True)
class News:
    """A change of the conversation's phase that a reader wants to know of."""

    kind: Literal["paused", "resumed", "round_ended", "closed"]
    round: int
    reason: str
    """Why, in one word: the stop reason; or an operator's words for a pause."""
    explanation: str


def news(before: ConversationStatus | None, now: ConversationStatus) -> Iterator[News]:
    """What is new in `now`; `before` is the status seen before it, None for the first one."""
    reason, explanation = now.stop_reason or "", now.stop_explanation or ""
    if now.phase == "closed":
        if before is None or before.phase != "closed":
            yield News("closed", now.round, reason, explanation)
        return
    if reason and (before is None or (before.round, before.stop_reason) != (now.round, now.stop_reason)):
        yield News("round_ended", now.round, reason, explanation)
    was_paused = before is not None and before.phase == "paused"
    if now.phase == "paused" and not was_paused:
        yield News("paused", now.round, _why_paused(now), "")
    elif was_paused and now.phase != "paused":
        yield News("resumed", now.round, "", "")


def _why_paused(status: ConversationStatus) -> str:
    if status.paused_because is None:
        return "no member can speak"
    return status.paused_because or "an operator paused it"


def is_at_rest(status: ConversationStatus) -> bool:
    """Whether the round has ended and nothing waits to set off another, or an operator holds it.

    Not while nobody can speak and somebody is tried again later: that pause ends by itself.
    """
    if status.phase == "paused":
        return status.next_probe_at is None
    round_over = status.phase == "ready" and status.stop_reason is not None
    return status.phase == "closed" or (round_over and not status.pending.messages)
