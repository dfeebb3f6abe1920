"""Temporal's operators read nothing; operators with a key read everything through the codec."""

import json
import os
import signal
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tertulia.devstack.temporal import find_executable
from tertulia.running_stack import RunningStack, find_running_stack
from tertulia.testing import isolated_environment
from tests.harness.command_line import CommandLine, wait_for_output
from tests.harness.leak_detection import find_leaks, word_pairs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

A, B = (f"{name}:{b64encode(os.urandom(32)).decode()}" for name in ("key-a", "key-b"))
TABLE = """
agents:
  - {name: Wilhelmina, description: Grows dahlias., instructions: You have a garden behind the harbour wall.}
  - {name: Bartholomew, description: Mends nets., instructions: You distrust whatever comes from inland.}
groups:
  - name: Harbour bench
    description: Two neighbours who wait for the ferry.
    agents: [Wilhelmina, Bartholomew]
"""
QUESTION = "Should the lighthouse be painted green?"
IN_THE_CLEAR = {
    "Wilhelmina",
    "Bartholomew",
    "Harbour bench",
    "Two neighbours who wait for the ferry.",
    "garden behind the harbour wall",
    "whatever comes from inland",
}


def command_line_with_keys(tmp_path: Path, keys: str) -> CommandLine:
    return CommandLine(tmp_path / "data", tmp_path / "up.log", isolated_environment(TERTULIA_ENCRYPTION_KEYS=keys))


@contextmanager
def running_up(command_line: CommandLine) -> Iterator[None]:
    """Context manager: `tertulia up` while the block runs."""
    with command_line.output.open("w") as output:
        process = subprocess.Popen(
            command_line.up_command(), env=dict(command_line.environment), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_for_output("Ctrl-C", process, command_line.output)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def running_stack(command_line: CommandLine) -> RunningStack:
    """Return the addresses of the stack's parts."""
    stack = find_running_stack(command_line.data)
    assert stack
    return stack


def temporal(command_line: CommandLine, *arguments: str) -> str:
    """Return the JSON output of Temporal's own command line."""
    address = str(running_stack(command_line).temporal_address)
    command = [find_executable(), *arguments, "-o", "json", "--address", address]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def transcript_texts(tertulia: CommandLine, conversation: str) -> list[str]:
    shown = json.loads(tertulia("show", conversation, "--json").stdout)
    return [message["text"] for message in shown["messages"]]


def decode_status(codec: str, key: str | None) -> int:
    """Return the codec's status for this key."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx2.post(f"{codec}/decode", json={"payloads": []}, headers=headers).status_code


def is_origin_allowed(codec: str, origin: str) -> bool:
    """Return whether a browser lets pages of this origin call the codec."""
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-namespace",
    }
    return httpx2.options(f"{codec}/decode", headers=headers).headers.get("access-control-allow-origin") == origin


def test_temporal_cli_shows_text_only_by_codec(tmp_path: Path) -> None:
    tertulia = command_line_with_keys(tmp_path, A)
    (tmp_path / "table.yaml").write_text(TABLE)
    with running_up(tertulia):
        tertulia("apply", str(tmp_path / "table.yaml"))
        tertulia("start", "Harbour bench", QUESTION, "--id", "ferry", "--follow")
        tertulia("members", "mute", "ferry", "Wilhelmina")
        tertulia("say", "ferry", "And at night?", "--follow")
        words = word_pairs(transcript_texts(tertulia, "ferry")) | IN_THE_CLEAR
        assert len(words) > 50
        history = temporal(tertulia, "workflow", "show", "-w", "ferry")
        assert json.loads(history)["events"]
        assert find_leaks(history, *words) == set()
        assert find_leaks(temporal(tertulia, "workflow", "describe", "-w", "ferry"), *words) == set()
        assert find_leaks(temporal(tertulia, "workflow", "list"), *words) == set()
        codec = f"{running_stack(tertulia).api_url}/v1/codec"
        key = tertulia("keys", "create", "night shift", "--scope", "operate").stdout.strip()
        through = ("--codec-endpoint", codec, "--codec-auth", f"Bearer {key}")
        read = find_leaks(temporal(tertulia, "workflow", "show", "-w", "ferry", *through), *words)
        assert word_pairs([QUESTION]) | {"Wilhelmina", "Bartholomew", "Harbour bench"} <= read
        assert len(read) > len(words) * 0.9
        weak = tertulia("keys", "create", "visitor", "--scope", "post").stdout.strip()
        assert [decode_status(codec, who) for who in (None, "tertulia_wrong", weak, key)] == [401, 401, 403, 200]
        with httpx2.Client() as browser:
            assert browser.post(f"{codec}/session", headers={"Authorization": f"Bearer {key}"}).status_code == 204
            assert browser.post(f"{codec}/decode", json={"payloads": []}).status_code == 200
        assert is_origin_allowed(codec, str(running_stack(tertulia).temporal_ui_url))
        assert not is_origin_allowed(codec, "http://elsewhere.example")
    files = list(tertulia.data.glob("temporal.db*"))
    assert files
    assert not [file for file in files if b"lighthouse" in file.read_bytes()]


def test_key_rotation_over_restarts(tmp_path: Path) -> None:
    first, keyless, rotated = (command_line_with_keys(tmp_path, keys) for keys in (A, B, f"{B},{A}"))
    (tmp_path / "table.yaml").write_text(TABLE)
    with running_up(first):
        first("apply", str(tmp_path / "table.yaml"))
        first("start", "Harbour bench", QUESTION, "--id", "ferry", "--follow")
    with running_up(keyless):
        limit = time.monotonic() + 60
        while "key-a" not in (message := keyless.error_line("status", "ferry")):
            assert time.monotonic() < limit, message
            time.sleep(0.2)
        assert message.startswith(
            "the worker cannot answer the query: a payload is encrypted under the key 'key-a', which is not in"
        )
    with running_up(rotated):
        rotated("say", "ferry", "And at night?", "--follow")
        assert len(transcript_texts(rotated, "ferry")) == 6
        missing = rotated.error_line("status", "ferry", TERTULIA_ENCRYPTION_KEYS=A)
        assert missing.startswith("a payload is encrypted under the key 'key-b', which is not in TERTULIA_ENCRYPTION")
        malformed = rotated.error_line("status", "ferry", TERTULIA_ENCRYPTION_KEYS="key-b:hush")
        assert malformed == "TERTULIA_ENCRYPTION_KEYS: entry 1: expected a key of 32 bytes, got 3"
