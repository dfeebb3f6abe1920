"""The command line as people use it: the installed command, against one `tertulia up` for the whole session."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.conftest import clean_environment

COMMAND = Path(sys.executable).with_name("tertulia")
_UP_SECONDS = 60.0


@dataclass
class CommandLine:
    """Runs `tertulia` with one data folder."""

    data: Path
    output: Path
    """What `tertulia up` prints."""
    environment: Mapping[str, str] = field(default_factory=clean_environment)

    def __call__(self, *arguments: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; its exit code must be `code`."""
        finished = subprocess.run(
            [COMMAND, *arguments], env=self._with(variables), capture_output=True, text=True, timeout=60
        )
        assert finished.returncode == code, finished.stderr or finished.stdout
        return finished

    def begin(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start a command and let it run."""
        return subprocess.Popen(
            [COMMAND, *arguments],
            env=self._with(variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def _with(self, variables: Mapping[str, str]) -> dict[str, str]:
        return {**self.environment, "TERTULIA_DATA": str(self.data), **variables}


@pytest.fixture(scope="session")
def tertulia() -> Iterator[CommandLine]:
    """A stack that runs as long as the session, and the command to talk to it."""
    with tempfile.TemporaryDirectory(prefix="tertulia-cli-") as folder:
        command_line = CommandLine(Path(folder, "data"), Path(folder, "up.log"))
        with command_line.output.open("w") as output:
            up = subprocess.Popen(
                [COMMAND, "up", "--temporal-port=0", "--ui-port=0", "--model-port=0", "--data", command_line.data],
                env=dict(command_line.environment),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            _wait_for("Ctrl-C", up, command_line.output)
            yield command_line
        finally:
            up.send_signal(signal.SIGINT)
            assert up.wait(60) == 0


def _wait_for(words: str, process: subprocess.Popen[bytes], output: Path) -> None:
    limit = monotonic() + _UP_SECONDS
    while words not in output.read_text():
        assert process.poll() is None and monotonic() < limit, output.read_text()
        sleep(0.1)
