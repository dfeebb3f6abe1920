"""A running stack whose programs can be killed, and groups of three with idle and active conversations."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2
from sqlalchemy import func, select

from chaos.killable_stack import KillableStack, wait_until
from tertulia.core.ids import ConversationId
from tertulia.store.tables import conversations
from tertulia.testing import DirectClient, eventually

LONG_ROUND = 24
"""Turns of a round that still runs when the workers are back."""
TIMEOUT_SECONDS = 150


@dataclass(frozen=True)
class GroupChangeStack:
    """The running stack, and a client of its API."""

    killable: KillableStack
    api: httpx2.AsyncClient

    @property
    def client(self) -> DirectClient:
        return self.killable.client

    async def kill_workers_and_api(self) -> None:
        """Send SIGKILL to the workers and the API."""
        await asyncio.gather(self.killable.kill_workers(), self.killable.kill("api"))

    async def request_until_answered(self, method: str, path: str, **request: Any) -> httpx2.Response:
        """Send the request until an API answers."""

        async def ask() -> httpx2.Response | None:
            try:
                return await self.api.request(method, path, **request)
            except httpx2.TransportError:
                return None

        answer = await eventually(ask, lambda answer: answer is not None, seconds=TIMEOUT_SECONDS, interval_seconds=0.1)
        assert answer is not None
        return answer

    async def create(self, path: str, **body: Any) -> dict[str, Any]:
        """Create a resource over the API; return it."""
        answer = await self.api.post(path, json=body)
        assert answer.status_code == 200, answer.text
        fields: dict[str, Any] = answer.json()
        return fields

    async def agents(self, *names: str) -> list[str]:
        """Create agents whose names start with these; return their ids."""
        mark = uuid4().hex[:8]
        return [(await self.create("/v1/agents/", name=f"{name} {mark}"))["id"] for name in names]

    async def count(self, query: Any) -> int:
        """Return the one number of a query."""
        ((number,),) = await self.client.scope.database.rows(query)
        return int(number)


@dataclass(frozen=True)
class GroupConversations:
    """A group of three and its conversations: the first half idle, the second in a long round."""

    group_id: str
    agent_ids: list[str]
    conversation_ids: list[ConversationId]

    @property
    def removed_agent_id(self) -> str:
        return self.agent_ids[1]

    @property
    def remaining_agent_ids(self) -> list[str]:
        return [self.agent_ids[0], self.agent_ids[2]]

    @property
    def path(self) -> str:
        return f"/v1/groups/{self.group_id}"

    @property
    def idle(self) -> list[ConversationId]:
        return self.conversation_ids[: len(self.conversation_ids) // 2]

    @property
    def busy(self) -> list[ConversationId]:
        return self.conversation_ids[len(self.conversation_ids) // 2 :]


async def create_group_conversations(change_stack: GroupChangeStack, conversation_ids: int) -> GroupConversations:
    """Create a group, half of whose conversations have reached about the fifth turn of their second round."""
    await change_stack.killable.restore()
    agent_ids = await change_stack.agents("Ana", "Ben", "Cleo")
    group_id = (await change_stack.create("/v1/groups/", agent_ids=agent_ids))["id"]
    await change_stack.killable.model.set_behaviour(delay_ms=0)
    create = change_stack.client.conversations.create
    started = await asyncio.gather(*(create(group_id, "Where shall we eat?") for _ in range(conversation_ids)))
    group_conversations = GroupConversations(group_id, agent_ids, [conversation.id for conversation in started])
    await wait_until_all(change_stack, group_conversations.conversation_ids, conversations.c.stop_reason.is_not(None))
    await change_stack.killable.restore()
    for conversation_id in group_conversations.busy:
        await change_stack.client.conversations.handle(conversation_id).update_settings({"max_turns": LONG_ROUND})
        await change_stack.client.conversations.handle(conversation_id).post("And then?")
    await wait_until_all(change_stack, group_conversations.busy, conversations.c.last_turn >= 5)
    return group_conversations


async def wait_until_all(
    change_stack: GroupChangeStack, conversation_ids: list[ConversationId], condition: Any
) -> None:
    """Wait until the condition holds for the rows of all these conversations."""
    query = select(func.count()).where(conversations.c.id.in_(conversation_ids), condition)
    await wait_until(lambda: change_stack.count(query), lambda number: number == len(conversation_ids), TIMEOUT_SECONDS)
