"""A conversation's stored data without ids and times, and its differences from an undisturbed one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tertulia.core.records import FinishedTurn, MembershipChange, Message
from tertulia.testing import DirectClient

MessageLine = tuple[int, int | None, str, str, str]
"""seq, turn, role, sender, text."""


@dataclass(frozen=True)
class ConversationRecord:
    """A conversation as the database has it."""

    transcript: tuple[MessageLine, ...]
    turns: tuple[tuple[int, str, str, str, str], ...]
    """turn, speaker, outcome, chosen by, reason."""
    changes: tuple[tuple[int, str, int], ...]
    """epoch, kind, after turn."""


async def read_record(client: DirectClient, conversation: str) -> ConversationRecord:
    """Read it back."""
    messages = [message async for message in client.conversations.handle(conversation).transcript()]
    turns = [turn async for turn in client.conversations.handle(conversation).turns()]
    return create_record(messages, turns, await client.conversations.handle(conversation).members.changes())


def create_record(
    messages: Sequence[Message], turns: Sequence[FinishedTurn], changes: Sequence[MembershipChange]
) -> ConversationRecord:
    """Read the rows, without ids and times."""
    return ConversationRecord(
        transcript=tuple((one.seq, one.turn, one.role, one.sender, one.text) for one in messages),
        turns=tuple((one.turn, one.speaker, one.outcome, one.chosen_by, one.reason) for one in turns),
        changes=tuple((one.epoch, one.kind, one.after_turn) for one in changes),
    )


def find_differences(found: ConversationRecord, baseline: ConversationRecord) -> Iterator[str]:
    """Return what was lost, doubled or altered; empty if nothing was."""
    yield from _find_gaps("message", [line[0] for line in found.transcript])
    yield from _find_gaps("turn", [line[0] for line in found.turns])
    for what, here, there in (
        ("transcript", found.transcript, baseline.transcript),
        ("turns", found.turns, baseline.turns),
        ("changes of members", found.changes, baseline.changes),
    ):
        yield from _find_line_differences(what, here, there)


def _find_gaps(what: str, numbers: Sequence[int]) -> Iterator[str]:
    if list(numbers) != list(range(1, len(numbers) + 1)):
        yield f"{what} numbers have a gap or a double: {list(numbers)}"


def _find_line_differences(
    what: str, here: Sequence[tuple[object, ...]], there: Sequence[tuple[object, ...]]
) -> Iterator[str]:
    if len(here) != len(there):
        yield f"{what}: {len(here)} lines, undisturbed {len(there)}"
    for one, other in zip(here, there, strict=False):
        if one != other:
            yield f"{what}: {one!r}, undisturbed {other!r}"
            return
