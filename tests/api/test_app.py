"""The application: authentication, limits, health, documentation page, unexpected errors, start and stop."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from tertulia.api.problems import PROBLEMS
from tertulia.configuration import Configuration
from tertulia.devstack.stack import Stack
from tertulia.store.database import Database
from tertulia.store.keys import is_valid, revoke_key
from tests.harness.api_server import ApiProcess, bearer, configuration_for, make_key, open_api, start_api_process
from tests.harness.command_line import COMMAND

JSON = {"content-type": "application/json"}
OPEN = {"/v1/health/", "/v1/health/ready", "/v1/codec/session"}


@pytest.fixture(scope="module")
async def database(stack: Stack) -> AsyncIterator[Database]:
    async with Database(stack.configuration.database_url) as connected:
        yield connected


@pytest.fixture(scope="module")
async def admin(database: Database) -> str:
    return (await make_key(database, "admin")).secret


@pytest.fixture(scope="module")
async def api(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ApiProcess]:
    """An API process with a low body limit."""
    log = tmp_path_factory.mktemp("api") / "api.log"
    async with start_api_process(stack, log, TERTULIA_MAX_BODY_BYTES="100000") as running:
        yield running


@pytest.fixture(scope="module")
async def document(api: ApiProcess) -> dict[str, Any]:
    async with api.client() as client:
        read: dict[str, Any] = (await client.get("/openapi.json")).json()
        return read


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, one) for path, methods in document["paths"].items() for method, one in methods.items()]


async def test_every_route_requires_a_key(api: ApiProcess, document: dict[str, Any]) -> None:
    async with api.client() as client:
        for path, method, operation in operations(document):
            answer = await client.request(method, path.replace("{", "").replace("}", ""), content=b"{", headers=JSON)
            if path in OPEN and method == "get":
                assert answer.status_code == 200
            elif path == "/v1/codec/session" and method == "delete":
                assert answer.status_code == 204
            else:
                assert answer.status_code == 401, (method, path)
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert operation.get("security") or path.startswith("/v1/codec/"), (method, path)


async def test_missing_key_response_explains_remedy(api: ApiProcess) -> None:
    async with api.client() as client:
        answer = (await client.get("/v1/keys/")).json()
    assert answer["type"] == "Unauthorized"
    assert "tertulia keys create" in answer["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer tertulia_" + "x" * 43},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": "Bearer"},
        {"X-API-Key": "hello"},
        {"X-API-Key": "tertulia_é" + "x" * 42},
    ],
)
async def test_invalid_key_is_unauthorized(api: ApiProcess, headers: dict[str, str]) -> None:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    async with api.client() as client:
        answer = await client.get("/v1/keys/", headers=encoded)
    assert (answer.status_code, answer.json()["type"]) == (401, "Unauthorized")


async def test_key_accepted_in_either_header(api: ApiProcess, admin: str) -> None:
    async with api.client() as client:
        for headers in (bearer(admin), {"Authorization": f"bearer {admin}"}, {"X-API-Key": admin}):
            assert (await client.get("/v1/keys/", headers=headers)).status_code == 200


async def test_missing_scope_response_names_it(api: ApiProcess, database: Database) -> None:
    made = await make_key(database, "operate")
    async with api.client(made.secret) as client:
        answer = await client.post("/v1/keys/", json={"name": "mine"})
    assert answer.status_code == 403
    assert answer.json() == {
        "detail": "this needs a key with the scope 'admin'; your key has operate",
        "type": "Forbidden",
    }


async def test_revoked_key_is_refused_at_once(api: ApiProcess, database: Database) -> None:
    made = await make_key(database, "admin")
    async with api.client(made.secret) as client:
        assert (await client.get("/v1/keys/")).status_code == 200
        await revoke_key(database, made.key.organisation_id, made.key.id)
        assert not await is_valid(database, made.key.id)
        assert (await client.get("/v1/keys/")).status_code == 401


async def test_long_body_is_refused_with_any_framing(api: ApiProcess, admin: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 100_000

    async with api.client(admin) as client:
        for content in (b" " * 100_001, b" " * 10_000_000, pieces()):
            answer = await client.post("/v1/keys/", content=content, headers=JSON)
            assert (answer.status_code, answer.json()["type"]) == (413, "BodyTooLarge")
        assert (await client.post("/v1/keys/", content=b" " * 100_000, headers=JSON)).status_code == 422


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b'{"name": "marker-9d1f", "scopes": ["marker-9d1f"]}', ["body", "scopes", 0]),
        (b'{"name": {"marker-9d1f": 1}}', ["body", "name"]),
        (b'{"name": "marker-9d1f", "unknown": "marker-9d1f"}', ["body", "unknown"]),
        (b'{"name": "marker-9d1f', ["body", 9]),
        (b'{"name": "\\ud800"}', ["body", "name"]),
    ],
)
async def test_invalid_request_names_field_not_value(
    api: ApiProcess, admin: str, content: bytes, where: list[str | int]
) -> None:
    async with api.client(admin) as client:
        answer = await client.post("/v1/keys/", content=content, headers=JSON)
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (422, "InvalidRequest")
    assert problem["errors"][0]["loc"] == where
    assert ".".join(map(str, where)) in problem["detail"]
    assert "marker-9d1f" not in answer.text and "marker-9d1f" not in api.log.read_text()


@pytest.mark.parametrize("route", ["", "any/fork"])
@pytest.mark.parametrize("sender", ["", " ", "A:", "\n"])
async def test_invalid_sender_name_is_refused(api: ApiProcess, admin: str, route: str, sender: str) -> None:
    body = {"message": "Good evening.", "sender": sender} | ({} if route else {"group": "any"})
    async with api.client(admin) as client:
        answer = await client.post(f"/v1/conversations/{route}", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "sender"]


async def test_nul_in_path_is_refused(api: ApiProcess, admin: str) -> None:
    async with api.client(admin) as client:
        assert (await client.delete("/v1/keys/a%00b")).status_code == 400


async def test_rate_limit_is_per_key(stack: Stack, database: Database, tmp_path: Path) -> None:
    limited, other = [(await make_key(database, "admin")).secret for _ in range(2)]
    async with open_api(configuration_for(stack, TERTULIA_REQUESTS_PER_MINUTE="3")) as (_, client):
        answers = [await client.get("/v1/keys/", headers=bearer(limited)) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 20
        assert "3 a minute" in answers[-1].json()["detail"]
        assert (await client.get("/v1/keys/", headers=bearer(other))).status_code == 200


async def test_health_routes_need_no_key(api: ApiProcess) -> None:
    async with api.client() as client:
        answer = (await client.get("/v1/health/")).json()
        assert answer.keys() == {"version", "status"} and answer["status"] == "ok"
        ready = await client.get("/v1/health/ready")
    assert ready.status_code == 200
    assert ready.json() == {"status": "ready", "database": "ok", "migrations": "ok", "temporal": "ok"}


async def test_readiness_names_missing_dependency(stack: Stack) -> None:
    database_url = stack.configuration.database_url
    unreachable = "postgresql://somebody:secret-word@127.0.0.1:1/tertulia"
    for variables, message in (
        ({"TEMPORAL_ADDRESS": "127.0.0.1:1"}, "Temporal does not answer"),
        ({"DATABASE_URL": unreachable}, "the database"),
        ({"DATABASE_URL": database_url.replace("/tertulia?", "/postgres?")}, "tertulia migrate"),
    ):
        async with open_api(configuration_for(stack, **variables)) as (_, client):
            answer = await client.get("/v1/health/ready")
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert message in answer.json()["detail"]
            assert "secret-word" not in answer.text
            assert (await client.get("/v1/health/")).status_code == 200


async def test_database_outage_returns_503(stack: Stack, admin: str) -> None:
    unreachable = configuration_for(stack, DATABASE_URL="postgresql://somebody:secret-word@127.0.0.1:1/tertulia")
    async with open_api(unreachable) as (_, client):
        answer = await client.get("/v1/keys/", headers=bearer(admin))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json() == {"detail": "the database does not answer", "type": "Unavailable"}


async def test_docs_page_is_self_contained(api: ApiProcess) -> None:
    async with api.client() as client:
        page = await client.get("/docs")
        assert page.status_code == 200
        linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert linked and not [address for address in linked if not address.startswith("/")]
        for address in linked:
            assert (await client.get(address)).status_code == 200


async def test_every_route_documents_its_problems(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert {"Bearer", "X-API-Key"} <= document["components"]["securitySchemes"].keys()
    for path, method, operation in operations(document):
        if path.startswith("/v1/health/"):
            continue
        for status in PROBLEMS:
            documented = operation["responses"][str(status)]
            assert documented["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Problem"}, (
                method,
                path,
                status,
            )


async def test_stream_schema_is_documented(document: dict[str, Any]) -> None:
    answers = document["paths"]["/v1/conversations/{conversation_id}/events"]["get"]["responses"]
    event = answers["200"]["content"]["text/event-stream"]["itemSchema"]["properties"]
    assert {"id", "event", "data"} <= event.keys()
    name = event["data"]["contentSchema"]["$ref"].rpartition("/")[2]
    assert name in document["components"]["schemas"]


async def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)


async def test_server_fault_hides_text_and_logs_place(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    async with open_api(stack.configuration) as (app, client):
        _break(app)
        answer = await client.get("/broken")
        assert (answer.status_code, answer.json()["type"]) == (500, "Fault")
    faults = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(faults) == 1 and "ValueError at " in faults[0] and "in broken" in faults[0]
    assert "marker-77aa" not in answer.text + caplog.text


def _break(app: FastAPI) -> None:
    @app.get("/broken", include_in_schema=False)
    async def broken() -> None:
        raise ValueError("marker-77aa")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_api_process_stops_with_code_0(stack: Stack, admin: str, tmp_path: Path, number: signal.Signals) -> None:
    async with start_api_process(stack, tmp_path / "api.log") as api, api.client(admin) as client:
        assert (await client.get("/v1/keys/")).status_code == 200
        api.process.send_signal(number)
        assert await asyncio.wait_for(api.process.wait(), 20) == 0
        with pytest.raises(httpx2.TransportError):
            await client.get("/v1/health/")


async def test_api_taken_port_prints_one_line(stack: Stack, api: ApiProcess) -> None:
    port = api.url.rpartition(":")[2]
    process = await asyncio.create_subprocess_exec(
        *(str(COMMAND), "api", "--port", port), env=stack.environment, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.decode().count("\n") == 1 and port in errors.decode()


def test_api_settings_are_validated() -> None:
    read = Configuration.from_environment({"TERTULIA_API_PORT": "0", "TERTULIA_API_KEY": "tertulia_secret"})
    assert read.api_port == 0 and read.api_host == "127.0.0.1"
    assert read.api_key is not None and "tertulia_secret" not in repr(read)
