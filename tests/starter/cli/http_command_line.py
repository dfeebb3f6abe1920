"""The command line over the API, and a sample group to work on."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from tertulia.devstack.local_key import KEY_FILE
from tests.api.tenant import api_url
from tests.harness.command_line import CommandLine, CommandResult


@dataclass(frozen=True)
class HttpCommandLine:
    """Runs `tertulia` with an address and a key, and without settings that name the servers themselves."""

    tertulia: CommandLine
    url: str
    key: str

    def __call__(self, *arguments: str, code: int = 0, **variables: str) -> CommandResult:
        return self.tertulia(*arguments, code=code, **self._variables(variables))

    def process(self, *arguments: str, code: int = 0, **variables: str) -> CommandResult:
        return self.tertulia.process(*arguments, code=code, **self._variables(variables))

    def error_line(self, *arguments: str, **variables: str) -> str:
        return self.tertulia.error_line(*arguments, code=1, **self._variables(variables))

    def start_process(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        return self.tertulia.start_process(*arguments, **self._variables(variables))

    def _variables(self, more: dict[str, str]) -> dict[str, str]:
        nowhere = str(self.tertulia.data.with_name("no stack is here"))
        own = {"TERTULIA_DATA": nowhere, "TERTULIA_URL": self.url, "TERTULIA_API_KEY": self.key}
        return own | more


def http_command_line_of(tertulia: CommandLine) -> HttpCommandLine:
    """Return the command line over the stack's own API, with its local key."""
    return HttpCommandLine(tertulia, api_url(tertulia), (tertulia.data / KEY_FILE).read_text().strip())


def parse_json(finished: CommandResult) -> Any:
    assert finished.stderr == ""
    return json.loads(finished.stdout)


def parse_json_lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


@dataclass
class SampleGroupFile:
    """A file with one group that can be rewritten."""

    path: Path
    name: str
    content: dict[str, Any]

    def write(self, **changes: Any) -> str:
        """Write the file with changed fields of the group."""
        self.content["groups"][0] |= changes
        self.path.write_text(yaml.safe_dump(self.content))
        return str(self.path)

    def member(self, name: str) -> str:
        return f"{name} {self.name}"


def write_sample_group(folder: Path) -> SampleGroupFile:
    """Write four agents and a group of them under a name that no other test uses."""
    unique = uuid4().hex[:8]
    people = ("Ana", "Ben", "Cleo", "Host")
    agents = [
        {
            "name": f"{name} {unique}",
            "description": "Likes tea.",
            "instructions": f"You are {name}.",
            "memory": [{"label": "diary", "value": "nothing yet"}],
        }
        for name in people
    ]
    group = {
        "name": unique,
        "description": "A club.",
        "agents": [one["name"] for one in agents[:2]],
        "standby": [{"agent": agents[2]["name"], "stands_in_for": agents[0]["name"]}],
        "manager_config": {"manager_type": "dynamic", "manager_agent_id": agents[3]["name"], "max_turns": 4},
        "shared_memory": [{"label": "rules", "value": "be brief"}],
        "settings": {"context_messages": 10},
    }
    made = SampleGroupFile(folder / "club.yaml", unique, {"agents": agents, "groups": [group]})
    made.write()
    return made


class RestartableApi:
    """An API beside the stack's own that can be killed and started again at its address."""

    def __init__(self, tertulia: CommandLine, **variables: str) -> None:
        self._tertulia = tertulia
        self._variables = variables
        self.url = ""
        self.restart(port="0")

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def restart(self, port: str | None = None) -> None:
        """Start it, where it was before unless a port is named."""
        port = port or self.url.rpartition(":")[2]
        self._process = self._tertulia.start_process("api", "--port", port, **self._variables)
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        assert "listening on http" in line, line
        self.url = line.split("listening on ")[1].split(",")[0]
