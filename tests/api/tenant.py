"""An organisation with one resource of each kind, created over the API."""

from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import httpx2

from tertulia.running_stack import find_running_stack
from tests.api.route_cases import TenantResources
from tests.harness.api_server import bearer
from tests.harness.command_line import CommandLine


def api_url(tertulia: CommandLine) -> str:
    """Return the API address of the running stack."""
    running = find_running_stack(tertulia.data)
    assert running is not None and running.api_url is not None
    return running.api_url


class Tenant:
    """An organisation, the ids of its resources, and a client with an admin key.

    Args:
        tertulia: the command line, which creates the organisation and its keys.
        open_clients: closes the clients.
        name: start of the organisation's id.
        text: text in every name, description, value and message of the organisation.
    """

    def __init__(self, tertulia: CommandLine, open_clients: ExitStack, name: str, text: str) -> None:
        self.name = f"{name}-{uuid4().hex[:8]}"
        tertulia("organisations", "create", self.name)
        self._tertulia = tertulia
        self._open_clients = open_clients
        self.client = self.client_with("admin")
        self.resources = self._create_resources(text)

    def client_with(self, scope: str) -> httpx2.Client:
        arguments = ("keys", "create", f"{self.name} {scope}", "--organisation", self.name, "--scope", scope)
        secret = self._tertulia(*arguments).stdout.strip()
        client = httpx2.Client(base_url=api_url(self._tertulia), headers=bearer(secret), timeout=60)
        return self._open_clients.enter_context(client)

    def _create_resources(self, text: str) -> TenantResources:
        block = self._create("/v1/blocks/", label=self.name, value=text, description=text)
        shared = self._create("/v1/blocks/", label="shared", value=text)
        agents = [
            self._create("/v1/agents/", name=f"{text} {number}", system=text, block_ids=[block["id"]], tags=[text])
            for number in (1, 2)
        ]
        ids = [agent["id"] for agent in agents]
        group = self._create("/v1/groups/", name=text, description=text, agent_ids=ids, shared_block_ids=[shared["id"]])
        key = self._create("/v1/keys/", name=text, scopes=["read"])
        answer = self._create(f"/v1/groups/{group['id']}/messages", messages=[{"role": "user", "content": text}])
        return TenantResources(
            agent_id=ids[0],
            block_id=block["id"],
            block_label=self.name,
            group_id=group["id"],
            conversation_id=answer["conversation_id"],
            message_id=answer["message_ids"][0],
            key_id=key["id"],
        )

    def _create(self, path: str, **body: Any) -> Any:
        answer = self.client.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()
