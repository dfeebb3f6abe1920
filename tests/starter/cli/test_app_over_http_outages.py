"""The command line over an API that is killed or that limits requests; and Ctrl-C."""

import signal
import subprocess
from pathlib import Path
from time import monotonic, sleep

import httpx2
import pytest

from tests.harness.command_line import CommandLine
from tests.starter.cli.http_command_line import (
    HttpCommandLine,
    RestartableApi,
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


_WAIT_SECONDS = 90.0


def wait_for_text(words: str, path: Path, count: int = 1) -> None:
    limit = monotonic() + _WAIT_SECONDS
    while path.read_text().count(words) < count:
        assert monotonic() < limit, path.read_text()
        sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_watch_survives_api_restarts(http_cli: HttpCommandLine, sample: SampleGroupFile, tmp_path: Path) -> None:
    http_cli("apply", str(sample.path))
    talk, output = f"talk-{sample.name}", tmp_path / "watched"
    api = RestartableApi(http_cli.tertulia)
    http_cli("start", sample.name, "Soup?", "--id", talk, "--follow")
    watching = HttpCommandLine(http_cli.tertulia, api.url, http_cli.key).start_process(
        "watch", talk, "--from-start", "--json"
    )
    assert watching.stdout is not None
    with output.open("w") as file:
        copying = subprocess.Popen(["cat"], stdin=watching.stdout, stdout=file)
        try:
            wait_for_text("round_ended", output)
            for number in range(3):
                api.kill()
                http_cli("say", talk, f"Question {number}?")
                wait_for_text('"waiting"', output, count=number + 1)
                http_cli("say", talk, f"And {number}?", "--follow")
                api.restart()
                wait_for_text(f"And {number}?", output)
            http_cli("stop", talk)
            wait_for_text('"closed"', output)
            assert watching.wait(_WAIT_SECONDS) == 0
            copying.wait(_WAIT_SECONDS)
        finally:
            for process in (watching, copying):
                process.kill()
                process.communicate()
            api.kill()
    told = parse_json_lines(output.read_text())
    reasons = [one["reason"] for one in told if one["event"] == "waiting"]
    assert reasons == [f"the API at {api.url} does not answer"] * 3
    messages = parse_json(http_cli("show", talk, "--json"))["messages"]
    assert [one["seq"] for one in told if one["event"] == "message"] == [one["seq"] for one in messages]
    assert told[-1]["event"] == "closed"


@pytest.mark.slow
def test_api_limits_are_named_in_errors(http_cli: HttpCommandLine, sample: SampleGroupFile) -> None:
    api = RestartableApi(http_cli.tertulia, TERTULIA_MAX_BODY_BYTES="2000", TERTULIA_REQUESTS_PER_MINUTE="2")
    try:
        there = HttpCommandLine(http_cli.tertulia, api.url, http_cli.key)
        long = there.error_line("start", sample.name, "x" * 3_000)
        assert "TERTULIA_MAX_BODY_BYTES" in long and "2000 bytes" in long
        there("list")
        assert "2 a minute are allowed; try again in " in there.error_line("list")
    finally:
        api.kill()


def test_watch_ctrl_c_over_http(http_cli: HttpCommandLine, sample: SampleGroupFile) -> None:
    http_cli("apply", str(sample.path))
    talk = f"talk-{sample.name}"
    http_cli("start", sample.name, "Salt?", "--id", talk)
    watching = http_cli.start_process("watch", talk)
    assert watching.stdout is not None and watching.stdout.readline() == "User  #1\n"
    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=60)
    assert (watching.returncode, errors) == (0, f"the conversation goes on; tertulia watch {talk} shows it again\n")
    assert httpx2.get(f"{http_cli.url}/v1/health/").status_code == 200
