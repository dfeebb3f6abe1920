"""A running stack whose programs can be killed, and groups of three with conversations that are idle or in a round."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2
from sqlalchemy import func, select

from chaos.house import House, until
from tertulia.core.ids import ConversationId
from tertulia.store.tables import conversations
from tertulia.testing import DirectClient
from tests.eventually import eventually

LONG_ROUND = 24
"""So many turns has a round that still runs when the workers are there again."""
PATIENCE = 150


@dataclass(frozen=True)
class Hall:
    """The running stack, whose programs can be killed, and a client of its API."""

    house: House
    api: httpx2.AsyncClient

    @property
    def client(self) -> DirectClient:
        return self.house.client

    async def kill_workers_and_api(self) -> None:
        """SIGKILL to all who could carry a change out."""
        await asyncio.gather(self.house.kill_workers(), self.house.kill("api"))

    async def asked(self, method: str, path: str, **request: Any) -> httpx2.Response:
        """The API's answer, as soon as there is an API again."""

        async def ask() -> httpx2.Response | None:
            try:
                return await self.api.request(method, path, **request)
            except httpx2.TransportError:
                return None

        answer = await eventually(ask, lambda answer: answer is not None, seconds=PATIENCE, every=0.1)
        assert answer is not None
        return answer

    async def made(self, path: str, **body: Any) -> dict[str, Any]:
        """What the API says that it has made."""
        answer = await self.api.post(path, json=body)
        assert answer.status_code == 200, answer.text
        fields: dict[str, Any] = answer.json()
        return fields

    async def agents(self, *names: str) -> list[str]:
        """The ids of new agents, whose names begin so."""
        mark = uuid4().hex[:8]
        return [(await self.made("/v1/agents/", name=f"{name} {mark}"))["id"] for name in names]

    async def count(self, query: Any) -> int:
        """The one number that a query gives."""
        ((number,),) = await self.client.scope.database.rows(query)
        return int(number)


@dataclass(frozen=True)
class Gathering:
    """A group of three and its conversations: the first half idle, the second in the middle of a long round."""

    group_id: str
    agent_ids: list[str]
    talks: list[ConversationId]

    @property
    def leaver(self) -> str:
        return self.agent_ids[1]

    @property
    def staying(self) -> list[str]:
        return [self.agent_ids[0], self.agent_ids[2]]

    @property
    def path(self) -> str:
        return f"/v1/groups/{self.group_id}"

    @property
    def idle(self) -> list[ConversationId]:
        return self.talks[: len(self.talks) // 2]

    @property
    def busy(self) -> list[ConversationId]:
        return self.talks[len(self.talks) // 2 :]


async def gathered(hall: Hall, talks: int) -> Gathering:
    """A new group, half of whose conversations are at the fifth turn or so of their second round."""
    await hall.house.settle()
    agent_ids = await hall.agents("Ana", "Ben", "Cleo")
    group_id = (await hall.made("/v1/groups/", agent_ids=agent_ids))["id"]
    await hall.house.model.behave(delay_ms=0)
    create = hall.client.conversations.create
    started = await asyncio.gather(*(create(group_id, "Where shall we eat?") for _ in range(talks)))
    gathering = Gathering(group_id, agent_ids, [conversation.id for conversation in started])
    await until_all(hall, gathering.talks, conversations.c.stop_reason.is_not(None))
    await hall.house.settle()
    for talk in gathering.busy:
        await hall.client.conversations.handle(talk).update_settings({"max_turns": LONG_ROUND})
        await hall.client.conversations.handle(talk).post("And then?")
    await until_all(hall, gathering.busy, conversations.c.last_turn >= 5)
    return gathering


async def until_all(hall: Hall, talks: list[ConversationId], condition: Any) -> None:
    """Until that is so of the rows of all these conversations."""
    query = select(func.count()).where(conversations.c.id.in_(talks), condition)
    await until(lambda: hall.count(query), lambda number: number == len(talks), PATIENCE)
