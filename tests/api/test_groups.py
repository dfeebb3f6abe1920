"""Agents, blocks and groups over HTTP: refusals, concurrent changes, pages and repeated messages."""

import asyncio
import time
from collections.abc import AsyncIterator
from statistics import median
from typing import Any

import httpx2
import pytest

from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tertulia.testing import open_workflow_harness
from tests.harness.api_server import bearer, configuration_for, make_key, new_organisation, open_api


@pytest.fixture(scope="module")
async def api(stack: Stack) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with a key of an organisation of its own, and a running worker."""
    async with open_workflow_harness(stack) as harness:
        configuration = configuration_for(stack, TERTULIA_TASK_QUEUE=harness.client.scope.connection.task_queue)
        async with open_api(configuration) as (_, client):
            database = harness.client.scope.database
            made = await make_key(database, "operate", organisation=await new_organisation(database))
            client.headers.update(bearer(made.secret))
            client.timeout = httpx2.Timeout(60)
            yield client


async def agents(api: httpx2.AsyncClient, count: int) -> list[dict[str, Any]]:
    return [(await api.post("/v1/agents/", json={"system": "Be brief."})).json() for _ in range(count)]


async def group(api: httpx2.AsyncClient, *members: dict[str, Any], **fields: Any) -> dict[str, Any]:
    answer = await api.post("/v1/groups/", json={"agent_ids": [one["id"] for one in members], **fields})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_invalid_group_is_refused_with_reason(api: httpx2.AsyncClient) -> None:
    ana, ben = await agents(api, 2)
    led = {"manager_type": "dynamic", "manager_agent_id": ana["id"]}
    for fields, status, detail in (
        ({"agent_ids": [ana["id"], ana["id"]]}, 400, f"Duplicate agent ids: '{ana['id']}'"),
        ({"agent_ids": [ana["id"], "x", "y"]}, 404, "no such agent: 'x', 'y'"),
        ({"agent_ids": [ana["id"]], "manager_config": led}, 400, "is also a member"),
        ({"manager_config": {"manager_type": "supervisor"}}, 422, "manager_config"),
        ({"shared_block_ids": ["b"]}, 404, "no such block: 'b'"),
        ({"settings": {"intake": "never"}}, 422, "settings.intake"),
        ({"turns": 3}, 422, "turns: unknown field"),
    ):
        answer = await api.post("/v1/groups/", json=fields)
        assert (answer.status_code, detail in answer.json()["detail"]) == (status, True), answer.text
    made = await group(api, ben)
    for patch, status, detail in (
        ({"manager_config": led}, 400, "Cannot change group pattern after creation"),
        ({"agent_ids": [ben["id"], ben["id"]]}, 400, "Duplicate agent ids"),
        ({"agent_ids": ["x"]}, 404, "no such agent: 'x'"),
        ({"name": None}, 400, "name: cannot be null"),
    ):
        answer = await api.patch(f"/v1/groups/{made['id']}", json=patch)
        assert (answer.status_code, detail in answer.json()["detail"]) == (status, True), answer.text
    assert (await api.get(f"/v1/groups/{made['id']}")).json() == made


async def test_empty_group_refuses_messages(api: httpx2.AsyncClient) -> None:
    empty = await group(api)
    answer = await api.post(f"/v1/groups/{empty['id']}/messages", json={"messages": [{"content": "x"}]})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("Empty group")
    assert (await api.get(f"/v1/groups/{empty['id']}/messages")).json() == []


async def test_concurrent_changes_check_revision(api: httpx2.AsyncClient) -> None:
    (ana,) = await agents(api, 1)
    made = await group(api, ana)
    path, revision = f"/v1/groups/{made['id']}", {"If-Match": '"1"'}
    racing = [api.patch(path, json={"description": text}, headers=revision) for text in ("a", "b")]
    answers = await asyncio.gather(*racing)
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    won = next(answer.json() for answer in answers if answer.status_code == 200)
    assert (await api.get(path)).json() == won
    assert won["revision"] == 2
    both = await asyncio.gather(
        api.patch(path, json={"description": "c"}), api.patch(path, json={"metadata": {"a": 1}})
    )
    assert [answer.status_code for answer in both] == [200, 200]
    now = (await api.get(path)).json()
    assert (now["description"], now["metadata"], now["revision"]) == ("c", {"a": 1}, 4)
    assert (await api.patch(path, json={}, headers={"If-Match": "soon"})).status_code == 400
    agent = f"/v1/agents/{ana['id']}"
    racing = [api.patch(agent, json={"description": text}, headers=revision) for text in ("a", "b")]
    assert sorted(answer.status_code for answer in await asyncio.gather(*racing)) == [200, 409]


async def test_delete_used_agent_requires_force(api: httpx2.AsyncClient) -> None:
    ana, ben, host = await agents(api, 3)
    table = await group(api, ana, ben, name="Round table")
    led = await group(api, ben, manager_config={"manager_type": "dynamic", "manager_agent_id": host["id"]})
    for one, name in ((ana, "Round table"), (host, led["name"])):
        answer = await api.delete(f"/v1/agents/{one['id']}")
        assert (answer.status_code, name in answer.json()["detail"]) == (409, True)
        assert (await api.delete(f"/v1/agents/{one['id']}?force=true")).status_code == 200
        assert (await api.get(f"/v1/agents/{one['id']}")).status_code == 404
    assert (await api.get(f"/v1/groups/{table['id']}")).json()["agent_ids"] == [ben["id"]]
    now = (await api.get(f"/v1/groups/{led['id']}")).json()
    assert (now["manager_agent_id"], now["manager_type"]) == (None, "dynamic")
    answer = await api.post(f"/v1/groups/{led['id']}/messages", json={"messages": [{"content": "Who leads?"}]})
    assert answer.json()["messages"], "without a manager, the fallback rule chooses"


async def test_groups_page_and_share_blocks(api: httpx2.AsyncClient) -> None:
    made = [await group(api, metadata={"page": number}) for number in range(3)]
    page = (await api.get("/v1/groups/", params={"after": made[0]["id"], "limit": 1})).json()
    assert page == [made[1]]
    newest = (await api.get("/v1/groups", params={"order": "desc", "limit": 2})).json()
    assert newest == [made[2], made[1]]
    unknown = await api.get("/v1/groups/", params={"before": "nothing"})
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "before: no such group: 'nothing'")
    assert (await api.get("/v1/groups/", params={"limit": 201})).status_code == 422
    assert (await api.get("/v1/groups/", params={"colour": "red"})).status_code == 422
    block = (await api.post("/v1/blocks/", json={"label": "facts"})).json()
    attach, detach = (f"/v1/groups/{made[0]['id']}/blocks/{verb}/{block['id']}" for verb in ("attach", "detach"))
    for _ in range(2):
        assert (await api.patch(attach)).json()["shared_block_ids"] == [block["id"]]
    assert (await api.patch(detach)).json()["shared_block_ids"] == []
    assert (await api.patch(detach)).status_code == 404


async def test_idempotency_key_repeats_first_answer(api: httpx2.AsyncClient) -> None:
    table = await group(api, *await agents(api, 2))
    path = f"/v1/groups/{table['id']}/messages"
    request: dict[str, Any] = {"json": {"messages": [{"content": "Once?"}]}, "headers": {"Idempotency-Key": "k-1"}}
    first, again = await asyncio.gather(api.post(path, **request), api.post(path, **request))
    assert first.status_code == 200, first.text
    assert first.json() == again.json() == (await api.post(path, **request)).json()
    messages = (await api.get(path)).json()
    assert [one["message_type"] for one in messages] == ["user_message", "assistant_message", "assistant_message"]
    assert first.json()["messages"] == messages[1:]
    assert first.json()["stop_reason"]["stop_reason"] == "end_turn"


async def test_background_message_returns_at_once(api: httpx2.AsyncClient, model: OfflineModelControl) -> None:
    table = await group(api, *await agents(api, 1))
    path = f"/v1/groups/{table['id']}/messages"
    await model.set_behaviour(delay_ms=1_500)
    answer = await api.post(path, json={"messages": [{"content": "Later?"}], "background": True})
    assert answer.status_code == 202
    assert len(answer.json()["message_ids"]) == 1
    await model.reset()
    second = await api.post(path, json={"messages": [{"content": "And now?"}]})
    assert second.json()["conversation_id"] == answer.json()["conversation_id"]
    posted = [one["content"] for one in (await api.get(path)).json() if one["message_type"] == "user_message"]
    assert posted == ["Later?", "And now?"]
    assert (await api.patch(f"/v1/groups/{table['id']}/reset-messages")).status_code == 204
    third = await api.post(path, json={"messages": [{"content": "Anew."}]})
    assert third.json()["conversation_id"] != answer.json()["conversation_id"]
    assert [one["seq_id"] for one in (await api.get(path)).json()] == [1, 2]


async def test_create_agent_takes_under_50_ms(api: httpx2.AsyncClient) -> None:
    body = {"system": "x" * 2_000, "memory_blocks": [{"label": "human", "value": "y" * 500}, {"label": "persona"}]}
    taken: list[float] = []
    # Other tests use the same cores: repeat until one request was not disturbed.
    while len(taken) < 20 or (min(taken) >= 0.05 and len(taken) < 500):
        began = time.perf_counter()
        answer = await api.post("/v1/agents/", json=body)
        taken.append(time.perf_counter() - began)
        assert answer.status_code == 200
    print(f"an agent with two blocks: {min(taken) * 1000:.1f} ms at best, {median(taken) * 1000:.1f} in the middle")
    assert min(taken) < 0.05
