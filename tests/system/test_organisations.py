"""A key opens the rows of its own organisation and no other's, on every route that there is."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import fields
from typing import Any

import httpx2
import psycopg
import pytest
from sqlalchemy import Table

from tertulia.configuration import find_running_stack
from tertulia.core.keys import SCOPES
from tertulia.store.tables import metadata
from tests.system.conftest import CommandLine
from tests.system.routes import ROUTES, Things, addresses, own_address
from tests.system.sides import Side, api_of

SECRET = "marker-5e2c"
"""In everything that A has."""
EVERY = list(ROUTES)
UNOWNED = {"claims", "group_changes"}
"""Tables in which no row is anybody's in particular."""
NOBODY = Things(*[""] * len(fields(Things)))
PAGING = {"before", "after"}
OWNERS = {"conversation_id": "conversations", "group_id": "groups", "agent_id": "agents"}


@pytest.fixture(scope="module")
def open_clients() -> Iterator[ExitStack]:
    with ExitStack() as clients:
        yield clients


@pytest.fixture(scope="module")
def a(tertulia: CommandLine, open_clients: ExitStack) -> Side:
    """Whose things are none of B's business."""
    return Side(tertulia, open_clients, "a", SECRET)


@pytest.fixture(scope="module")
def b(tertulia: CommandLine, open_clients: ExitStack) -> Side:
    return Side(tertulia, open_clients, "b", "ordinary")


@pytest.fixture(scope="module")
def connection(tertulia: CommandLine) -> Iterator[psycopg.Connection[Any]]:
    running = find_running_stack(tertulia.data)
    assert running is not None and running.database_url is not None
    with psycopg.connect(running.database_url.replace("+psycopg", ""), autocommit=True) as connected:
        yield connected


@pytest.fixture
def unchanged(a: Side, b: Side, connection: psycopg.Connection[Any]) -> Iterator[None]:
    """All of A's rows are the same afterwards."""
    before = rows_of(connection, a.name)
    yield
    assert rows_of(connection, a.name) == before


def rows_of(connection: psycopg.Connection[Any], organisation: str) -> dict[str, str]:
    """A hash for each table of all the rows that are the organisation's."""
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


def test_every_route_has_its_rule(tertulia: CommandLine) -> None:
    document = httpx2.get(f"{api_of(tertulia)}/openapi.json").json()
    there = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert there == set(ROUTES), "tests/system/routes.py says what each route takes"


def test_the_rows_of_an_organisation_are_all_seen_by_this_test(a: Side, connection: psycopg.Connection[Any]) -> None:
    empty = {name for name in rows_of(connection, a.name) if not _texts(connection, metadata.tables[name], a.name)}
    assert empty <= {"selections", "membership_changes"}


@pytest.mark.parametrize(("method", "template"), EVERY)
def test_what_is_anothers_is_not_there(a: Side, b: Side, unchanged: None, method: str, template: str) -> None:
    body = ROUTES[method, template].body(b.things)
    for address in addresses(template, a.things, b.things):
        answer = b.client.request(method, address, json=body)
        assert answer.status_code == 404, (address, answer.text)
        # The id that the request itself named is made from the group's name.
        assert SECRET not in answer.text.replace(a.things.conversation_id, "")


@pytest.mark.parametrize(("method", "template"), [key for key in EVERY if ROUTES[key].naming(NOBODY, NOBODY)])
def test_what_is_anothers_cannot_be_named(a: Side, b: Side, unchanged: None, method: str, template: str) -> None:
    route = ROUTES[method, template]
    for body in route.naming(a.things, b.things):
        answer = b.client.request(method, own_address(template, b.things), json=body)
        assert answer.status_code == route.refusal, (body, answer.text)
        assert SECRET not in answer.text
    assert a.things.agent_id not in b.client.get(f"/v1/conversations/{b.things.conversation_id}/members").text


@pytest.mark.parametrize(("method", "template"), [key for key in EVERY if ROUTES[key].query])
def test_lists_neither_begin_at_what_is_anothers_nor_are_of_it(a: Side, b: Side, method: str, template: str) -> None:
    for parameter, kind in ROUTES[method, template].query.items():
        query = {parameter: getattr(a.things, kind)}
        answer = b.client.request(method, own_address(template, b.things), params=query)
        assert answer.status_code == 404 or (parameter not in PAGING and answer.json() == []), (query, answer.text)


@pytest.mark.parametrize(("path", "kind"), [("agents", "agent_id"), ("groups", "group_id")])
def test_an_id_that_another_has_taken_gives_nothing_of_it(
    a: Side, b: Side, unchanged: None, path: str, kind: str
) -> None:
    answer = b.client.post(f"/v1/{path}/", json={"id": getattr(a.things, kind)})
    assert answer.status_code == 409
    assert SECRET not in answer.text


def test_a_conversations_id_that_another_has_taken_gives_nothing_of_it(a: Side, b: Side, unchanged: None) -> None:
    taken = {"id": a.things.conversation_id, "group": b.things.group_id, "message": "Good evening."}
    answer = b.client.post("/v1/conversations/", json=taken)
    assert answer.status_code in (400, 409)
    assert SECRET not in answer.text.replace(a.things.conversation_id, "")


def test_anothers_idempotency_key_is_a_key_of_ones_own(a: Side, b: Side, unchanged: None) -> None:
    said = {"messages": [{"role": "user", "content": "Good evening."}]}
    same = {"Idempotency-Key": a.things.message_id}
    answer = b.client.post(f"/v1/groups/{b.things.group_id}/messages", json=said, headers=same)
    assert answer.status_code == 200
    assert answer.json()["conversation_id"] == b.things.conversation_id and SECRET not in answer.text


def test_a_name_that_another_has_taken_is_free(a: Side, b: Side, unchanged: None) -> None:
    made = b.client.post("/v1/groups/", json={"name": SECRET})
    assert made.status_code == 200, made.text
    assert b.client.delete(f"/v1/groups/{made.json()['id']}").status_code == 200


@pytest.mark.parametrize(("method", "template"), [key for key in EVERY if key[0] == "GET"])
def test_what_is_read_holds_nothing_of_anothers(a: Side, b: Side, unchanged: None, method: str, template: str) -> None:
    if template.endswith("/events"):
        return  # it has no end; whose it is was asked for above
    answer = b.client.get(own_address(template, b.things))
    assert answer.status_code == 200, answer.text
    assert SECRET not in answer.text
    assert not [one for name, one in vars(a.things).items() if one in answer.text]


def test_lists_and_counts_are_of_ones_own(a: Side, b: Side) -> None:
    for kind, count in (("agents", 2), ("blocks", 2), ("groups", 1)):
        assert len(b.client.get(f"/v1/{kind}/").json()) == b.client.get(f"/v1/{kind}/count").json() == count


@pytest.fixture(scope="module")
def narrower(b: Side) -> dict[str, httpx2.Client]:
    """Clients of B by the scope that theirs falls short of."""
    return {scope: b.client_with(SCOPES[rank - 1]) for rank, scope in enumerate(SCOPES) if rank}


@pytest.mark.parametrize(("method", "template"), [key for key in EVERY if ROUTES[key].scope not in (None, "read")])
def test_every_route_needs_its_scope(
    b: Side, narrower: dict[str, httpx2.Client], connection: psycopg.Connection[Any], method: str, template: str
) -> None:
    route = ROUTES[method, template]
    assert route.scope is not None
    before = {name: text for name, text in rows_of(connection, b.name).items() if name != "api_keys"}
    answer = narrower[route.scope].request(method, own_address(template, b.things), json=route.body(b.things))
    assert (answer.status_code, answer.json()["type"]) == (403, "Forbidden")
    assert repr(route.scope) in answer.json()["detail"]
    after = {name: text for name, text in rows_of(connection, b.name).items() if name != "api_keys"}
    assert after == before


@pytest.mark.parametrize(("method", "template"), [key for key in EVERY if key[0] != "GET"])
def test_what_changes_something_needs_more_than_reading(method: str, template: str) -> None:
    assert ROUTES[method, template].scope != "read"
