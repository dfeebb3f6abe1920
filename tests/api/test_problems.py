"""Error responses: the status of each code, and messages without a library's wording."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from psycopg.errors import ForeignKeyViolation, NumericValueOutOfRange, UndefinedTable
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, ProgrammingError
from temporalio.service import RPCError, RPCStatusCode

from tertulia.api.problems import STATUS_BY_CODE, error_response, register_error_handlers
from tertulia.api.schemas.groups import CreateGroup
from tertulia.core.commands import AddMember
from tertulia.core.errors import ERRORS_BY_CODE, ApiUnavailable, TertuliaError
from tertulia.core.keys import NewKey


def problem_of(error: Exception) -> tuple[int, dict[str, Any]]:
    """Return the status and the body of the response to an error."""
    response = error_response(error)
    assert response is not None
    return response.status_code, json.loads(bytes(response.body))


def test_every_error_code_has_a_status() -> None:
    assert set(STATUS_BY_CODE) == set(ERRORS_BY_CODE)


@pytest.mark.parametrize("kind", ERRORS_BY_CODE.values(), ids=list(ERRORS_BY_CODE))
def test_error_type_is_its_code(kind: type[TertuliaError]) -> None:
    status, body = problem_of(kind("name: is required"))
    assert body == {"detail": "name: is required", "type": kind.code}
    assert status == STATUS_BY_CODE[kind.code] >= 400


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("InvalidDefinition", 400),
        ("CommandRefused", 400),
        ("TooMuchWaits", 400),
        ("Forbidden", 403),
        ("NotFound", 404),
        ("Conflict", 409),
        ("ConversationClosed", 409),
        ("Unavailable", 503),
        ("PayloadUnreadable", 503),
    ],
)
def test_statuses_of_older_codes_are_kept(code: str, status: int) -> None:
    assert STATUS_BY_CODE[code] == status


def test_unavailable_server_sets_retry_after() -> None:
    response = error_response(ApiUnavailable("Temporal does not answer"))
    assert response is not None and response.headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ProgrammingError("SELECT marker", {}, UndefinedTable("marker")), 503, "Unavailable"),
        (DataError("SELECT marker", {}, NumericValueOutOfRange("marker")), 400, "InvalidDefinition"),
        (IntegrityError("INSERT marker", {}, ForeignKeyViolation("marker")), 409, "Conflict"),
        (OperationalError("SELECT marker", {}, OSError("marker")), 503, "Unavailable"),
        (RPCError("marker", RPCStatusCode.UNAVAILABLE, b""), 503, "Unavailable"),
        (TimeoutError("marker"), 503, "Unavailable"),
    ],
)
def test_library_error_text_is_not_returned(error: Exception, status: int, code: str) -> None:
    answered, body = problem_of(error)
    assert (answered, body["type"]) == (status, code)
    assert "marker" not in json.dumps(body)


def test_unexpected_error_has_no_response() -> None:
    assert error_response(KeyError("marker")) is None


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an application that reads bodies of several kinds."""
    app = FastAPI()
    register_error_handlers(app)

    @app.post("/groups")
    async def groups(body: CreateGroup, limit: int = 5) -> None: ...

    @app.post("/keys")
    async def keys(body: NewKey) -> None: ...

    @app.post("/members/add")
    async def add(body: AddMember) -> None: ...

    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://app") as connected:
        yield connected


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        ("/keys", {}, "body.name: is required"),
        ("/keys", {"name": 5}, "body.name: must be text"),
        ("/keys", {"name": "x" * 65}, "body.name: must have at most 64 characters"),
        ("/keys", {"name": "x", "scopes": []}, "body.scopes: must have at least 1 item"),
        ("/keys", {"name": "x", "scopes": ["own"]}, "body.scopes.0: must be 'read', 'post', 'operate' or 'admin'"),
        ("/keys", {"name": "x", "colour": "red"}, "body.colour: unknown field"),
        ("/keys", ["x"], "body: must be an object"),
        ("/members/add", {"agent": "Ana", "position": -1}, "body.position: must be at least 0"),
        ("/members/add", {"agent": "Ana", "stands_in_for": "Ben"}, "stands_in_for: allowed only with state 'standby'"),
        ("/groups?limit=few", {}, "query.limit: must be a whole number"),
        ("/groups", {"id": "two words"}, "body.id: must match the pattern"),
        (
            "/groups",
            {"manager_config": {"manager_type": "round_robin", "max_turns": 0}},
            "body.manager_config.max_turns: must be greater than 0",
        ),
        ("/groups", {"manager_config": {}}, "body.manager_config: needs the field 'manager_type'"),
    ],
)
async def test_malformed_request_in_plain_words(
    client: httpx2.AsyncClient, path: str, body: object, detail: str
) -> None:
    answer = await client.post(path, json=body)
    assert (answer.status_code, answer.json()["type"]) == (422, "InvalidRequest")
    assert detail in answer.json()["detail"]


async def test_unknown_path_has_its_own_type(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/nowhere")
    assert (answer.status_code, answer.json()["type"]) == (404, "RouteNotFound")
