"""No log contains text of people or agents, or keys."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tertulia.running_stack import find_running_stack
from tests.harness.api_server import bearer
from tests.harness.command_line import CommandLine

MARKER = "marker-5c1e9f0d2b7a4e63"
"""A word that occurs nowhere else."""


@pytest.fixture(scope="module")
def client(tertulia: CommandLine) -> Iterator[httpx2.Client]:
    running = find_running_stack(tertulia.data)
    assert running is not None and running.api_url is not None
    secret = tertulia("keys", "create", "logs", "--scope", "operate").stdout.strip()
    with httpx2.Client(base_url=running.api_url, headers=bearer(secret), timeout=60) as connected:
        yield connected


def all_logs(tertulia: CommandLine) -> str:
    """All that the stack's programs have written, at the level DEBUG."""
    texts = [path.read_text(errors="replace") for path in (tertulia.data / "logs").glob("*.log*")]
    return "".join([*texts, tertulia.output.read_text()])


def test_conversation_text_is_not_logged(tertulia: CommandLine, client: httpx2.Client) -> None:
    agent = {"name": MARKER, "system": MARKER, "memory_blocks": [{"label": "about", "value": MARKER}]}
    agent_id = client.post("/v1/agents/", json=agent).json()["id"]
    group = {"name": MARKER, "description": MARKER, "agent_ids": [agent_id]}
    group_id = client.post("/v1/groups/", json=group).json()["id"]
    answer = client.post(f"/v1/groups/{group_id}/messages", json={"messages": [{"role": "user", "content": MARKER}]})
    assert answer.status_code == 200, answer.text
    assert MARKER in client.get(f"/v1/groups/{group_id}/messages").text
    log = all_logs(tertulia)
    assert "POST /v1/groups/{group_id}/messages 200" in log
    assert MARKER not in log


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/agents/", f'{{"name": ["{MARKER}"]}}', 422),
        ("POST", "/v1/agents/", f'{{"{MARKER}": 1}}', 422),
        ("POST", "/v1/agents/", f'{{"name": "{MARKER}', 422),
        ("POST", "/v1/blocks/", f'{{"label": "a", "value": "{MARKER}", "limit": 1}}', 400),
        ("GET", f"/v1/agents/{MARKER}", "", 404),
        ("GET", f"/v1/agents/?name={MARKER}", "", 200),
        ("GET", f"/v1/agents/?limit={MARKER}", "", 422),
        ("GET", f"/v1/{MARKER}/", "", 404),
        ("GET", f"/{MARKER}", "", 404),
        ("GET", f"/v1/agents/{MARKER}%00", "", 400),
        ("PUT", f"/v1/agents/{MARKER}", "", 405),
    ],
)
def test_failed_request_text_is_not_logged(
    tertulia: CommandLine, client: httpx2.Client, method: str, path: str, body: str, status: int
) -> None:
    answer = client.request(method, path, content=body.encode(), headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert MARKER not in all_logs(tertulia)


def test_duplicate_name_is_not_logged(tertulia: CommandLine, client: httpx2.Client) -> None:
    answers = [client.post("/v1/agents/", json={"name": f"{MARKER}-twice"}).status_code for _ in range(2)]
    assert answers == [200, 409]
    assert MARKER not in all_logs(tertulia)


def test_api_keys_are_not_logged(tertulia: CommandLine, client: httpx2.Client) -> None:
    secret = client.headers["Authorization"].removeprefix("Bearer ")
    local = Path(tertulia.data, "api-key").read_text().strip()
    wrong = f"tertulia_{'w' * 43}"
    for headers in ({"X-API-Key": secret}, {"Authorization": f"Bearer {wrong}"}, {"Authorization": wrong}):
        client.get("/v1/agents/", headers=headers)
        client.get(f"/v1/agents/?key={secret}", headers=headers)
    log = all_logs(tertulia)
    assert not [key for key in (secret, local, wrong) if key in log]
