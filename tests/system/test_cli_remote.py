"""The command line through the API: the same words, the same JSON, the same exit codes as beside the servers."""

import re
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

import pytest

from tests.system.conftest import CommandLine, Finished
from tests.system.remote import Club, Remote, lines, new_club, parsed, remote_to


@pytest.fixture(scope="module")
def remote(tertulia: CommandLine) -> Remote:
    return remote_to(tertulia)


@pytest.fixture
def club(tmp_path: Path) -> Club:
    return new_club(tmp_path)


def both(remote: Remote, *arguments: str) -> Any:
    """What a reading command prints, which is the same either way."""
    here, there = parsed(remote.tertulia(*arguments, "--json")), parsed(remote(*arguments, "--json"))
    assert here == there
    assert words(remote.tertulia(*arguments)) == words(remote(*arguments))
    return there


def words(finished: Finished) -> list[str]:
    """What is printed for people, but for how long ago something was."""
    return re.sub(r"\d+ (s|min|h|d) ago", "", finished.stdout).split()


def outcomes(finished: Finished) -> dict[str, int]:
    kinds = [line["outcome"] for line in parsed(finished)]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def test_a_file_is_the_same_to_both(remote: Remote, club: Club) -> None:
    file, direct = str(club.path), remote.tertulia
    assert outcomes(remote.process("apply", file, "--json")) == {"created": 5}
    assert outcomes(remote("apply", file, "--json")) == {"unchanged": 5}
    assert both(remote, "apply", file)[0].keys() == {"kind", "id", "name", "outcome"}
    club.content["agents"][0]["memory"] = [{"label": "plan", "value": "go"}, {"label": "diary", "value": "x" * 25_000}]
    club.content["agents"][1]["model"] = {"model": "other", "temperature": 1}
    changed = club.write(shared_memory=[{"label": "rules", "value": "be kind"}], settings={"context_messages": 12})
    assert outcomes(remote("apply", changed, "--json")) == {"unchanged": 2, "updated": 3}
    assert outcomes(direct("apply", changed, "--json")) == {"unchanged": 5}
    changed = club.write(shared_memory=[], standby=[], agents=club.content["groups"][0]["agents"][::-1])
    assert outcomes(direct("apply", changed, "--json")) == {"unchanged": 4, "updated": 1}
    assert outcomes(remote("apply", changed, "--json")) == {"unchanged": 5}


def test_a_group_that_is_written_otherwise_changes_in_its_running_conversations(remote: Remote, club: Club) -> None:
    remote("apply", str(club.path))
    talk = f"talk-{club.name}"
    remote("start", club.name, "Soup?", "--id", talk, "--follow")
    cleo, ben = club.member("Cleo"), club.member("Ben")
    assert outcomes(remote("apply", club.write(agents=[cleo, ben], standby=[]), "--json")) == {
        "unchanged": 4,
        "updated": 1,
    }
    limit = monotonic() + 60
    while names(remote, talk) != [cleo, ben]:
        assert monotonic() < limit, names(remote, talk)
        sleep(0.2)
    assert both(remote, "status", talk)["turn"] > 0


def names(remote: Remote, conversation_id: str) -> list[str]:
    """Who is in the conversation, in order."""
    members = parsed(remote("status", conversation_id, "--json"))["roster"]["members"]
    return [member["name"] for member in members]


def test_a_file_that_cannot_be_applied_is_refused_in_the_same_words(remote: Remote, club: Club) -> None:
    for wrong in (
        {"agents": ["Nobody at all"]},
        {"agents": [club.member("Ana"), club.member("Ana")]},
        {"agents": [club.member("Host")]},
        {"shared_memory": [{"label": "a"}, {"label": "a"}]},
        {"manager_config": {"manager_type": "boss"}},
        {"bogus": 1},
    ):
        before = dict(club.content["groups"][0])
        file = club.write(**wrong)
        assert remote.refused("apply", file) == remote.tertulia.refused("apply", file)
        club.content["groups"][0] = before
    remote("apply", club.write())
    file = club.write(manager_config={"manager_type": "round_robin"})
    assert "Cannot change group pattern" in remote.refused("apply", file)
    assert remote.refused("apply", file) == remote.tertulia.refused("apply", file)


def test_a_round_is_started_followed_and_read_through_the_api(remote: Remote, club: Club) -> None:
    remote("apply", str(club.path))
    talk = f"talk-{club.name}"
    told = lines(remote.process("start", club.name, "Soup?", "--id", talk, "--follow", "--json").stdout)
    assert told[0] == {"conversation_id": talk, "group": club.name}
    assert [one["seq"] for one in told[1:-1]] == list(range(1, len(told) - 1)) and told[-1]["event"] == "round_ended"
    assert both(remote, "show", talk)["messages"][0]["text"] == "Soup?"
    assert [one["turn"] for one in both(remote, "show", talk, "--turns")["turns"]] == list(range(1, len(told) - 2))
    assert both(remote, "status", talk)["phase"] == "ready"
    assert talk in [one["conversation_id"] for one in both(remote, "list", "--limit", "3")]

    again = lines(remote("say", talk, "And bread?", "--follow", "--json").stdout)
    assert again[0]["event"] == "accepted" and again[1]["text"] == "And bread?" and again[-1]["event"] == "round_ended"

    stopped = parsed(remote("stop", talk, "--reason", "late", "--json"))
    assert stopped["command"] == "stop"
    watched = lines(remote("watch", talk, "--from-start", "--json").stdout)
    assert watched == lines(remote.tertulia("watch", talk, "--from-start", "--json").stdout)
    assert watched[-1]["event"] == "closed"
    assert remote("watch", talk, "--last", "2", "--why") == remote.tertulia("watch", talk, "--last", "2", "--why")
    assert both(remote, "status", talk)["phase"] == "closed"
    assert remote.refused("say", talk, "Hello?") == remote.tertulia.refused("say", talk, "Hello?")


def test_members_and_settings_are_changed_through_the_api(remote: Remote, club: Club) -> None:
    remote("apply", club.write(standby=[]))
    talk = f"talk-{club.name}"
    remote("start", club.name, "Soup?", "--id", talk, "--follow")
    ana, ben, cleo = map(club.member, ("Ana", "Ben", "Cleo"))
    receipt = parsed(remote("members", "add", talk, cleo, "--position", "0", "--id", "in", "--json"))
    assert (receipt["command"], receipt["command_id"]) == ("add_member", "in")
    assert parsed(remote.tertulia("members", "add", talk, cleo, "--position", "0", "--id", "in", "--json")) == receipt
    assert f"{ana}, {ben}, {cleo}" in remote("members", "reorder", talk, ana, ben, cleo).stdout
    two = parsed(remote("members", "mute", talk, ana, ben, "--json"))
    assert [one["command"] for one in two] == ["mute_member", "mute_member"]
    remote("members", "unmute", talk, ana)
    remote("members", "remove", talk, ben, "--in-flight", "discard")
    remote("members", "replace", talk, ana, ben, "--catch-up", "last:2")
    assert "healthy" in remote.refused("members", "reinstate", talk, cleo)
    assert "hold from" in remote("settings", talk, "max_turns=2", "intake=queue").stdout
    remote("say", talk, "And now?", "--follow")
    members = both(remote, "members", "list", talk)
    assert {one["name"]: one["state"] for one in members["members"]}[ana] == "removed"
    assert [one["kind"] for one in members["changes"]][:2] == ["add", "reorder"]
    assert "pauses" in remote("pause", talk, "--reason", "rest").stdout
    assert "goes on" in remote("resume", talk).stdout
    for command in (["members", "add", talk, "Nobody at all"], ["settings", talk, "bogus=1"], ["status", "nowhere"]):
        assert remote.refused(*command).split(";")[0] == remote.tertulia.refused(*command).split(";")[0]


def test_keys_are_those_of_ones_own_organisation(remote: Remote) -> None:
    name = f"remote {uuid4().hex[:8]}"
    made = parsed(remote("keys", "create", name, "--scope", "read", "--json"))
    assert made.keys() == parsed(remote.tertulia("keys", "create", name, "--json")).keys()
    listed = parsed(remote("keys", "list", "--json"))
    assert [one["id"] for one in listed] == [one["id"] for one in parsed(remote.tertulia("keys", "list", "--json"))]
    assert listed[0].keys() == made.keys() - {"key"}
    weak = {"TERTULIA_API_KEY": made["key"]}
    present = parsed(remote("list", "--json", **weak))[0]["conversation_id"]
    assert "TERTULIA_API_KEY: this needs a key with the scope 'operate'" in remote.refused("pause", present, **weak)
    assert parsed(remote("keys", "revoke", made["id"], "--json"))["revoked_at"]
    gone = remote.refused("list", **weak)
    assert "TERTULIA_API_KEY: the API at " in gone and "revoked" in gone and made["key"] not in gone
    assert "of your own key's organisation alone" in remote.refused("keys", "list", "--organisation", "local")
    assert "where the database is" in remote.refused("organisations", "list")


def test_what_stands_in_the_way_is_one_line_with_the_address(remote: Remote) -> None:
    away = {"TERTULIA_URL": "http://127.0.0.1:9"}
    for command in (["list"], ["watch", "talk"], ["keys", "list"], ["say", "talk", "Hello?"]):
        assert "http://127.0.0.1:9 does not answer; is it running" in remote.refused(*command, **away)
    assert "`tertulia status new` shows" in remote.refused("start", "group", "Hello?", "--id", "new", **away)
    assert "TERTULIA_API_KEY is not set" in remote.refused("list", TERTULIA_API_KEY="")
    assert "TERTULIA_URL: " in remote.refused("list", TERTULIA_URL=f"{remote.url}/elsewhere")
    assert "--data" in remote.refused("list", "--data", str(remote.tertulia.data))
