"""An interrupted demonstration leaves nothing behind."""

import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest

from tertulia.testing import isolated_environment
from tests.harness.command_line import COMMAND


@pytest.fixture
def folder() -> Iterator[Path]:
    """Folder for temporary files. Its path is short, because the path of a socket is limited."""
    with tempfile.TemporaryDirectory(prefix="t-") as path:
        yield Path(path)


@pytest.fixture
def demo_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A running demonstration."""
    process = subprocess.Popen(
        [COMMAND, "demo", "--no-wait"],
        env=isolated_environment(TMPDIR=str(folder)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def left_behind(folder: Path) -> list[str]:
    """Return the processes that name the folder, and its contents."""
    commands = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [command for command in commands if str(folder) in command] + [str(path) for path in folder.iterdir()]


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["Tertulia:", "$ tertulia apply", "turn 2", "$ kill -KILL"])
def test_demo_ctrl_c_leaves_nothing_behind(demo_process: subprocess.Popen[str], folder: Path, moment: str) -> None:
    assert demo_process.stdout is not None
    while moment not in (line := demo_process.stdout.readline()):
        assert line, demo_process.communicate()[1]
        print(line, end="")
    demo_process.send_signal(signal.SIGINT)
    _, errors = demo_process.communicate(timeout=60)
    assert (demo_process.returncode, errors) == (130, "")
    limit = monotonic() + 5
    while (left := left_behind(folder)) and monotonic() < limit:
        sleep(0.1)
    assert left == []
