"""A shared block that somebody changes while agents talk is in the next turn's prompt of every member."""

import asyncio
from functools import partial
from operator import le
from typing import Any

import pytest

from tertulia.core.ids import DEFAULT_ORGANISATION
from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tests.activities.endpoint import DONE, USAGE, Endpoint, chunk, listening
from tests.eventually import eventually
from tests.system.api import api_here, bearer, configuration_of, make_key
from tests.workflows.salon import Salon, open_salon

TURNS = 40
NEWS = 6


def told(request: dict[str, Any]) -> int:
    """The number of the news that a prompt holds."""
    prompt = request["messages"][0]["content"]
    assert prompt.count("news number ") == 1
    return int(prompt.partition("news number ")[2].split(".")[0])


async def talking(salon: Salon, block_id: str, client: Any) -> tuple[str, list[str]]:
    """A group of three that share the block, at the beginning of a long round."""
    names = await salon.agents("Ana", "Ben", "Cleo")
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
    conversation = await salon.client.conversations.create(group.json()["id"], "What is new?")
    return conversation.id, [f"offline-{name}" for name in names]


@pytest.mark.slow
async def test_a_shared_block_changed_while_three_talk_is_in_the_next_prompt_of_each(
    stack: Stack, model: OfflineModelControl
) -> None:
    endpoint = Endpoint(parts=(chunk("words"), chunk("", finish="stop"), USAGE, DONE))
    async with (
        listening(endpoint) as url,
        open_salon(stack, model, OPENAI_BASE_URL=url, OPENAI_API_KEY="key") as salon,
        api_here(configuration_of(stack)) as (_, client),
    ):
        key = await make_key(salon.client.scope.database, "operate", organisation=DEFAULT_ORGANISATION)
        client.headers.update(bearer(key.secret))
        made = await client.post("/v1/blocks/", json={"label": "news", "value": "news number 0."})
        block = f"/v1/blocks/{made.json()['id']}"
        conversation_id, models = await talking(salon, made.json()["id"], client)
        written = []
        for number in range(1, NEWS + 1):
            await eventually(asked(endpoint), partial(le, 4 * number), seconds=60, every=0.005)
            answer = await client.patch(block, json={"value": f"news number {number}."})
            assert answer.json()["version"] == number + 1
            written.append(len(endpoint.asked))
        await salon.until_idle(conversation_id, seconds=90)
        assert len(endpoint.asked) == TURNS
        for number, asked_before in enumerate(written, start=1):
            # One prompt may have been read before the change, and be under way while it was answered.
            late = endpoint.asked[asked_before + 1 :]
            assert min(map(told, late)) >= number
            assert {request["model"] for request in late} == set(models)
        last = [told(request) for request in endpoint.asked]
        assert last == sorted(last)
        assert set(last) == set(range(NEWS + 1)), "the talk went on between the changes"


async def test_ten_writers_at_once_make_ten_versions_through_the_api(stack: Stack) -> None:
    async with api_here(configuration_of(stack)) as (app, client):
        key = await make_key(app.state.tertulia.database, "operate")
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


def asked(endpoint: Endpoint) -> Any:
    async def count() -> int:
        return len(endpoint.asked)

    return count
