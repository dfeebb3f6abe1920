"""The demonstration proves what it claims."""

import subprocess

import pytest

from tertulia.testing import isolated_environment
from tests.harness.command_line import COMMAND


@pytest.mark.timeout(240)
def test_demo_proves_claims_and_cleans_up() -> None:
    finished = subprocess.run(
        [COMMAND, "demo", "--no-wait"], env=isolated_environment(), capture_output=True, text=True, timeout=220
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "✗" not in finished.stdout
    for claim in (
        "messages are numbered without a gap",
        "every turn has exactly one message",
        "every posted message is there once",
        "the worker was killed while",
        "no answered model call was asked again",
    ):
        assert f"✓ {claim}" in finished.stdout
    assert "kill -KILL" in finished.stdout
    assert "stack stopped" in finished.stdout
