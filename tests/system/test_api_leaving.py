"""A client that leaves before its answer is there ends the waiting, and not what it has set off."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tests.eventually import eventually
from tests.system.api import api_process, make_key, new_organisation, words_of
from tests.workflows.salon import open_salon

_LEFT = "POST /v1/groups/{group_id}/messages 499"


async def test_who_leaves_ends_the_waiting_and_not_the_round(
    stack: Stack, model: OfflineModelControl, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    async with (
        open_salon(stack, model) as salon,
        api_process(stack, log, TERTULIA_TASK_QUEUE=salon.client.scope.connection.task_queue) as api,
    ):
        database = salon.client.scope.database
        key = await make_key(database, "operate", organisation=await new_organisation(database))
        async with api.client(key.secret) as client:
            agent = (await client.post("/v1/agents/", json={"system": "Be brief."})).json()
            group = (await client.post("/v1/groups/", json={"agent_ids": [agent["id"]]})).json()
            path = f"/v1/groups/{group['id']}/messages"
            await model.behave(delay_ms=10_000)
            said: dict[str, Any] = {
                "json": {"messages": [{"content": "Wait."}]},
                "headers": {"Idempotency-Key": "once"},
            }
            with pytest.raises(httpx2.ReadTimeout):
                await client.post(path, **said, timeout=1.5)

            async def logged() -> str:
                return words_of(log)

            await eventually(logged, lambda words: _LEFT in words, seconds=20)
            assert len((await client.get(path)).json()) == 1, "the wait ended before the round did"
            answer = await client.post(path, **said)
            assert answer.status_code == 200
            assert [one["message_type"] for one in answer.json()["messages"]] == ["assistant_message"]
            assert len((await client.get(path)).json()) == 2
