"""An organisation with something of everything, made over the API."""

from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import httpx2

from tertulia.running_stack import find_running_stack
from tests.api.route_cases import TenantResources
from tests.harness.api_server import bearer
from tests.harness.command_line import CommandLine


def api_url(tertulia: CommandLine) -> str:
    """The address of the session's stack."""
    running = find_running_stack(tertulia.data)
    assert running is not None and running.api_url is not None
    return running.api_url


class Tenant:
    """An organisation, what it has, and a client with its key."""

    def __init__(self, tertulia: CommandLine, open_clients: ExitStack, name: str, words: str) -> None:
        self.name = f"{name}-{uuid4().hex[:8]}"
        tertulia("organisations", "create", self.name)
        self._tertulia = tertulia
        self._open_clients = open_clients
        self.client = self.client_with("admin")
        self.resources = self._create_resources(words)

    def client_with(self, scope: str) -> httpx2.Client:
        arguments = ("keys", "create", f"{self.name} {scope}", "--organisation", self.name, "--scope", scope)
        secret = self._tertulia(*arguments).stdout.strip()
        client = httpx2.Client(base_url=api_url(self._tertulia), headers=bearer(secret), timeout=60)
        return self._open_clients.enter_context(client)

    def _create_resources(self, words: str) -> TenantResources:
        block = self._create("/v1/blocks/", label=self.name, value=words, description=words)
        shared = self._create("/v1/blocks/", label="shared", value=words)
        agents = [
            self._create("/v1/agents/", name=f"{words} {number}", system=words, block_ids=[block["id"]], tags=[words])
            for number in (1, 2)
        ]
        ids = [agent["id"] for agent in agents]
        group = self._create(
            "/v1/groups/", name=words, description=words, agent_ids=ids, shared_block_ids=[shared["id"]]
        )
        key = self._create("/v1/keys/", name=words, scopes=["read"])
        said = self._create(f"/v1/groups/{group['id']}/messages", messages=[{"role": "user", "content": words}])
        return TenantResources(
            agent_id=ids[0],
            block_id=block["id"],
            block_label=self.name,
            group_id=group["id"],
            conversation_id=said["conversation_id"],
            message_id=said["message_ids"][0],
            key_id=key["id"],
        )

    def _create(self, path: str, **body: Any) -> Any:
        answer = self.client.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()
