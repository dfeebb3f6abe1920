"""The proof can fail: whatever is lost, doubled or altered is found."""

from dataclasses import replace

import pytest

from chaos.record import ConversationRecord, MessageLine, find_differences
from chaos.soak import SoakPlan, SoakResult

LINES: tuple[MessageLine, ...] = (
    (1, None, "user", "User", "Shall we?"),
    (2, 1, "assistant", "Velma", "We shall."),
    (3, 2, "assistant", "Tomas", "So be it."),
)
RECORD = ConversationRecord(
    transcript=LINES,
    turns=((1, "Velma", "spoke", "manager", "first"), (2, "Tomas", "spoke", "manager", "second")),
    changes=((2, "add", 2),),
)


def test_faults_of_identical_run_is_empty() -> None:
    assert list(find_differences(RECORD, RECORD)) == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (replace(RECORD, transcript=LINES[:2]), "transcript: 2 lines, undisturbed 3"),
        (replace(RECORD, transcript=(*LINES, (4, None, "user", "User", "Shall we?"))), "4 lines, undisturbed 3"),
        (replace(RECORD, transcript=(LINES[0], LINES[2])), "a gap or a double: [1, 3]"),
        (replace(RECORD, transcript=(*LINES[:2], LINES[1])), "a gap or a double: [1, 2, 2]"),
        (replace(RECORD, transcript=(*LINES[:2], (*LINES[2][:4], "So be it!"))), "So be it!"),
        (replace(RECORD, turns=RECORD.turns[:1]), "turns: 1 lines, undisturbed 2"),
        (replace(RECORD, turns=(RECORD.turns[0], (2, "Tomas", "spoke", "fallback", "second"))), "fallback"),
        (replace(RECORD, changes=()), "changes of members: 0 lines"),
    ],
    ids=["lost", "doubled at the end", "gap", "doubled", "altered", "turn lost", "chosen otherwise", "change lost"],
)
def test_faults_of_reports_difference(found: ConversationRecord, said: str) -> None:
    assert said in " ".join(find_differences(found, RECORD))


def test_memory_is_reported_in_fifths() -> None:
    outcome = SoakResult(SoakPlan(minutes=30, conversations=20, every=20, seed=1))
    outcome.memory_mb = [50.0] * 10 + [100.0] * 10 + [110.0] * 20 + [120.0] * 10
    assert outcome.memory() == [50.0, 100.0, 110.0, 110.0, 120.0]
