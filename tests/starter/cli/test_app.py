"""The command line end to end: output for people and for programs, and exit codes."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.command_line import CommandLine, CommandResult

EXAMPLES = Path(__file__).parents[3] / "examples"
STATUS_FIELDS = {
    "conversation_id",
    "group_id",
    "phase",
    "round",
    "turn",
    "roster",
    "last_speaker",
    "usage",
    "stop_reason",
    "pending",
    "rejected",
}
TRICKY = "[bold]not markup[/bold] :smile: {x} %s\n\tverbatim \x1b[31mred\x1b[0m"


@pytest.fixture(scope="module", autouse=True)
def applied(tertulia: CommandLine) -> list[dict[str, Any]]:
    """The applied examples."""
    files = [str(path) for path in sorted(EXAMPLES.glob("*.yaml"))]
    entries: list[dict[str, Any]] = parse_json(tertulia("apply", *files, "--json"))
    return entries


def parse_json(finished: CommandResult) -> Any:
    assert finished.stderr == ""
    return json.loads(finished.stdout)


def parse_json_lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_up_prints_addresses_and_model(tertulia: CommandLine) -> None:
    output = tertulia.output.read_text()
    for words in ("stack ready in", "Temporal UI  http://", "the offline model: no real model is configured"):
        assert words in output
    assert "\x1b" not in output


def test_apply_twice_changes_nothing(tertulia: CommandLine, applied: list[dict[str, Any]]) -> None:
    assert {line["outcome"] for line in applied} <= {"created", "unchanged"}
    assert {(line["kind"], line["name"]) for line in applied} >= {("agent", "Velma"), ("group", "The long table")}
    again = tertulia("apply", str(EXAMPLES / "dynamic.yaml")).stdout
    assert again.count("unchanged") == len(again.splitlines()) > 4


def test_start_follow_prints_json_round(tertulia: CommandLine) -> None:
    told = parse_json_lines(
        tertulia.process("start", "Sunday lunch", "Soup?", "--id", "lunch", "--follow", "--json").stdout
    )
    assert told[0] == {"conversation_id": "lunch", "group": "Sunday lunch"}
    assert [one["event"] for one in told[1:]] == ["message"] * 7 + ["round_ended"]
    assert [one["seq"] for one in told[1:-1]] == [1, 2, 3, 4, 5, 6, 7]
    assert told[-1]["reason"] == "max_turns"

    status = parse_json(tertulia.process("status", "lunch", "--json"))
    assert status.keys() >= STATUS_FIELDS
    assert status["phase"] == "ready" and status["turn"] == 6
    assert status["usage"]["total_tokens"] == status["usage"]["prompt_tokens"] + status["usage"]["completion_tokens"]

    shown = parse_json(tertulia("show", "lunch", "--json"))
    assert shown.keys() == {"conversation_id", "messages"}
    assert shown["messages"][1].keys() == {"seq", "turn", "role", "sender_id", "sender", "text", "created_at"}
    assert [one["text"] for one in shown["messages"]] == [one["text"] for one in told[1:-1]]

    turns = parse_json(tertulia("show", "lunch", "--turns", "--json"))["turns"]
    assert [turn["turn"] for turn in turns] == [1, 2, 3, 4, 5, 6]
    assert [one["phase"] for one in parse_json(tertulia("list", "--json")) if one["conversation_id"] == "lunch"] == [
        "ready"
    ]


def test_start_follow_prints_text_round(tertulia: CommandLine) -> None:
    told = tertulia.process("start", "The long table", "Cars?", "--id", "table", "--follow", "--why").stdout
    assert told.splitlines()[:3] == ["table", "User  #1", "Cars?"]
    assert "Velma  #2 · turn 1\n  ↳ the manager: Velma has not been heard yet\n" in told
    assert "── round 1 ended: manager_finish (" in told
    assert "\x1b" not in told
    status = tertulia("status", "table").stdout
    assert "phase         ready\n" in status and "members       Velma, Bruno, Celeste, Ines" in status
    assert "Velma has not been heard yet" in tertulia("show", "table", "--turns").stdout


def test_text_is_printed_verbatim_and_escaped(tertulia: CommandLine) -> None:
    tertulia("start", "Sunday lunch", TRICKY, "--id", "tricky", "--close", "--follow", "--sender", "Ann [red]")
    shown = tertulia("show", "tricky").stdout
    assert "Ann [red]  #1\n[bold]not markup[/bold] :smile: {x} %s\n\tverbatim ␛[31mred␛[0m\n\n" in shown
    assert "\x1b" not in shown
    assert parse_json(tertulia("show", "tricky", "--json"))["messages"][0]["text"] == TRICKY


def test_members_commands_and_watch(tertulia: CommandLine) -> None:
    tertulia("start", "The allotment", "Pears?", "--id", "pears", "--follow")
    receipt = parse_json(tertulia("members", "add", "pears", "Iris", "--position", "0", "--id", "in", "--json"))
    assert receipt["command"] == "add_member" and receipt["command_id"] == "in" and receipt["epoch"] == 2
    assert parse_json(tertulia("members", "add", "pears", "Iris", "--position", "0", "--id", "in", "--json")) == receipt
    assert "Iris, Juno, Otto, Marta" in tertulia("members", "reorder", "pears", "Iris", "Juno", "Otto", "Marta").stdout
    two = parse_json(tertulia("members", "mute", "pears", "Otto", "Juno", "--json"))
    assert [one["command"] for one in two] == ["mute_member", "mute_member"]
    tertulia("members", "replace", "pears", "Marta", "Bea")

    followed = parse_json_lines(tertulia("say", "pears", "And now?", "--follow", "--json").stdout)
    assert followed[0]["event"] == "accepted"
    assert {one["sender"] for one in followed if one["event"] == "message"} == {"User", "Iris", "Bea"}

    members = parse_json(tertulia("members", "list", "pears", "--json"))
    present = {one["name"]: one["state"] for one in members["members"]}
    assert present == {"Iris": "active", "Juno": "muted", "Otto": "muted", "Bea": "active", "Marta": "removed"}
    assert [one["kind"] for one in members["changes"]] == ["add", "reorder", "mute", "mute", "replace"]

    tertulia("stop", "pears", "--reason", "frost")
    watched = tertulia("watch", "pears", "--last", "13").stdout
    assert "User  #1\n" not in watched
    assert "── a new order: Iris, Juno, Otto, Marta\n" in watched
    assert "── Bea takes the place of Marta\n" in watched
    assert watched.endswith("── closed: operator_stop (frost)\n\n")


def test_watch_shows_all_and_ends_when_closed(tertulia: CommandLine) -> None:
    tertulia("start", "Sunday lunch", "Bread?", "--id", "bread")
    watching = tertulia.start_process("watch", "bread", "--from-start", "--json")
    tertulia("say", "bread", "And butter?", "--follow")
    assert "apply from" in tertulia("settings", "bread", "max_turns=2", "intake=queue").stdout
    assert "pauses" in tertulia("pause", "bread", "--reason", "rest").stdout
    assert "continues" in tertulia("resume", "bread").stdout
    tertulia("stop", "bread")
    output, errors = watching.communicate(timeout=30)
    assert (watching.returncode, errors) == (0, "")
    told = parse_json_lines(output)
    seqs = [one["seq"] for one in told if one["event"] == "message"]
    assert seqs == list(range(1, len(seqs) + 1))
    assert told[-1]["event"] == "closed"
    assert len(seqs) == len(parse_json(tertulia("show", "bread", "--json"))["messages"])


def test_watch_ctrl_c_keeps_conversation(tertulia: CommandLine) -> None:
    tertulia("start", "Sunday lunch", "Salt?", "--id", "salt")
    watching = tertulia.start_process("watch", "salt")
    assert watching.stdout is not None
    assert watching.stdout.readline() == "User  #1\n"
    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=30)
    assert watching.returncode == 0
    assert errors == "the conversation goes on; tertulia watch salt shows it again\n"


def test_migrate_reports_current_database(tertulia: CommandLine) -> None:
    assert tertulia("migrate").stdout.startswith("the database is up to date (")


def test_worker_command_runs_until_terminated(tertulia: CommandLine) -> None:
    worker = tertulia.start_process("worker")
    assert worker.stderr is not None
    assert "polling task queue 'tertulia'" in worker.stderr.readline()
    worker.terminate()
    worker.communicate(timeout=30)
    assert worker.returncode == 0


def test_version_and_help_need_no_stack(tertulia: CommandLine) -> None:
    assert tertulia.process("--version").stdout.startswith("tertulia ")
    assert "tertulia start " in tertulia("--help").stdout
    assert "Usage: tertulia [OPTIONS] COMMAND" in tertulia(code=2).stdout


@pytest.fixture(scope="module", autouse=True)
def without_worker(tertulia: CommandLine) -> Iterator[tuple[subprocess.Popen[str], subprocess.Popen[str]]]:
    """A `say` and a `watch` on a conversation without a worker. Their errors take some seconds."""
    tertulia("start", "Sunday lunch", "Hello?", "--id", "unheard", TERTULIA_TASK_QUEUE="nobody")
    speaking = tertulia.start_process("say", "unheard", "Anybody?", "--id", "knock")
    watching = tertulia.start_process("watch", "unheard")
    yield speaking, watching
    for process in (speaking, watching):
        process.kill()
        process.communicate()


def test_say_without_worker_is_not_accepted(
    without_worker: tuple[subprocess.Popen[str], subprocess.Popen[str]],
) -> None:
    speaking, watching = without_worker
    _, refusal = speaking.communicate(timeout=60)
    assert speaking.returncode == 1
    assert (
        refusal.startswith("tertulia: not accepted: ")
        and "same id, --id knock:" in refusal
        and refusal.count("\n") == 1
    )
    watching.send_signal(signal.SIGINT)
    output, _ = watching.communicate(timeout=30)
    assert output == "── no worker answers; waiting\n\n"
    assert watching.returncode == 0
