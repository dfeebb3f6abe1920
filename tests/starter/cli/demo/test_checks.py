"""The demonstration's proof: correct evidence passes, and each fault fails the claim that it contradicts."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tertulia.core.ids import AgentId, ConversationId, GroupId
from tertulia.core.records import FinishedTurn, MembershipChange, Message
from tertulia.core.status import ConversationStatus, PendingStatus, RosterStatus, UsageStatus
from tertulia.devstack.offline_model.call_log import CallCounts
from tertulia.starter.cli.demo.checks import DemoRecord, WorkerKill, run_checks

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPEAKERS = ("Velma", "Otto", "Velma", "Iris")
SENDERS = (("Ann", None), ("Velma", 1), ("Otto", 2), ("Velma", 3), ("Ann", None), ("Iris", 4))
POSTED = {1: "first", 5: "second"}


def message(seq: int, sender: str, turn: int | None) -> Message:
    return Message(
        seq=seq,
        turn=turn,
        role="user" if turn is None else "assistant",
        sender_id=None,
        sender=sender,
        text=POSTED.get(seq, f"words {seq}"),
        created_at=NOW,
    )


def finished_turn(turn: int, speaker: str) -> FinishedTurn:
    return FinishedTurn(
        turn=turn,
        round=1,
        epoch=1,
        speaker_id=AgentId(speaker.lower()),
        speaker=speaker,
        chosen_by="manager",
        reason="",
        outcome="spoke",
        seq=turn + 1,
        attempt=2 if turn == 3 else 1,
        started_at=NOW,
        finished_at=NOW + timedelta(seconds=1),
    )


def change(kind: str, name: str, after_turn: int) -> MembershipChange:
    values = {"epoch": 2, "command_id": name, "kind": kind, "detail": {"member": {"name": name}}, "created_at": NOW}
    return MembershipChange.model_validate({**values, "after_turn": after_turn, "after_seq": after_turn + 1})


def status(*, model_calls: int = 8, phase: str = "closed") -> ConversationStatus:
    return ConversationStatus.model_validate(
        {
            "conversation_id": ConversationId("demo"),
            "group_id": GroupId("g"),
            "phase": phase,
            "round": 1,
            "turn": 4,
            "roster": RosterStatus(epoch=3, members=()),
            "last_speaker": "Iris",
            "usage": UsageStatus(prompt_tokens=1, completion_tokens=1, total_tokens=2, model_calls=model_calls),
            "stop_reason": "operator_stop",
            "pending": PendingStatus(messages=0, commands=0),
            "rejected": (),
            "group": "The long table",
        }
    )


def calls(*, total: int = 9, repeated: int = 0) -> CallCounts:
    return CallCounts(total=total, answered=8, repeated=repeated, in_flight=0, by_model={}, by_speaker={})


MESSAGES = [message(seq, *said) for seq, said in enumerate(SENDERS, start=1)]
TURNS = [finished_turn(turn, speaker) for turn, speaker in enumerate(SPEAKERS, start=1)]
WORKER_KILL = WorkerKill(pid=10, in_flight=1, unanswered=1, speaker="Velma")
FLAWLESS = DemoRecord(
    posted=tuple(POSTED.values()),
    joiner="Iris",
    leaver="Otto",
    messages=MESSAGES,
    turns=TURNS,
    changes=[change("add", "Iris", 1), change("remove", "Otto", 2)],
    status=status(),
    calls=calls(),
    worker_kill=WORKER_KILL,
    worker_pid=11,
)
"""Two posts and four turns; the third turn was cut off by the kill and taken again."""

Corruption = Callable[[DemoRecord], DemoRecord]
FLAWS: dict[str, tuple[Corruption, str]] = {
    "a gap in the messages": (lambda one: replace(one, messages=MESSAGES[1:]), "messages are numbered"),
    "a lost message": (lambda one: replace(one, messages=MESSAGES[:-1]), "every turn has exactly one message"),
    "a doubled message": (lambda one: replace(one, messages=[*MESSAGES, MESSAGES[-1]]), "every turn has exactly one"),
    "a gap in the turns": (lambda one: replace(one, turns=TURNS[1:]), "turns are numbered"),
    "a post too many": (lambda one: replace(one, posted=("first",)), "every posted message"),
    "a post lost": (lambda one: replace(one, posted=("first", "second", "third")), "every posted message"),
    "a joiner too early": (lambda one: replace(one, changes=[change("add", "Iris", 4)]), "Iris spoke after"),
    "a joiner unheard": (lambda one: replace(one, joiner="Nobody"), "Nobody spoke after"),
    "a leaver who stays": (lambda one: replace(one, changes=one.changes[:1]), "Otto did not speak"),
    "a leaver heard later": (lambda one: replace(one, changes=[change("remove", "Otto", 1)]), "Otto did not speak"),
    "a kill between calls": (
        lambda one: replace(one, worker_kill=replace(WORKER_KILL, in_flight=0)),
        "the worker was killed",
    ),
    "a kill after the answer": (
        lambda one: replace(one, worker_kill=replace(WORKER_KILL, unanswered=0)),
        "the worker was",
    ),
    "the same worker": (lambda one: replace(one, worker_pid=10), "another worker took over"),
    "no worker": (lambda one: replace(one, worker_pid=0), "another worker took over"),
    "no second attempt": (lambda one: replace(one, turns=TURNS[:2]), "the turn that was cut off"),
    "a call made twice": (lambda one: replace(one, calls=calls(repeated=1)), "no answered model call"),
    "a call too many": (lambda one: replace(one, calls=calls(total=10)), "no answered model call"),
    "a call off the bill": (lambda one: replace(one, status=status(model_calls=7)), "no answered model call"),
    "no end": (lambda one: replace(one, status=status(phase="ready")), "the conversation is closed"),
}


def test_checks_accept_flawless_evidence() -> None:
    made = list(run_checks(FLAWLESS))
    assert len(made) == 11
    assert [check.claim for check in made if not check.passed] == []


@pytest.mark.parametrize("flaw", FLAWS)
def test_checks_detect_every_flaw(flaw: str) -> None:
    corrupt, claim = FLAWS[flaw]
    failed = [check.claim for check in run_checks(corrupt(FLAWLESS)) if not check.passed]
    assert any(one.startswith(claim) for one in failed), failed
