"""Conversations over HTTP: filters, counts, the event cursor and deletion.

`test_tenant_isolation` covers missing scopes and the ids of other organisations on every route.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from temporalio.service import RPCError, RPCStatusCode

from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tertulia.store.database import Database
from tertulia.store.tables import metadata
from tertulia.testing import WorkflowHarness, eventually, open_workflow_harness
from tests.harness.api_server import bearer, configuration_for, make_key, new_organisation, open_api
from tests.harness.stream_reader import read_stream

PATH = "/v1/conversations/"


@dataclass(frozen=True)
class Api:
    """A client of the API with a key of an organisation of its own, and the harness of its worker."""

    client: httpx2.AsyncClient
    harness: WorkflowHarness

    async def post(self, path: str, **body: Any) -> Any:
        """Send a request that must succeed; return the response's body."""
        answer = await self.client.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def agents(self, *names: str) -> list[str]:
        """Create agents with these names; return their ids."""
        return [(await self.post("/v1/agents/", name=name, system="Be brief."))["id"] for name in names]

    async def start(self, group_id: str, message: str = "Shall we?", **fields: Any) -> dict[str, Any]:
        """Start a conversation and return it after its first round."""
        started = await self.post(PATH, group=group_id, message=message, **fields)
        return await self.wait_for(started["id"], lambda row: row["stop_reason"] is not None)

    async def wait_for(self, conversation_id: str, condition: Any) -> dict[str, Any]:
        """Return the conversation once `condition` holds for it."""

        async def read() -> dict[str, Any]:
            row: dict[str, Any] = (await self.client.get(f"{PATH}{conversation_id}")).json()
            return row

        return await eventually(read, condition)

    async def close(self, conversation_id: str) -> None:
        """Stop a conversation and wait until it is closed."""
        await self.post(f"{PATH}{conversation_id}/stop")
        await self.wait_for(conversation_id, lambda row: row["phase"] == "closed" and row["closed_at"])

    async def problem(self, method: str, path: str, **options: Any) -> tuple[int, str]:
        """Return the status and the type of a request that must fail."""
        answer = await self.client.request(method, path, **options)
        return answer.status_code, answer.json()["type"]


@pytest.fixture
async def api(stack: Stack, model: OfflineModelControl) -> AsyncIterator[Api]:
    async with open_workflow_harness(stack) as harness:
        configuration = configuration_for(stack, TERTULIA_TASK_QUEUE=harness.client.scope.connection.task_queue)
        async with open_api(configuration) as (_, client):
            database = harness.client.scope.database
            key = await make_key(database, "operate", organisation=await new_organisation(database))
            client.headers.update(bearer(key.secret))
            client.timeout = httpx2.Timeout(60)
            yield Api(client, harness)


async def test_filters_of_list_and_count_agree(api: Api) -> None:
    before = datetime.now(UTC)
    ana, ben = await api.agents("Ana", "Ben")
    table = (await api.post("/v1/groups/", name="Table", agent_ids=[ana, ben]))["id"]
    solo = (await api.post("/v1/groups/", name="Solo", agent_ids=[ana]))["id"]
    first = await api.start(table)
    second = await api.start(solo)
    third = await api.start(table, close_after_round=True)
    await api.wait_for(third["id"], lambda row: row["phase"] == "closed")
    one, two, three = first["id"], second["id"], third["id"]
    middle = second["created_at"]
    later = (datetime.fromisoformat(middle) + timedelta(days=1)).isoformat()
    cases: list[tuple[dict[str, str], list[str]]] = [
        ({}, [one, two, three]),
        ({"group_id": table}, [one, three]),
        ({"group_id": "solo"}, [two]),
        ({"group_id": "nobody"}, []),
        ({"phase": "ready"}, [one, two]),
        ({"phase": "closed"}, [three]),
        ({"phase": "paused"}, []),
        ({"member": ben}, [one, three]),
        ({"member": "BEN"}, [one, three]),
        ({"member": "Ben", "phase": "ready"}, [one]),
        ({"id_prefix": two}, [two]),
        ({"id_prefix": "%"}, []),
        ({"created_after": middle}, [two, three]),
        ({"created_before": middle}, [one]),
        ({"created_after": before.isoformat(), "created_before": later}, [one, two, three]),
        ({"created_after": later}, []),
    ]
    for query, ids in cases:
        listed = (await api.client.get(PATH, params=query)).json()
        assert [row["id"] for row in listed] == ids, query
        assert (await api.client.get(f"{PATH}count", params=query)).json() == len(ids), query


async def test_invalid_filters_are_refused(api: Api) -> None:
    for query in (
        {"phase": "asleep"},
        {"created_after": "2026-01-01T00:00:00"},
        {"created_before": "yesterday"},
        {"group_id": "x" * 129},
        {"colour": "red"},
    ):
        for path in (PATH, f"{PATH}count"):
            assert await api.problem("GET", path, params=query) == (422, "InvalidRequest"), (path, query)
    for query in ({"limit": "0"}, {"limit": "201"}, {"order": "up"}):
        assert await api.problem("GET", PATH, params=query) == (422, "InvalidRequest"), query
    assert await api.problem("GET", f"{PATH}count", params={"limit": "5"}) == (422, "InvalidRequest")
    for cursor in ("before", "after"):
        assert await api.problem("GET", PATH, params={cursor: "nothing"}) == (404, "NotFound")


async def test_conversations_are_listed_in_pages(api: Api) -> None:
    (ana,) = await api.agents("Ana")
    group = (await api.post("/v1/groups/", agent_ids=[ana]))["id"]
    ids = [(await api.start(group))["id"] for _ in range(3)]
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({"limit": 2}, ids[:2]),
        ({"limit": 2, "after": ids[1]}, ids[2:]),
        ({"before": ids[1]}, ids[:1]),
        ({"order": "desc", "limit": 2}, ids[:0:-1]),
        ({"order": "desc", "after": ids[1]}, ids[:1]),
    ]
    for query, expected in cases:
        assert [row["id"] for row in (await api.client.get(PATH, params=query)).json()] == expected, query


async def test_taken_conversation_id_is_refused(api: Api) -> None:
    (ana,) = await api.agents("Ana")
    group = (await api.post("/v1/groups/", agent_ids=[ana]))["id"]
    started = await api.start(group)
    body = {"id": started["id"], "group": group, "message": "Again?"}
    assert await api.problem("POST", PATH, json=body) == (400, "IdTaken")
    assert (await api.client.get(f"{PATH}count")).json() == 1


async def test_event_cursor_precedes_last_messages(api: Api) -> None:
    ids = await api.agents("Ana", "Ben")
    group = (await api.post("/v1/groups/", agent_ids=ids))["id"]
    conversation = (await api.start(group))["id"]
    await api.close(conversation)
    events = [event async for event in read_stream(api.client, conversation)]
    messages = [event for event in events if event.kind == "message"]
    assert len(messages) == 3
    for last in (0, 1, 2, 3, 50, None):
        query = {} if last is None else {"last": last}
        after = (await api.client.get(f"{PATH}{conversation}/events/cursor", params=query)).json()["after"]
        assert (await api.client.get(f"{PATH}{conversation}/beginning", params=query)).json() == {"after": after}
        follow = [event for event in messages if (event.id or 0) > after]
        assert follow == (messages if last is None else messages[max(3 - last, 0) :]), last
    cursor = f"{PATH}{conversation}/events/cursor"
    assert await api.problem("GET", cursor, params={"last": -1}) == (422, "InvalidRequest")
    assert await api.problem("GET", f"{PATH}nobody/events/cursor") == (404, "NotFound")


async def test_delete_open_conversation_conflicts(api: Api) -> None:
    (ana,) = await api.agents("Ana")
    group = (await api.post("/v1/groups/", agent_ids=[ana]))["id"]
    conversation = await api.start(group)
    path = f"{PATH}{conversation['id']}"
    assert await api.problem("DELETE", path) == (409, "Conflict")
    await api.post(f"{path}/pause")
    assert await api.problem("DELETE", path) == (409, "Conflict")
    await api.post(f"{path}/resume")
    await api.post(f"{path}/messages", text="Still open?")
    row = await api.wait_for(conversation["id"], lambda row: row["turns"] == 2)
    assert row["closed_at"] is None


async def rows_with(database: Database, word: str) -> dict[str, int]:
    """Return the number of rows that contain a word, for each table that has such rows."""
    counts = {}
    for table in metadata.sorted_tables:
        query = text(f"SELECT count(*) FROM {table.name} AS t WHERE position(:word in t::text) > 0")
        row = await database.row(query, {"word": word})
        counts[table.name] = row[0] if row else 0
    return {name: count for name, count in counts.items() if count}


async def test_delete_closed_conversation_rows(api: Api) -> None:
    ana, ben, host, cleo = await api.agents("Ana", "Ben", "Host", "Cleo")
    manager = {"manager_type": "dynamic", "manager_agent_id": host, "max_turns": 2}
    group = (await api.post("/v1/groups/", agent_ids=[ana, ben], manager_config=manager))["id"]
    path = f"/v1/groups/{group}/messages"
    conversation = (await api.post(path, messages=[{"content": "Shall we?"}]))["conversation_id"]
    await api.post(f"{PATH}{conversation}/members/add", agent=cleo)
    await api.post(path, messages=[{"content": "And you, Cleo?"}])
    fork = await api.post(f"{PATH}{conversation}/fork")
    await api.close(conversation)
    database = api.harness.client.scope.database
    recorded = {"conversations", "groups", "messages", "turns", "rounds", "events", "members", "membership_changes"}
    assert set(await rows_with(database, conversation)) >= recorded

    deleted = await api.client.delete(f"{PATH}{conversation}")
    assert (deleted.status_code, deleted.json()) == (200, {"message": f"conversation {conversation!r} deleted"})
    assert await rows_with(database, conversation) == {}
    for method, end in (("GET", ""), ("DELETE", ""), ("GET", "/status"), ("GET", "/messages"), ("GET", "/events")):
        assert await api.problem(method, f"{PATH}{conversation}{end}") == (404, "NotFound"), (method, end)
    assert await api.problem("POST", f"{PATH}{conversation}/messages", json={"text": "Hello?"}) == (404, "NotFound")

    kept = (await api.client.get(f"{PATH}{fork['id']}/messages")).json()
    assert [message["text"] for message in kept if message["role"] == "user"] == ["Shall we?", "And you, Cleo?"]
    again = await api.post(path, messages=[{"content": "From the start?"}])
    assert again["conversation_id"] != conversation


@pytest.mark.slow
async def test_delete_conversation_history(api: Api) -> None:
    (ana,) = await api.agents("Ana")
    group = (await api.post("/v1/groups/", agent_ids=[ana]))["id"]
    conversation = (await api.start(group))["id"]
    await api.close(conversation)
    handle = api.harness.client.scope.temporal.get_workflow_handle(conversation)
    assert (await handle.describe()).id == conversation
    assert (await api.client.delete(f"{PATH}{conversation}")).status_code == 200

    async def is_in_temporal() -> bool:
        try:
            await handle.describe()
        except RPCError as error:
            assert error.status is RPCStatusCode.NOT_FOUND
            return False
        return True

    # Temporal deletes in the background, half a minute after a recent close.
    await eventually(is_in_temporal, lambda found: not found, seconds=100, interval_seconds=0.5)
