"""A client that disconnects before the response does not stop the round that it started."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tertulia.testing import eventually, open_workflow_harness
from tests.harness.api_server import log_text, make_key, new_organisation, start_api_process

_LEFT = "POST /v1/groups/{group_id}/messages 499"


async def test_client_disconnect_does_not_stop_round(stack: Stack, model: OfflineModelControl, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with (
        open_workflow_harness(stack) as harness,
        start_api_process(stack, log, TERTULIA_TASK_QUEUE=harness.client.scope.connection.task_queue) as api,
    ):
        database = harness.client.scope.database
        key = await make_key(database, "operate", organisation=await new_organisation(database))
        async with api.client(key.secret) as client:
            agent = (await client.post("/v1/agents/", json={"system": "Be brief."})).json()
            group = (await client.post("/v1/groups/", json={"agent_ids": [agent["id"]]})).json()
            path = f"/v1/groups/{group['id']}/messages"
            await model.set_behaviour(delay_ms=10_000)
            request: dict[str, Any] = {
                "json": {"messages": [{"content": "Wait."}]},
                "headers": {"Idempotency-Key": "once"},
            }
            with pytest.raises(httpx2.ReadTimeout):
                await client.post(path, **request, timeout=1.5)

            async def logged() -> str:
                return log_text(log)

            await eventually(logged, lambda log_lines: _LEFT in log_lines, seconds=20)
            assert len((await client.get(path)).json()) == 1, "the request ended before the round"
            answer = await client.post(path, **request)
            assert answer.status_code == 200
            assert [one["message_type"] for one in answer.json()["messages"]] == ["assistant_message"]
            assert len((await client.get(path)).json()) == 2
