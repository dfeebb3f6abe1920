"""Tenant isolation on every route: a key gives access to the rows of its own organisation only."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import fields
from typing import Any

import httpx2
import psycopg
import pytest
from sqlalchemy import Table

from tertulia.core.keys import SCOPES
from tertulia.running_stack import find_running_stack
from tertulia.store.tables import metadata
from tests.api.route_cases import ROUTES, TenantResources, foreign_paths, own_path
from tests.api.tenant import Tenant, api_url
from tests.harness.command_line import CommandLine

TENANT_A_MARKER = "marker-5e2c"
"""Text in everything of organisation A."""
ALL_ROUTES = list(ROUTES)
UNOWNED = {"claims", "group_changes"}
"""Tables whose rows belong to no organisation."""
NOBODY = TenantResources(*[""] * len(fields(TenantResources)))
PAGING = {"before", "after"}
OWNERS = {"conversation_id": "conversations", "group_id": "groups", "agent_id": "agents"}


@pytest.fixture(scope="module")
def open_clients() -> Iterator[ExitStack]:
    with ExitStack() as clients:
        yield clients


@pytest.fixture(scope="module")
def tenant_a(tertulia: CommandLine, open_clients: ExitStack) -> Tenant:
    """An organisation whose resources B must not see."""
    return Tenant(tertulia, open_clients, "a", TENANT_A_MARKER)


@pytest.fixture(scope="module")
def tenant_b(tertulia: CommandLine, open_clients: ExitStack) -> Tenant:
    return Tenant(tertulia, open_clients, "b", "ordinary")


@pytest.fixture(scope="module")
def connection(tertulia: CommandLine) -> Iterator[psycopg.Connection[Any]]:
    running = find_running_stack(tertulia.data)
    assert running is not None and running.database_url is not None
    with psycopg.connect(running.database_url.replace("+psycopg", ""), autocommit=True) as connected:
        yield connected


@pytest.fixture
def unchanged(tenant_a: Tenant, tenant_b: Tenant, connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Check after the test that every row of A is unchanged."""
    before = rows_of(connection, tenant_a.name)
    yield
    assert rows_of(connection, tenant_a.name) == before


def rows_of(connection: psycopg.Connection[Any], organisation: str) -> dict[str, str]:
    """Return a hash of the organisation's rows for each table."""
    return {
        table.name: hashlib.sha256(repr(sorted(_texts(connection, table, organisation))).encode()).hexdigest()
        for table in metadata.sorted_tables
        if table.name not in UNOWNED
    }


def _texts(connection: psycopg.Connection[Any], table: Table, organisation: str) -> list[str]:
    if table.name == "organisations":
        condition = "id = %s"
    elif "organisation_id" in table.c:
        condition = "organisation_id = %s"
    else:
        column = next(name for name in OWNERS if name in table.c)
        condition = f"{column} IN (SELECT id FROM {OWNERS[column]} WHERE organisation_id = %s)"
    query = f"SELECT t::text FROM {table.name} AS t WHERE {condition}"
    return [text for (text,) in connection.execute(query.encode(), (organisation,))]


def test_every_route_has_a_case(tertulia: CommandLine) -> None:
    document = httpx2.get(f"{api_url(tertulia)}/openapi.json").json()
    there = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert there == set(ROUTES), "add the route to tests/api/route_cases.py"


def test_tenant_rows_cover_every_table(tenant_a: Tenant, connection: psycopg.Connection[Any]) -> None:
    empty = {
        name
        for name in rows_of(connection, tenant_a.name)
        if not _texts(connection, metadata.tables[name], tenant_a.name)
    }
    assert empty <= {"selections", "membership_changes"}


@pytest.mark.parametrize(("method", "template"), ALL_ROUTES)
def test_foreign_ids_in_path_are_not_found(
    tenant_a: Tenant, tenant_b: Tenant, unchanged: None, method: str, template: str
) -> None:
    body = ROUTES[method, template].body(tenant_b.resources)
    for address in foreign_paths(template, tenant_a.resources, tenant_b.resources):
        answer = tenant_b.client.request(method, address, json=body)
        assert answer.status_code == 404, (address, answer.text)
        # The id in the request contains the marker: it is generated from the group's name.
        assert TENANT_A_MARKER not in answer.text.replace(tenant_a.resources.conversation_id, "")


@pytest.mark.parametrize(
    ("method", "template"), [key for key in ALL_ROUTES if ROUTES[key].foreign_bodies(NOBODY, NOBODY)]
)
def test_foreign_ids_in_body_are_refused(
    tenant_a: Tenant, tenant_b: Tenant, unchanged: None, method: str, template: str
) -> None:
    route = ROUTES[method, template]
    for body in route.foreign_bodies(tenant_a.resources, tenant_b.resources):
        answer = tenant_b.client.request(method, own_path(template, tenant_b.resources), json=body)
        assert answer.status_code == route.refusal_status, (body, answer.text)
        assert TENANT_A_MARKER not in answer.text
    assert (
        tenant_a.resources.agent_id
        not in tenant_b.client.get(f"/v1/conversations/{tenant_b.resources.conversation_id}/members").text
    )


@pytest.mark.parametrize(("method", "template"), [key for key in ALL_ROUTES if ROUTES[key].query])
def test_foreign_ids_in_query_are_not_found(tenant_a: Tenant, tenant_b: Tenant, method: str, template: str) -> None:
    for parameter, kind in ROUTES[method, template].query.items():
        query = {parameter: getattr(tenant_a.resources, kind)}
        answer = tenant_b.client.request(method, own_path(template, tenant_b.resources), params=query)
        assert answer.status_code == 404 or (parameter not in PAGING and answer.json() in ([], 0)), (query, answer.text)


@pytest.mark.parametrize(("path", "kind"), [("agents", "agent_id"), ("groups", "group_id")])
def test_taken_id_reveals_nothing(tenant_a: Tenant, tenant_b: Tenant, unchanged: None, path: str, kind: str) -> None:
    answer = tenant_b.client.post(f"/v1/{path}/", json={"id": getattr(tenant_a.resources, kind)})
    assert answer.status_code == 409
    assert TENANT_A_MARKER not in answer.text


def test_taken_conversation_id_reveals_nothing(tenant_a: Tenant, tenant_b: Tenant, unchanged: None) -> None:
    taken = {"id": tenant_a.resources.conversation_id, "group": tenant_b.resources.group_id, "message": "Good evening."}
    answer = tenant_b.client.post("/v1/conversations/", json=taken)
    assert answer.status_code in (400, 409)
    assert TENANT_A_MARKER not in answer.text.replace(tenant_a.resources.conversation_id, "")


def test_idempotency_keys_are_per_tenant(tenant_a: Tenant, tenant_b: Tenant, unchanged: None) -> None:
    body = {"messages": [{"role": "user", "content": "Good evening."}]}
    same = {"Idempotency-Key": tenant_a.resources.message_id}
    answer = tenant_b.client.post(f"/v1/groups/{tenant_b.resources.group_id}/messages", json=body, headers=same)
    assert answer.status_code == 200
    assert answer.json()["conversation_id"] == tenant_b.resources.conversation_id and TENANT_A_MARKER not in answer.text


def test_names_are_per_tenant(tenant_a: Tenant, tenant_b: Tenant, unchanged: None) -> None:
    made = tenant_b.client.post("/v1/groups/", json={"name": TENANT_A_MARKER})
    assert made.status_code == 200, made.text
    assert tenant_b.client.delete(f"/v1/groups/{made.json()['id']}").status_code == 200


@pytest.mark.parametrize(("method", "template"), [key for key in ALL_ROUTES if key[0] == "GET"])
def test_reads_contain_nothing_foreign(
    tenant_a: Tenant, tenant_b: Tenant, unchanged: None, method: str, template: str
) -> None:
    if template.endswith("/events"):
        return  # the stream has no end; test_foreign_ids_in_path_are_not_found covers it
    answer = tenant_b.client.get(own_path(template, tenant_b.resources))
    assert answer.status_code == 200, answer.text
    assert TENANT_A_MARKER not in answer.text
    assert not [one for name, one in vars(tenant_a.resources).items() if one in answer.text]


def test_lists_and_counts_are_per_tenant(tenant_a: Tenant, tenant_b: Tenant) -> None:
    for kind, count in (("agents", 2), ("blocks", 2), ("groups", 1)):
        assert (
            len(tenant_b.client.get(f"/v1/{kind}/").json()) == tenant_b.client.get(f"/v1/{kind}/count").json() == count
        )


@pytest.fixture(scope="module")
def clients_without_scope(tenant_b: Tenant) -> dict[str, httpx2.Client]:
    """Clients of B by the scope that their key lacks."""
    return {scope: tenant_b.client_with(SCOPES[rank - 1]) for rank, scope in enumerate(SCOPES) if rank}


@pytest.mark.parametrize(("method", "template"), [key for key in ALL_ROUTES if ROUTES[key].scope not in (None, "read")])
def test_every_route_requires_its_scope(
    tenant_b: Tenant,
    clients_without_scope: dict[str, httpx2.Client],
    connection: psycopg.Connection[Any],
    method: str,
    template: str,
) -> None:
    route = ROUTES[method, template]
    assert route.scope is not None
    before = {name: text for name, text in rows_of(connection, tenant_b.name).items() if name != "api_keys"}
    answer = clients_without_scope[route.scope].request(
        method, own_path(template, tenant_b.resources), json=route.body(tenant_b.resources)
    )
    assert (answer.status_code, answer.json()["type"]) == (403, "Forbidden")
    assert repr(route.scope) in answer.json()["detail"]
    after = {name: text for name, text in rows_of(connection, tenant_b.name).items() if name != "api_keys"}
    assert after == before


@pytest.mark.parametrize(("method", "template"), [key for key in ALL_ROUTES if key[0] != "GET"])
def test_changing_routes_need_more_than_read(method: str, template: str) -> None:
    assert ROUTES[method, template].scope != "read"
