"""The claims of the demonstration, counted from stored data: transcript, turns, audit, model calls."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tertulia.core.records import FinishedTurn, MembershipChange, Message
from tertulia.core.status import ConversationStatus
from tertulia.devstack.offline_model.call_log import CallCounts


@dataclass(frozen=True)
class WorkerKill:
    """A kill of the worker."""

    pid: int
    in_flight: int
    """Model calls in flight just before the kill."""
    unanswered: int
    """Model calls without an answer after the worker was gone."""
    speaker: str
    """The member whose call was cut off."""


@dataclass(frozen=True)
class DemoRecord:
    """The collected data."""

    posted: tuple[str, ...]
    """The messages from outside, each text once, however often it was sent."""
    joiner: str
    leaver: str
    messages: Sequence[Message]
    turns: Sequence[FinishedTurn]
    changes: Sequence[MembershipChange]
    status: ConversationStatus
    calls: CallCounts
    worker_kill: WorkerKill
    worker_pid: int
    """Process id of the worker that runs at the end."""


@dataclass(frozen=True)
class Check:
    """One claim, the numbers behind it, and whether they confirm it."""

    claim: str
    numbers: str
    passed: bool


def run_checks(record: DemoRecord) -> Iterator[Check]:
    """Return every claim of the demonstration, checked against the evidence."""
    yield from _check_numbering(record)
    yield from _check_membership(record)
    yield from _check_recovery(record)
    yield _check_closed(record)


def _check_numbering(record: DemoRecord) -> Iterator[Check]:
    seqs = [message.seq for message in record.messages]
    yield Check("messages are numbered without a gap", _format_range(seqs), _is_gap_free(seqs))
    numbers = [turn.turn for turn in record.turns]
    yield Check("turns are numbered without a gap", _format_range(numbers), _is_gap_free(numbers))

    spoken = [turn.turn for turn in record.turns if turn.outcome == "spoke"]
    said = Counter(message.turn for message in record.messages if message.turn is not None)
    yield Check(
        "every turn has exactly one message",
        f"{len(spoken)} spoken turns, {said.total()} members' messages",
        said == Counter(spoken) and len(spoken) == len(numbers),
    )
    outside = Counter(message.text for message in record.messages if message.turn is None)
    copies = ", ".join(f"{outside[text]}x" for text in record.posted)
    yield Check(
        "every posted message is there once", f"{copies} of {outside.total()}", outside == Counter(record.posted)
    )


def _check_membership(record: DemoRecord) -> Iterator[Check]:
    joined = _find_change_turn(record, "add", record.joiner)
    spoke = [turn.turn for turn in record.turns if turn.speaker == record.joiner]
    yield Check(
        f"{record.joiner} spoke after joining, and not before",
        f"joined after turn {joined}, spoke in {_format_turns(spoke)}",
        joined is not None and bool(spoke) and min(spoke) > joined,
    )
    left = _find_change_turn(record, "remove", record.leaver)
    spoke = [turn.turn for turn in record.turns if turn.speaker == record.leaver]
    yield Check(
        f"{record.leaver} did not speak after leaving",
        f"spoke in {_format_turns(spoke)}, left after turn {left}",
        left is not None and bool(spoke) and max(spoke) <= left,
    )


def _check_recovery(record: DemoRecord) -> Iterator[Check]:
    worker_kill, calls = record.worker_kill, record.calls
    yield Check(
        f"the worker was killed while {worker_kill.speaker}'s model call was in flight",
        f"{worker_kill.in_flight} in flight before, {worker_kill.unanswered} left without an answer",
        worker_kill.in_flight == 1 and worker_kill.unanswered == 1,
    )
    pids = f"{worker_kill.pid} -> {record.worker_pid}"
    yield Check("another worker took over", f"pid {pids}", record.worker_pid not in (0, worker_kill.pid))
    again = [(turn.turn, turn.speaker, turn.attempt) for turn in record.turns if turn.attempt > 1]
    yield Check(
        "the turn that was cut off was taken again, once",
        ", ".join(f"turn {turn} ({speaker}) on attempt {attempt}" for turn, speaker, attempt in again) or "none",
        [speaker for _, speaker, _ in again] == [worker_kill.speaker],
    )
    paid = record.status.usage.model_calls
    yield Check(
        "no answered model call was asked again",
        f"{calls.total} made = {calls.answered} answered + {calls.total - calls.answered} cut off; "
        f"{calls.repeated} repeated; {paid} on the bill",
        calls.repeated == 0 and calls.answered == paid and calls.total == calls.answered + worker_kill.unanswered,
    )


def _check_closed(record: DemoRecord) -> Check:
    status = record.status
    waiting = status.pending.messages + status.pending.commands
    return Check(
        "the conversation is closed and nothing waits",
        f"{status.phase}, {waiting} waiting, {len(status.rejected)} refused",
        status.phase == "closed" and not waiting and not status.rejected,
    )


def _find_change_turn(record: DemoRecord, kind: str, name: str) -> int | None:
    for change in record.changes:
        member = change.detail.get("member")
        if change.kind == kind and isinstance(member, dict) and member.get("name") == name:
            return change.after_turn
    return None


def _is_gap_free(numbers: Sequence[int]) -> bool:
    return bool(numbers) and list(numbers) == list(range(1, len(numbers) + 1))


def _format_range(numbers: Sequence[int]) -> str:
    return f"{numbers[0]} to {numbers[-1]}, {len(numbers)} in all" if numbers else "none"


def _format_turns(turns: Sequence[int]) -> str:
    return f"turns {', '.join(map(str, turns))}" if turns else "no turn"
