"""What goes wrong is told in one line that says what to do; the exit code tells failure from wrong usage."""

from pathlib import Path

import pytest

from tests.system.conftest import CommandLine

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module", autouse=True)
def closed(tertulia: CommandLine) -> None:
    """A closed conversation."""
    tertulia("apply", str(EXAMPLES / "round_robin.yaml"))
    tertulia("start", "Sunday lunch", "Over?", "--id", "over", "--close", "--follow")


def test_a_failing_process_ends_with_the_code_and_the_line(tertulia: CommandLine) -> None:
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
def test_what_cannot_be_done_is_explained(tertulia: CommandLine, arguments: list[str], message: str) -> None:
    assert tertulia.refused(*arguments).startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("agents: [", "not YAML: "),
        ("agents: [{nam: Bea}]", "agents.0.name: Field required; agents.0.nam: unknown field"),
        ("groups: [{name: Alone, agents: [Nobody]}]", "group 'Alone': no such agent: 'Nobody'"),
    ],
)
def test_a_wrong_file_is_named_with_its_field(
    tertulia: CommandLine, tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(content)
    assert message in tertulia.refused("apply", str(path))


def test_an_unknown_agent_and_an_unknown_setting_are_named(tertulia: CommandLine) -> None:
    tertulia("start", "Sunday lunch", "Who?", "--id", "who")
    assert tertulia.refused("members", "add", "who", "Nobody") == "no such agent: 'Nobody'"
    assert tertulia.refused("settings", "who", "volume=11").startswith("update_settings: volume: no such setting")


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
def test_wrong_usage_has_its_own_exit_code(tertulia: CommandLine, arguments: list[str]) -> None:
    assert "--help" in tertulia.refused(*arguments, code=2)


def test_without_a_stack_the_way_to_start_one_is_told(tertulia: CommandLine, tmp_path: Path) -> None:
    message = tertulia.refused("list", "--data", str(tmp_path / "empty"))
    assert message == "no Temporal server: start one with `tertulia up`, or set TEMPORAL_ADDRESS"


def test_servers_that_do_not_answer_are_named(tertulia: CommandLine) -> None:
    message = tertulia.refused("stop", "over", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert "no Temporal server answers at 127.0.0.1:1; is it running?" in message
    message = tertulia.refused("show", "over", DATABASE_URL="postgresql://127.0.0.1:1/none")
    assert message.startswith("the database: ") and "Connection refused" in message


def test_a_second_stack_on_the_same_folder_is_refused(tertulia: CommandLine) -> None:
    assert "a stack already runs on" in tertulia.refused("up")
