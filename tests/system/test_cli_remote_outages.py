"""The command line through an API that is killed, or that sets limits; and Ctrl-C."""

import signal
import subprocess
from pathlib import Path
from time import monotonic, sleep

import httpx2
import pytest

from tests.system.conftest import CommandLine
from tests.system.remote import Club, OwnApi, Remote, lines, new_club, parsed, remote_to


@pytest.fixture(scope="module")
def remote(tertulia: CommandLine) -> Remote:
    return remote_to(tertulia)


@pytest.fixture
def club(tmp_path: Path) -> Club:
    return new_club(tmp_path)


_WAIT_SECONDS = 90.0


def wait_for(words: str, path: Path, count: int = 1) -> None:
    limit = monotonic() + _WAIT_SECONDS
    while path.read_text().count(words) < count:
        assert monotonic() < limit, path.read_text()
        sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_watch_outlives_its_api_and_shows_everything_once(remote: Remote, club: Club, tmp_path: Path) -> None:
    remote("apply", str(club.path))
    talk, output = f"talk-{club.name}", tmp_path / "watched"
    api = OwnApi(remote.tertulia)
    remote("start", club.name, "Soup?", "--id", talk, "--follow")
    watching = Remote(remote.tertulia, api.url, remote.key).begin("watch", talk, "--from-start", "--json")
    assert watching.stdout is not None
    with output.open("w") as file:
        copying = subprocess.Popen(["cat"], stdin=watching.stdout, stdout=file)
        try:
            wait_for("round_ended", output)
            for number in range(3):
                api.kill()
                remote("say", talk, f"Question {number}?")
                wait_for('"waiting"', output, count=number + 1)
                remote("say", talk, f"And {number}?", "--follow")
                api.restart()
                wait_for(f"And {number}?", output)
            remote("stop", talk)
            wait_for('"closed"', output)
            assert watching.wait(_WAIT_SECONDS) == 0
            copying.wait(_WAIT_SECONDS)
        finally:
            for process in (watching, copying):
                process.kill()
                process.communicate()
            api.kill()
    told = lines(output.read_text())
    reasons = [one["reason"] for one in told if one["event"] == "waiting"]
    assert reasons == [f"the API at {api.url} does not answer"] * 3
    messages = parsed(remote("show", talk, "--json"))["messages"]
    assert [one["seq"] for one in told if one["event"] == "message"] == [one["seq"] for one in messages]
    assert told[-1]["event"] == "closed"


@pytest.mark.slow
def test_limits_of_the_api_are_told_with_their_names(remote: Remote, club: Club) -> None:
    api = OwnApi(remote.tertulia, TERTULIA_MAX_BODY_BYTES="2000", TERTULIA_REQUESTS_PER_MINUTE="2")
    try:
        there = Remote(remote.tertulia, api.url, remote.key)
        long = there.refused("start", club.name, "x" * 3_000)
        assert "TERTULIA_MAX_BODY_BYTES" in long and "2000 bytes" in long
        there("list")
        assert "2 a minute are allowed; wait " in there.refused("list")
    finally:
        api.kill()


def test_ctrl_c_ends_a_watch_through_the_api_and_not_the_conversation(remote: Remote, club: Club) -> None:
    remote("apply", str(club.path))
    talk = f"talk-{club.name}"
    remote("start", club.name, "Salt?", "--id", talk)
    watching = remote.begin("watch", talk)
    assert watching.stdout is not None and watching.stdout.readline() == "User  #1\n"
    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=60)
    assert (watching.returncode, errors) == (0, f"the conversation goes on; tertulia watch {talk} shows it again\n")
    assert httpx2.get(f"{remote.url}/v1/health/").status_code == 200
