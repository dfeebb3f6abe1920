"""Blocks over HTTP: changes during a round reach the next prompts, and concurrent changes are not lost."""

import asyncio
from functools import partial
from operator import le
from typing import Any

import pytest

from tertulia.core.ids import DEFAULT_ORGANISATION
from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tertulia.testing import WorkflowHarness, eventually, open_workflow_harness
from tests.harness.api_server import bearer, configuration_for, make_key, open_api
from tests.harness.scripted_model_server import (
    DONE_EVENT,
    USAGE_EVENT,
    ScriptedModelServer,
    completion_chunk,
    serve_scripted_model,
)

TURNS = 40
NEWS_COUNT = 6


def news_number(request: dict[str, Any]) -> int:
    """Return the number of the news in a prompt."""
    prompt = request["messages"][0]["content"]
    assert prompt.count("news number ") == 1
    return int(prompt.partition("news number ")[2].split(".")[0])


async def start_long_round(harness: WorkflowHarness, block_id: str, client: Any) -> tuple[str, list[str]]:
    """Start a long round of three members that share the block; return the conversation's id and the model names."""
    names = await harness.agents("Ana", "Ben", "Cleo")
    ids = [(await client.get("/v1/agents/", params={"name": name})).json()[0]["id"] for name in names]
    group = await client.post(
        "/v1/groups/",
        json={
            "agent_ids": ids,
            "manager_config": {"manager_type": "round_robin", "max_turns": TURNS},
            "shared_block_ids": [block_id],
        },
    )
    assert group.status_code == 200, group.text
    conversation = await harness.client.conversations.create(group.json()["id"], "What is new?")
    return conversation.id, [f"offline-{name}" for name in names]


@pytest.mark.slow
async def test_changed_block_is_in_next_prompts(stack: Stack, model: OfflineModelControl) -> None:
    model_server = ScriptedModelServer(
        parts=(completion_chunk("words"), completion_chunk("", finish="stop"), USAGE_EVENT, DONE_EVENT)
    )
    async with (
        serve_scripted_model(model_server) as url,
        open_workflow_harness(stack, OPENAI_BASE_URL=url, OPENAI_API_KEY="key") as harness,
        open_api(configuration_for(stack)) as (_, client),
    ):
        key = await make_key(harness.client.scope.database, "operate", organisation=DEFAULT_ORGANISATION)
        client.headers.update(bearer(key.secret))
        made = await client.post("/v1/blocks/", json={"label": "news", "value": "news number 0."})
        block = f"/v1/blocks/{made.json()['id']}"
        conversation_id, models = await start_long_round(harness, made.json()["id"], client)
        written = []
        for number in range(1, NEWS_COUNT + 1):
            await eventually(requests(model_server), partial(le, 4 * number), seconds=60, interval_seconds=0.005)
            answer = await client.patch(block, json={"value": f"news number {number}."})
            assert answer.json()["version"] == number + 1
            written.append(len(model_server.requests))
        await harness.wait_until_idle(conversation_id, seconds=90)
        assert len(model_server.requests) == TURNS
        for number, asked_before in enumerate(written, start=1):
            # One prompt may have been built before the change and sent after it.
            late = model_server.requests[asked_before + 1 :]
            assert min(map(news_number, late)) >= number
            assert {request["model"] for request in late} == set(models)
        last = [news_number(request) for request in model_server.requests]
        assert last == sorted(last)
        assert set(last) == set(range(NEWS_COUNT + 1)), "turns were taken between the changes"


async def test_concurrent_appends_over_api(stack: Stack) -> None:
    async with open_api(configuration_for(stack)) as (app, client):
        key = await make_key(app.state.connection.database, "operate")
        client.headers.update(bearer(key.secret))
        made = await client.post("/v1/blocks/", json={"label": "news"})
        block = f"/v1/blocks/{made.json()['id']}"
        answers = await asyncio.gather(*(client.patch(block, json={"append": f"{one};"}) for one in range(10)))
        assert sorted(answer.json()["version"] for answer in answers) == [*range(2, 12)]
        last = (await client.get(block)).json()
        assert sorted(last["value"].split(";")) == ["", *map(str, range(10))]
        racing = [client.patch(block, json={"value": str(one)}, headers={"If-Match": '"11"'}) for one in range(5)]
        statuses = [answer.status_code for answer in await asyncio.gather(*racing)]
        assert sorted(statuses) == [200, *[409] * 4]
        assert (await client.get(block)).headers["etag"] == '"12"'


def requests(model_server: ScriptedModelServer) -> Any:
    async def count() -> int:
        return len(model_server.requests)

    return count
