"""An edit that changes the workflow's Temporal commands is noticed before it breaks running conversations."""

from collections import Counter
from pathlib import Path

import pytest

from tertulia import workflows
from tests.replay.fingerprint import SOURCES, fingerprint

BASELINE = Path(__file__).parent / "fingerprint.txt"
EXPLANATION = """
The commands of the workflow, or their order in the source, have changed. Running conversations have histories with the
old commands; if a history does not fit, its workflow task fails until the code is corrected. Either the change is safe
(state the reason in the commit), or guard it with workflow.patched(), or make it a new version of the workflow. Then
record the baseline again with `pytest tests/replay --record`.
"""


def test_fingerprint_equals_baseline(request: pytest.FixtureRequest) -> None:
    now = "\n".join(fingerprint(Path(str(workflows.__file__)).parent)) + "\n"
    if request.config.getoption("--record"):
        BASELINE.write_text(now, encoding="utf-8")
    assert now == BASELINE.read_text(encoding="utf-8"), EXPLANATION


def test_fingerprint_detects_new_command(tmp_path: Path) -> None:
    source = Path(str(workflows.__file__)).parent
    for name in SOURCES:
        (tmp_path / name).write_text((source / name).read_text(encoding="utf-8"), encoding="utf-8")
    before = fingerprint(tmp_path)
    with (tmp_path / "conversation.py").open("a", encoding="utf-8") as file:
        file.write("\n\nasync def more() -> None:\n    await workflow.sleep(1)\n")
    assert Counter(fingerprint(tmp_path)) - Counter(before) == Counter(["sleep"])
