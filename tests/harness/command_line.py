"""The command line, as a process or in this one, with one `tertulia up` for the whole session."""

import io
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple
from unittest import mock

import psutil
import pytest

from tertulia.starter.cli.app import run
from tertulia.testing import isolated_environment

COMMAND = Path(sys.executable).with_name("tertulia")
_UP_SECONDS = 60.0


class CommandResult(NamedTuple):
    """The output of a command."""

    stdout: str
    stderr: str


@dataclass
class CommandLine:
    """Runs `tertulia` with one data folder."""

    data: Path
    output: Path
    """The output of `tertulia up`."""
    environment: Mapping[str, str] = field(default_factory=isolated_environment)

    def __call__(self, *arguments: str, code: int = 0, **variables: str) -> CommandResult:
        """Run a command in this process, which is much faster; its exit code must be `code`."""
        output, errors = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self._with(variables), clear=True),
            redirect_stdout(output),
            redirect_stderr(errors),
        ):
            ended = run(list(arguments))
        assert ended == code, errors.getvalue() or output.getvalue()
        return CommandResult(output.getvalue(), errors.getvalue())

    def process(self, *arguments: str, code: int = 0, **variables: str) -> CommandResult:
        """Run a command as a process of its own; its exit code must be `code`."""
        running = self.start_process(*arguments, **variables)
        output, errors = running.communicate(timeout=60)
        assert running.returncode == code, errors or output
        return CommandResult(output, errors)

    def error_line(self, *arguments: str, code: int = 1, **variables: str) -> str:
        """Run a command that must fail: nothing on standard output, one line on standard error, which is returned."""
        output, errors = self(*arguments, code=code, **variables)
        assert output == ""
        assert errors.count("\n") == 1 and errors.startswith("tertulia: ")
        return errors.removeprefix("tertulia: ").strip()

    def start_process(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start a command and let it run."""
        return subprocess.Popen(
            [COMMAND, *arguments],
            env=self._with(variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def up_command(self) -> list[str]:
        """Return the command `tertulia up` on free ports."""
        ports = ("--temporal-port=0", "--ui-port=0", "--model-port=0", "--api-port=0")
        return [str(COMMAND), "up", *ports, "--data", str(self.data)]

    def _with(self, variables: Mapping[str, str]) -> dict[str, str]:
        return {**self.environment, "TERTULIA_DATA": str(self.data), **variables}


@pytest.fixture(scope="session")
def tertulia() -> Iterator[CommandLine]:
    """A stack for the session, and its command line."""
    with tempfile.TemporaryDirectory(prefix="tertulia-cli-") as folder:
        command_line = CommandLine(Path(folder, "data"), Path(folder, "up.log"))
        with command_line.output.open("w") as output:
            up = subprocess.Popen(
                command_line.up_command(),
                env={**command_line.environment, "TERTULIA_REQUESTS_PER_MINUTE": "0", "TERTULIA_LOG_LEVEL": "DEBUG"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_for_output("Ctrl-C", up, command_line.output)
            yield command_line
        finally:
            up.send_signal(signal.SIGINT)
            assert up.wait(60) == 0


def wait_for_output(words: str, process: subprocess.Popen[bytes] | psutil.Popen, output: Path) -> None:
    """Wait until the process has printed this text into `output`."""
    limit = monotonic() + _UP_SECONDS
    while words not in output.read_text():
        assert process.poll() is None and monotonic() < limit, output.read_text()
        sleep(0.1)
