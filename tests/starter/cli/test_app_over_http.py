"""The command line over the API prints the same text and JSON and ends with the same codes as beside the servers."""

import re
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

import pytest

from tests.harness.command_line import CommandLine, CommandResult
from tests.starter.cli.http_command_line import (
    HttpCommandLine,
    SampleGroupFile,
    http_command_line_of,
    parse_json,
    parse_json_lines,
    write_sample_group,
)


@pytest.fixture(scope="module")
def http_cli(tertulia: CommandLine) -> HttpCommandLine:
    return http_command_line_of(tertulia)


@pytest.fixture
def sample(tmp_path: Path) -> SampleGroupFile:
    return write_sample_group(tmp_path)


def read_both(http_cli: HttpCommandLine, *arguments: str) -> Any:
    """Return the output of a reading command, which must be the same over both backends."""
    here, there = parse_json(http_cli.tertulia(*arguments, "--json")), parse_json(http_cli(*arguments, "--json"))
    assert here == there
    assert printed_words(http_cli.tertulia(*arguments)) == printed_words(http_cli(*arguments))
    return there


def printed_words(finished: CommandResult) -> list[str]:
    """Return the output for people, without ages."""
    return re.sub(r"\d+ (s|min|h|d) ago", "", finished.stdout).split()


def outcomes(finished: CommandResult) -> dict[str, int]:
    kinds = [line["outcome"] for line in parse_json(finished)]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def test_apply_gives_same_result_over_http(http_cli: HttpCommandLine, sample: SampleGroupFile) -> None:
    file, direct = str(sample.path), http_cli.tertulia
    assert outcomes(http_cli.process("apply", file, "--json")) == {"created": 5}
    assert outcomes(http_cli("apply", file, "--json")) == {"unchanged": 5}
    assert read_both(http_cli, "apply", file)[0].keys() == {"kind", "id", "name", "outcome"}
    sample.content["agents"][0]["memory"] = [
        {"label": "plan", "value": "go"},
        {"label": "diary", "value": "x" * 25_000},
    ]
    sample.content["agents"][1]["model"] = {"model": "other", "temperature": 1}
    changed = sample.write(shared_memory=[{"label": "rules", "value": "be kind"}], settings={"context_messages": 12})
    assert outcomes(http_cli("apply", changed, "--json")) == {"unchanged": 2, "updated": 3}
    assert outcomes(direct("apply", changed, "--json")) == {"unchanged": 5}
    changed = sample.write(shared_memory=[], standby=[], agents=sample.content["groups"][0]["agents"][::-1])
    assert outcomes(direct("apply", changed, "--json")) == {"unchanged": 4, "updated": 1}
    assert outcomes(http_cli("apply", changed, "--json")) == {"unchanged": 5}


def test_apply_changes_running_conversation(http_cli: HttpCommandLine, sample: SampleGroupFile) -> None:
    http_cli("apply", str(sample.path))
    talk = f"talk-{sample.name}"
    http_cli("start", sample.name, "Soup?", "--id", talk, "--follow")
    cleo, ben = sample.member("Cleo"), sample.member("Ben")
    assert outcomes(http_cli("apply", sample.write(agents=[cleo, ben], standby=[]), "--json")) == {
        "unchanged": 4,
        "updated": 1,
    }
    limit = monotonic() + 60
    while names(http_cli, talk) != [cleo, ben]:
        assert monotonic() < limit, names(http_cli, talk)
        sleep(0.2)
    assert read_both(http_cli, "status", talk)["turn"] > 0


def names(http_cli: HttpCommandLine, conversation_id: str) -> list[str]:
    """Return the members of the conversation, in order."""
    members = parse_json(http_cli("status", conversation_id, "--json"))["roster"]["members"]
    return [member["name"] for member in members]


def test_apply_errors_match_direct_backend(http_cli: HttpCommandLine, sample: SampleGroupFile) -> None:
    for wrong in (
        {"agents": ["Nobody at all"]},
        {"agents": [sample.member("Ana"), sample.member("Ana")]},
        {"agents": [sample.member("Host")]},
        {"shared_memory": [{"label": "a"}, {"label": "a"}]},
        {"manager_config": {"manager_type": "boss"}},
        {"bogus": 1},
    ):
        before = dict(sample.content["groups"][0])
        file = sample.write(**wrong)
        refused = http_cli.error_line("apply", file)
        # Over HTTP, a name that cannot be an id is not sent, so that no names are suggested.
        assert refused.split("; there are")[0] == http_cli.tertulia.error_line("apply", file).split("; there are")[0]
        sample.content["groups"][0] = before
    http_cli("apply", sample.write())
    file = sample.write(manager_config={"manager_type": "round_robin"})
    assert "Cannot change group pattern" in http_cli.error_line("apply", file)
    assert http_cli.error_line("apply", file) == http_cli.tertulia.error_line("apply", file)


def test_conversation_commands_over_http(http_cli: HttpCommandLine, sample: SampleGroupFile) -> None:
    http_cli("apply", str(sample.path))
    talk = f"talk-{sample.name}"
    told = parse_json_lines(http_cli.process("start", sample.name, "Soup?", "--id", talk, "--follow", "--json").stdout)
    assert told[0] == {"conversation_id": talk, "group": sample.name}
    assert [one["seq"] for one in told[1:-1]] == list(range(1, len(told) - 1)) and told[-1]["event"] == "round_ended"
    assert read_both(http_cli, "show", talk)["messages"][0]["text"] == "Soup?"
    assert [one["turn"] for one in read_both(http_cli, "show", talk, "--turns")["turns"]] == list(
        range(1, len(told) - 2)
    )
    assert read_both(http_cli, "status", talk)["phase"] == "ready"
    assert talk in [one["conversation_id"] for one in read_both(http_cli, "list", "--limit", "3")]

    again = parse_json_lines(http_cli("say", talk, "And bread?", "--follow", "--json").stdout)
    assert again[0]["event"] == "accepted" and again[1]["text"] == "And bread?" and again[-1]["event"] == "round_ended"

    stopped = parse_json(http_cli("stop", talk, "--reason", "late", "--json"))
    assert stopped["command"] == "stop"
    watched = parse_json_lines(http_cli("watch", talk, "--from-start", "--json").stdout)
    assert watched == parse_json_lines(http_cli.tertulia("watch", talk, "--from-start", "--json").stdout)
    assert watched[-1]["event"] == "closed"
    assert http_cli("watch", talk, "--last", "2", "--why") == http_cli.tertulia("watch", talk, "--last", "2", "--why")
    assert read_both(http_cli, "status", talk)["phase"] == "closed"
    assert http_cli.error_line("say", talk, "Hello?") == http_cli.tertulia.error_line("say", talk, "Hello?")


def test_member_and_setting_commands_over_http(http_cli: HttpCommandLine, sample: SampleGroupFile) -> None:
    http_cli("apply", sample.write(standby=[]))
    talk = f"talk-{sample.name}"
    http_cli("start", sample.name, "Soup?", "--id", talk, "--follow")
    ana, ben, cleo = map(sample.member, ("Ana", "Ben", "Cleo"))
    receipt = parse_json(http_cli("members", "add", talk, cleo, "--position", "0", "--id", "in", "--json"))
    assert (receipt["command"], receipt["command_id"]) == ("add_member", "in")
    assert (
        parse_json(http_cli.tertulia("members", "add", talk, cleo, "--position", "0", "--id", "in", "--json"))
        == receipt
    )
    assert f"{ana}, {ben}, {cleo}" in http_cli("members", "reorder", talk, ana, ben, cleo).stdout
    two = parse_json(http_cli("members", "mute", talk, ana, ben, "--json"))
    assert [one["command"] for one in two] == ["mute_member", "mute_member"]
    http_cli("members", "unmute", talk, ana)
    http_cli("members", "remove", talk, ben, "--in-flight", "discard")
    http_cli("members", "replace", talk, ana, ben, "--catch-up", "last:2")
    assert "healthy" in http_cli.error_line("members", "reinstate", talk, cleo)
    assert "apply from" in http_cli("settings", talk, "max_turns=2", "intake=queue").stdout
    http_cli("say", talk, "And now?", "--follow")
    members = read_both(http_cli, "members", "list", talk)
    assert {one["name"]: one["state"] for one in members["members"]}[ana] == "removed"
    assert [one["kind"] for one in members["changes"]][:2] == ["add", "reorder"]
    assert "pauses" in http_cli("pause", talk, "--reason", "rest").stdout
    assert "continues" in http_cli("resume", talk).stdout
    for command in (["members", "add", talk, "Nobody at all"], ["settings", talk, "bogus=1"], ["status", "nowhere"]):
        assert http_cli.error_line(*command).split(";")[0] == http_cli.tertulia.error_line(*command).split(";")[0]


def test_key_commands_over_http(http_cli: HttpCommandLine) -> None:
    name = f"remote {uuid4().hex[:8]}"
    made = parse_json(http_cli("keys", "create", name, "--scope", "read", "--json"))
    assert made.keys() == parse_json(http_cli.tertulia("keys", "create", name, "--json")).keys()
    listed = parse_json(http_cli("keys", "list", "--json"))
    assert [one["id"] for one in listed] == [
        one["id"] for one in parse_json(http_cli.tertulia("keys", "list", "--json"))
    ]
    assert listed[0].keys() == made.keys() - {"key"}
    weak = {"TERTULIA_API_KEY": made["key"]}
    present = parse_json(http_cli("list", "--json", **weak))[0]["conversation_id"]
    assert "TERTULIA_API_KEY: this needs a key with the scope 'operate'" in http_cli.error_line(
        "pause", present, **weak
    )
    assert parse_json(http_cli("keys", "revoke", made["id"], "--json"))["revoked_at"]
    gone = http_cli.error_line("list", **weak)
    assert "TERTULIA_API_KEY: the API at " in gone and "revoked" in gone and made["key"] not in gone
    assert "of your own key's organisation alone" in http_cli.error_line("keys", "list", "--organisation", "local")
    assert "where the database is" in http_cli.error_line("organisations", "list")


def test_connection_errors_name_the_address(http_cli: HttpCommandLine) -> None:
    away = {"TERTULIA_URL": "http://127.0.0.1:9"}
    for command in (["list"], ["watch", "talk"], ["keys", "list"], ["say", "talk", "Hello?"]):
        assert "http://127.0.0.1:9 does not answer; is it running" in http_cli.error_line(*command, **away)
    assert "`tertulia status new` shows" in http_cli.error_line("start", "group", "Hello?", "--id", "new", **away)
    assert "TERTULIA_API_KEY is not set" in http_cli.error_line("list", TERTULIA_API_KEY="")
    assert "TERTULIA_URL: " in http_cli.error_line("list", TERTULIA_URL=f"{http_cli.url}/elsewhere")
    assert "--data" in http_cli.error_line("list", "--data", str(http_cli.tertulia.data))
