"""The example of the testing guide runs, in a folder without this project's modules and settings."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tertulia.testing import isolated_environment

EXAMPLE = Path(__file__).parents[2] / "examples" / "testing" / "test_editors.py"


@pytest.mark.slow
def test_testing_example_passes(tmp_path: Path) -> None:
    shutil.copy(EXAMPLE, tmp_path)
    command = [sys.executable, "-m", "pytest", "--asyncio-mode=auto", "-q", "-p", "no:cacheprovider", EXAMPLE.name]
    done = subprocess.run(
        command, cwd=tmp_path, env=isolated_environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
