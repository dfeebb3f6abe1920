"""Execute the commands and snippets of README and quickstart, in order, in one folder against one embedded stack."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from tertulia.testing import isolated_environment
from tests.harness.command_line import CommandLine, wait_for_output

ROOT = Path(__file__).parents[2]
API_URL, UI_URL = "http://127.0.0.1:8230", "http://127.0.0.1:8233"
"""Addresses in the pages; the test uses free ports."""
SECONDS = 30


class Block(NamedTuple):
    """A fenced block."""

    language: str
    text: str


class Command(NamedTuple):
    """A command of a `console` block and its output; `…` stands for any text."""

    line: str
    output: str


def fenced_blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a Markdown text."""
    return [Block(*found) for found in re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)]


def read_commands(text: str) -> list[Command]:
    """Return the commands of a `console` block."""
    return [Command(*part.partition("\n")[::2]) for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]]


def matches(expected: str, output: str) -> bool:
    """Compare outputs, where `…` stands for any text and line breaks do not matter."""
    wanted = re.sub(r"\s*…\s*", "…", " ".join(expected.split()))
    pattern = ".*".join(re.escape(part) for part in wanted.split("…"))
    return re.fullmatch(pattern, " ".join(output.split())) is not None


@dataclass
class Reader:
    """Follows a page in a folder, with a running stack."""

    folder: Path
    urls: dict[str, str]
    up_output: str

    def localize(self, text: str) -> str:
        """Replace a page's addresses by those of the running stack."""
        for written, running in self.urls.items():
            text = text.replace(written, running)
        return text

    def write_file(self, text: str) -> None:
        """Write a block that begins with a comment that names its file."""
        name = text.partition("\n")[0].removeprefix("# ")
        (self.folder / name).write_text(text, encoding="utf-8")

    def run_console(self, text: str) -> None:
        """Execute the commands of a block in one terminal and compare their output."""
        settings: list[str] = []
        for command in read_commands(text):
            line = self.localize(command.line)
            if line.startswith(("export ", ". ")):
                settings.append(line)
            elif line == "tertulia up":
                assert not command.output or matches(self.localize(command.output), self.up_output)
            elif line.startswith("make "):
                # These run the demonstration and all tests: only checked for existence.
                subprocess.run([*line.split(), "--dry-run"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            else:
                output = self._run("; ".join(["set -e", *settings, line]))
                assert not command.output or matches(command.output, output), f"{line}\n{output}"

    def _run(self, script: str) -> str:
        environment = isolated_environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A folder like a clone after `make demo`, with `tertulia up` running in it on free ports."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / ".venv").symlink_to(sys.prefix)
    command_line = CommandLine(folder / ".tertulia", folder / "up.log")
    with command_line.output.open("w") as output:
        up = subprocess.Popen(
            command_line.up_command(), env=command_line.environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_for_output("Ctrl-C", up, command_line.output)
        wait_for_output("/v1/agents/", up, command_line.output)
        printed = command_line.output.read_text()
        api, ui = (
            re.search(rf"^  {label} +(http://[\w.:]+)", printed, flags=re.MULTILINE) for label in ("API", "Temporal UI")
        )
        assert api and ui
        yield Reader(folder, {API_URL: api[1], UI_URL: ui[1]}, printed)
    finally:
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 0


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_commands_and_snippets_of_page_work(page: str, reader: Reader) -> None:
    blocks = fenced_blocks((ROOT / page).read_text(encoding="utf-8"))
    for block in blocks:
        if block.language == "console":
            reader.run_console(block.text)
        elif block.language != "sh":  # the installation: it has happened
            reader.write_file(block.text)
    assert {block.language for block in blocks} - {"sh"} == {"console", "python", "yaml"}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "AGENTS.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_of_page_lead_to_files(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert [target for target in targets if not (ROOT / target).exists()] == []
