"""API keys on the command line and over HTTP, and the local key that the stack keeps."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tertulia.devstack.data_folder import StackRecord
from tertulia.devstack.local_key import KEY_FILE
from tertulia.devstack.prepare import migrate_and_create_key
from tertulia.devstack.stack import Stack, StackOptions
from tertulia.running_stack import find_running_stack
from tertulia.testing import eventually, isolated_environment
from tests.harness.api_server import bearer
from tests.harness.command_line import CommandLine


@pytest.fixture(scope="module")
def url(tertulia: CommandLine) -> str:
    running = find_running_stack(tertulia.data)
    assert running is not None and running.api_url is not None
    return running.api_url


def status_code_of(url: str, secret: str, path: str = "/v1/keys/") -> int:
    return httpx2.get(f"{url}{path}", headers=bearer(secret)).status_code


def create_key(tertulia: CommandLine, *arguments: str) -> dict[str, Any]:
    key: dict[str, Any] = json.loads(tertulia("keys", "create", *arguments, "--json").stdout)
    return key


def test_up_prints_api_address_and_key_usage(tertulia: CommandLine, url: str) -> None:
    output = tertulia.output.read_text()
    assert f"{url}, documented at {url}/docs" in output
    path = tertulia.data / KEY_FILE
    assert f'curl -H "Authorization: Bearer $(cat {path})" {url}/v1/' in output
    assert path.read_text().strip() not in output
    assert path.stat().st_mode & 0o777 == 0o600
    assert status_code_of(url, path.read_text().strip()) == 200


def test_cli_key_works_until_revoked(tertulia: CommandLine, url: str) -> None:
    created = tertulia("keys", "create", "night shift", "--scope", "admin")
    secret = created.stdout.strip()
    assert secret.startswith("tertulia_") and secret not in created.stderr
    assert status_code_of(url, secret) == 200

    keys = {key["name"]: key for key in json.loads(tertulia("keys", "list", "--json").stdout)}
    key = keys["night shift"]
    assert key["scopes"] == ["admin"] and secret.startswith(key["hint"])
    for output in (tertulia("keys", "list").stdout, json.dumps(keys)):
        assert "night shift" in output and secret not in output

    assert key["id"] in tertulia("keys", "revoke", key["id"]).stdout
    assert status_code_of(url, secret) == 401
    assert "revoked" in tertulia("keys", "list").stdout


def test_api_key_secret_is_returned_once(tertulia: CommandLine, url: str) -> None:
    admin = create_key(tertulia, "admin", "--scope", "admin")
    with httpx2.Client(base_url=url, headers=bearer(admin["key"])) as client:
        answer = client.post("/v1/keys/", json={"name": "reader", "scopes": ["read"]})
        assert answer.status_code == 201
        reader = answer.json()
        assert status_code_of(url, reader["key"]) == 403
        listed = client.get("/v1/keys/", params={"limit": 200}).json()
        assert {key["name"] for key in listed} >= {"reader", "admin", "local"}
        assert not any("key" in key or "hash" in key for key in listed)

        revoked = client.delete(f"/v1/keys/{reader['id']}").json()
        assert revoked["revoked_at"] is not None
        assert client.delete(f"/v1/keys/{reader['id']}").json() == revoked
        assert status_code_of(url, reader["key"]) == 401


def test_key_retrieve_rename_and_count(tertulia: CommandLine, url: str) -> None:
    tertulia("organisations", "create", "names")
    admin = create_key(tertulia, "admin", "--scope", "admin", "--organisation", "names")
    with httpx2.Client(base_url=url, headers=bearer(admin["key"])) as client:
        created = client.post("/v1/keys/", json={"name": "reader", "scopes": ["read"]}).json()
        secret = created.pop("key")
        path = f"/v1/keys/{created['id']}"
        assert client.get(path).json() == created
        renamed = client.patch(path, json={"name": " night reader "})
        assert (renamed.status_code, renamed.json()) == (200, created | {"name": "night reader"})
        assert client.get(path).json() == renamed.json()
        assert client.get("/v1/keys/count").json() == 2
        assert status_code_of(url, secret, "/v1/agents/") == 200, "a new name does not change the secret"

        client.delete(path)
        assert client.patch(path, json={"name": "revoked reader"}).json()["revoked_at"] is not None
        assert client.get("/v1/keys/count").json() == 2, "revoked keys are counted"
        assert status_code_of(url, secret, "/v1/agents/") == 401


def test_invalid_key_changes_are_refused(tertulia: CommandLine, url: str) -> None:
    tertulia("organisations", "create", "refusals")
    admin = create_key(tertulia, "admin", "--scope", "admin", "--organisation", "refusals")
    operator = create_key(tertulia, "operator", "--scope", "operate", "--organisation", "refusals")
    path = f"/v1/keys/{operator['id']}"
    with httpx2.Client(base_url=url, headers=bearer(admin["key"])) as client:
        for body in ({}, {"name": ""}, {"name": "a:b"}, {"name": None}, {"name": "x", "scopes": ["admin"]}):
            refused = client.patch(path, json=body)
            assert (refused.status_code, refused.json()["type"]) == (422, "InvalidRequest"), body
        for method in ("GET", "PATCH", "DELETE"):
            missing = client.request(method, "/v1/keys/key-nowhere", json={"name": "x"})
            assert (missing.status_code, missing.json()["type"]) == (404, "NotFound")
        assert client.get(path).json()["name"] == "operator"
    for method, route in (("GET", path), ("PATCH", path), ("GET", "/v1/keys/count")):
        refused = httpx2.request(method, f"{url}{route}", headers=bearer(operator["key"]), json={"name": "x"})
        assert (refused.status_code, refused.json()["type"]) == (403, "Forbidden")


def test_list_keys_over_api_pages(tertulia: CommandLine, url: str) -> None:
    tertulia("organisations", "create", "pages")
    admin = create_key(tertulia, "key 0", "--scope", "admin", "--organisation", "pages")
    with httpx2.Client(base_url=url, headers=bearer(admin["key"])) as client:
        for number in range(1, 5):
            client.post("/v1/keys/", json={"name": f"key {number}"})
        pages: list[list[dict[str, Any]]] = [client.get("/v1/keys/", params={"limit": 2}).json()]
        while pages[-1]:
            pages.append(client.get("/v1/keys/", params={"limit": 2, "after": pages[-1][-1]["id"]}).json())
        assert [[key["name"] for key in page] for page in pages] == [
            ["key 0", "key 1"],
            ["key 2", "key 3"],
            ["key 4"],
            [],
        ]
        for wrong in ({"limit": 0}, {"limit": 201}):
            assert client.get("/v1/keys/", params=wrong).status_code == 422
        assert client.get("/v1/keys/", params={"after": "key-nowhere"}).status_code == 404


def test_keys_are_scoped_to_organisation(tertulia: CommandLine, url: str) -> None:
    assert "acme" in tertulia("organisations", "create", "acme", "--name", "Acme Ltd").stdout
    assert "acme (Acme Ltd)" in tertulia("organisations", "list").stdout
    theirs = create_key(tertulia, "theirs", "--scope", "admin", "--organisation", "acme")
    ours = create_key(tertulia, "ours", "--scope", "admin")
    with httpx2.Client(base_url=url, headers=bearer(theirs["key"])) as client:
        assert [key["id"] for key in client.get("/v1/keys/").json()] == [theirs["id"]]
        missing = client.delete(f"/v1/keys/{ours['id']}")
        assert (missing.status_code, missing.json()["type"]) == (404, "NotFound")
        assert client.get("/v1/keys/", params={"after": ours["id"]}).status_code == 404
    assert status_code_of(url, ours["key"]) == 200
    assert theirs["id"] not in tertulia("keys", "list", "--json").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("keys", "create", "x", "--scope", "reed"), "'read', 'post', 'operate' or 'admin'"),
        (("keys", "create", "x", "--organisation", "nowhere"), "tertulia organisations create nowhere"),
        (("keys", "revoke", "key-nowhere"), "no key 'key-nowhere'"),
        (("organisations", "create", "two words"), "id"),
        (("organisations", "create", "local"), "exists already"),
    ],
)
def test_invalid_key_commands_print_one_line(tertulia: CommandLine, arguments: tuple[str, ...], message: str) -> None:
    assert message in tertulia.error_line(*arguments)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_stack_keeps_key_and_restarts_api(tmp_path: Path) -> None:
    options = StackOptions(
        data=tmp_path / "data",
        temporal_port=0,
        ui_port=None,
        api_port=0,
        workers=0,
        offline_model=False,
        environment=isolated_environment(OPENAI_API_KEY="unused"),
    )
    keys = []
    for start in (1, 2):
        async with Stack(options, prepare=migrate_and_create_key) as stack:
            url = stack.addresses.api_url
            assert url is not None
            keys.append((options.data / KEY_FILE).read_text().strip())
            secret = keys[-1]
            assert await asyncio.to_thread(status_code_of, url, secret) == 200

            if start == 2:
                await stack.kill("api")

            async def answers(url: str = url, secret: str = secret) -> bool:
                try:
                    return await asyncio.to_thread(status_code_of, url, secret) == 200
                except httpx2.TransportError:
                    return False

            await eventually(answers, bool, seconds=60)
            pid = _recorded(options.data, "api")
            urls = stack.addresses.api_url
        assert not psutil.pid_exists(pid)
    assert keys[0] == keys[1] and urls == url


def _recorded(data: Path, program: str) -> int:
    record = StackRecord.model_validate_json((data / "stack.json").read_bytes())
    return next(process.pid for process in record.processes if process.name == program)


def test_api_command_prints_address_and_stops(tertulia: CommandLine) -> None:
    running = tertulia.start_process("api", "--port", "0")
    assert running.stderr is not None
    line = running.stderr.readline()
    assert "listening on http://127.0.0.1:" in line and "/docs" in line
    running.send_signal(signal.SIGINT)
    assert running.wait(30) == 0
    running.communicate()
