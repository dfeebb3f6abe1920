"""What is left of a conversation, less ids and times; and what is wrong with it beside that of an undisturbed one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tertulia.core.records import FinishedTurn, MembershipChange, Message
from tertulia.testing import DirectClient

Line = tuple[int, int | None, str, str, str]
"""seq, turn, role, sender, text."""


@dataclass(frozen=True)
class Record:
    """A conversation as the database has it."""

    transcript: tuple[Line, ...]
    turns: tuple[tuple[int, str, str, str, str], ...]
    """turn, speaker, outcome, chosen by, why."""
    changes: tuple[tuple[int, str, int], ...]
    """epoch, kind, after turn."""


async def recorded(client: DirectClient, conversation: str) -> Record:
    """Read it back."""
    messages = [message async for message in client.conversations.handle(conversation).transcript()]
    turns = [turn async for turn in client.conversations.handle(conversation).turns()]
    return record_of(messages, turns, await client.conversations.handle(conversation).members.changes())


def record_of(
    messages: Sequence[Message], turns: Sequence[FinishedTurn], changes: Sequence[MembershipChange]
) -> Record:
    """The rows without their ids and times."""
    return Record(
        transcript=tuple((one.seq, one.turn, one.role, one.sender, one.text) for one in messages),
        turns=tuple((one.turn, one.speaker, one.outcome, one.chosen_by, one.reason) for one in turns),
        changes=tuple((one.epoch, one.kind, one.after_turn) for one in changes),
    )


def faults_of(found: Record, undisturbed: Record) -> Iterator[str]:
    """What was lost, doubled or altered; nothing, if nothing was."""
    yield from _gaps("message", [line[0] for line in found.transcript])
    yield from _gaps("turn", [line[0] for line in found.turns])
    for what, here, there in (
        ("transcript", found.transcript, undisturbed.transcript),
        ("turns", found.turns, undisturbed.turns),
        ("changes of members", found.changes, undisturbed.changes),
    ):
        yield from _differences(what, here, there)


def _gaps(what: str, numbers: Sequence[int]) -> Iterator[str]:
    if list(numbers) != list(range(1, len(numbers) + 1)):
        yield f"{what} numbers have a gap or a double: {list(numbers)}"


def _differences(what: str, here: Sequence[tuple[object, ...]], there: Sequence[tuple[object, ...]]) -> Iterator[str]:
    if len(here) != len(there):
        yield f"{what}: {len(here)} lines, undisturbed {len(there)}"
    for one, other in zip(here, there, strict=False):
        if one != other:
            yield f"{what}: {one!r}, undisturbed {other!r}"
            return
