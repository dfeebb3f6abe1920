"""What the demonstration claims, counted from what is written down: the transcript, the turns, the audit, the calls."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tertulia.core.records import FinishedTurn, MembershipChange, Message
from tertulia.core.status import ConversationStatus
from tertulia.devstack.offline_model.call_log import Calls


@dataclass(frozen=True)
class Killing:
    """The worker's death."""

    pid: int
    in_flight: int
    """Model calls that were running just before."""
    unanswered: int
    """Model calls that had been made and not been answered when the worker was gone."""
    speaker: str
    """Whose call was cut off."""


@dataclass(frozen=True)
class Evidence:
    """All that was collected."""

    posted: tuple[str, ...]
    """What was said from outside, each text once, however often it was sent."""
    joiner: str
    leaver: str
    messages: Sequence[Message]
    turns: Sequence[FinishedTurn]
    changes: Sequence[MembershipChange]
    status: ConversationStatus
    calls: Calls
    killing: Killing
    worker_pid: int
    """The worker that runs at the end."""


@dataclass(frozen=True)
class Check:
    """One claim, the numbers it rests on, and whether they bear it out."""

    claim: str
    numbers: str
    holds: bool


def checks(evidence: Evidence) -> Iterator[Check]:
    """Every claim of the demonstration."""
    yield from _nothing_lost(evidence)
    yield from _membership(evidence)
    yield from _killed_and_resumed(evidence)
    yield _ended(evidence)


def _nothing_lost(evidence: Evidence) -> Iterator[Check]:
    seqs = [message.seq for message in evidence.messages]
    yield Check("messages are numbered without a gap", _span(seqs), _gap_free(seqs))
    numbers = [turn.turn for turn in evidence.turns]
    yield Check("turns are numbered without a gap", _span(numbers), _gap_free(numbers))

    spoken = [turn.turn for turn in evidence.turns if turn.outcome == "spoke"]
    said = Counter(message.turn for message in evidence.messages if message.turn is not None)
    yield Check(
        "every turn has exactly one message",
        f"{len(spoken)} spoken turns, {said.total()} members' messages",
        said == Counter(spoken) and len(spoken) == len(numbers),
    )
    outside = Counter(message.text for message in evidence.messages if message.turn is None)
    copies = ", ".join(f"{outside[text]}x" for text in evidence.posted)
    yield Check(
        "every posted message is there once", f"{copies} of {outside.total()}", outside == Counter(evidence.posted)
    )


def _membership(evidence: Evidence) -> Iterator[Check]:
    joined = _after_turn(evidence, "add", evidence.joiner)
    spoke = [turn.turn for turn in evidence.turns if turn.speaker == evidence.joiner]
    yield Check(
        f"{evidence.joiner} spoke after joining, and not before",
        f"joined after turn {joined}, spoke in {_listed(spoke)}",
        joined is not None and bool(spoke) and min(spoke) > joined,
    )
    left = _after_turn(evidence, "remove", evidence.leaver)
    spoke = [turn.turn for turn in evidence.turns if turn.speaker == evidence.leaver]
    yield Check(
        f"{evidence.leaver} did not speak after leaving",
        f"spoke in {_listed(spoke)}, left after turn {left}",
        left is not None and bool(spoke) and max(spoke) <= left,
    )


def _killed_and_resumed(evidence: Evidence) -> Iterator[Check]:
    killing, calls = evidence.killing, evidence.calls
    yield Check(
        f"the worker was killed while {killing.speaker}'s model call was in flight",
        f"{killing.in_flight} in flight before, {killing.unanswered} left without an answer",
        killing.in_flight == 1 and killing.unanswered == 1,
    )
    pids = f"{killing.pid} -> {evidence.worker_pid}"
    yield Check("another worker took over", f"pid {pids}", evidence.worker_pid not in (0, killing.pid))
    again = [(turn.turn, turn.speaker, turn.attempt) for turn in evidence.turns if turn.attempt > 1]
    yield Check(
        "the turn that was cut off was taken again, once",
        ", ".join(f"turn {turn} ({speaker}) on attempt {attempt}" for turn, speaker, attempt in again) or "none",
        [speaker for _, speaker, _ in again] == [killing.speaker],
    )
    paid = evidence.status.usage.model_calls
    yield Check(
        "no answered model call was asked again",
        f"{calls.total} made = {calls.answered} answered + {calls.total - calls.answered} cut off; "
        f"{calls.repeated} repeated; {paid} on the bill",
        calls.repeated == 0 and calls.answered == paid and calls.total == calls.answered + killing.unanswered,
    )


def _ended(evidence: Evidence) -> Check:
    status = evidence.status
    waiting = status.pending.messages + status.pending.commands
    return Check(
        "the conversation is closed and nothing waits",
        f"{status.phase}, {waiting} waiting, {len(status.rejected)} refused",
        status.phase == "closed" and not waiting and not status.rejected,
    )


def _after_turn(evidence: Evidence, kind: str, name: str) -> int | None:
    for change in evidence.changes:
        member = change.detail.get("member")
        if change.kind == kind and isinstance(member, dict) and member.get("name") == name:
            return change.after_turn
    return None


def _gap_free(numbers: Sequence[int]) -> bool:
    return bool(numbers) and list(numbers) == list(range(1, len(numbers) + 1))


def _span(numbers: Sequence[int]) -> str:
    return f"{numbers[0]} to {numbers[-1]}, {len(numbers)} in all" if numbers else "none"


def _listed(turns: Sequence[int]) -> str:
    return f"turns {', '.join(map(str, turns))}" if turns else "no turn"
