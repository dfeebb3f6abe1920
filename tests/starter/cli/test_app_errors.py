"""Errors are one line with a remedy; the exit code tells failure from wrong usage."""

from pathlib import Path

import pytest

from tests.harness.command_line import CommandLine

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(scope="module", autouse=True)
def closed(tertulia: CommandLine) -> None:
    """A closed conversation."""
    tertulia("apply", str(EXAMPLES / "round_robin.yaml"))
    tertulia("start", "Sunday lunch", "Over?", "--id", "over", "--close", "--follow")


def test_failed_command_exit_code_and_line(tertulia: CommandLine) -> None:
    refusal = "tertulia: conversation 'over' is closed (max_turns)\n"
    assert tertulia.process("say", "over", "Still there?", code=1) == ("", refusal)
    usage = tertulia.process("start", code=2)
    assert usage.stderr.startswith("tertulia: Missing argument 'GROUP'")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "nowhere"], "no such conversation: 'nowhere'"),
        (["status", "nowhere"], "no such conversation: 'nowhere'"),
        (["watch", "nowhere"], "no such conversation: 'nowhere'"),
        (["say", "nowhere", "Hello?"], "no such conversation: 'nowhere'"),
        (["start", "No Such Group", "Hello?"], "no such group: 'No Such Group'"),
        (["start", "Sunday lunch", "Again?", "--id", "over"], "a conversation 'over' exists already"),
        (["say", "over", "Still there?"], "conversation 'over' is closed"),
        (["members", "add", "over", "Bea"], "conversation 'over' is closed"),
        (["apply", "nowhere.yaml"], "nowhere.yaml: No such file or directory"),
    ],
)
def test_impossible_command_is_explained(tertulia: CommandLine, arguments: list[str], message: str) -> None:
    assert tertulia.error_line(*arguments).startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("agents: [", "not YAML: "),
        ("agents: [{nam: Bea}]", "agents.0.name: is required; agents.0.nam: unknown field"),
        ("groups: [{name: Alone, agents: [Nobody]}]", "group 'Alone': no such agent: 'Nobody'"),
    ],
)
def test_invalid_file_error_names_field(tertulia: CommandLine, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(content)
    assert message in tertulia.error_line("apply", str(path))


def test_unknown_agent_and_setting_are_named(tertulia: CommandLine) -> None:
    tertulia("start", "Sunday lunch", "Who?", "--id", "who")
    assert tertulia.error_line("members", "add", "who", "Nobody").startswith("no such agent: 'Nobody'; there are ")
    assert tertulia.error_line("settings", "who", "volume=11").startswith("update_settings: volume: no such setting")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["start", "only a group"],
        ["watch", "c", "--last", "-1"],
        ["list", "--limit", "many"],
        ["settings", "c", "no-equals-sign"],
        ["members", "add", "c", "A", "B", "--id", "one"],
    ],
)
def test_wrong_usage_exits_with_code_2(tertulia: CommandLine, arguments: list[str]) -> None:
    assert "--help" in tertulia.error_line(*arguments, code=2)


def test_missing_stack_error_names_remedy(tertulia: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    assert tertulia.error_line("list", "--data", str(folder)) == (
        f"no Temporal server: no stack runs on the folder {str(folder)!r}; start one with `tertulia up`, name the"
        " folder of a running one with --data or TERTULIA_DATA, or set TEMPORAL_ADDRESS"
    )


def test_unreachable_servers_are_named(tertulia: CommandLine) -> None:
    message = tertulia.error_line("stop", "over", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert "no Temporal server answers at 127.0.0.1:1; is it running?" in message
    message = tertulia.error_line("show", "over", DATABASE_URL="postgresql://127.0.0.1:1/none")
    assert message.startswith("no database answers at 127.0.0.1:1, or it refuses the connection; is it running")


def test_second_stack_on_folder_is_refused(tertulia: CommandLine) -> None:
    assert "a stack already runs on" in tertulia.error_line("up")
