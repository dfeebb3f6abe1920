"""What the service adds: a message to a group over HTTP, against a bare loop that asks the models for the same round.

Law: both sides take turns, message by message, so that what disturbs one disturbs the other, and rest before each: what
is left to do after an answer is not the next one's to bear.
"""

import asyncio
from contextlib import suppress
from time import perf_counter
from typing import Any

import httpx2

from benchmarks.bench import Bench
from benchmarks.company import CONTEXT_MESSAGES, MEMBERS, OPENING, SENDER
from benchmarks.loop import PlainConversation, last_messages
from benchmarks.plan import Plan
from benchmarks.progress import Progress
from benchmarks.results import BenchmarkFailed, Exchange, Service, Talk, median_added_ms
from tertulia.core.agents import Agent
from tertulia.core.prompt import TranscriptMessage

_PATIENCE_SECONDS = 120.0
_WARM_UP_MESSAGES = 3
_REST_SECONDS = 0.1


class Door:
    """The API, asked by one client that keeps its connection."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self.agents_ms: list[float] = []
        """How long the creation of each agent took."""
        self._groups = 0

    async def create_group(self) -> str:
        """Make a group of new agents, and return its id."""
        self._groups += 1
        ids = [await self._create_agent(member) for member in MEMBERS]
        group, _ = await self._post(
            "groups/",
            {
                "name": f"Bench {self._groups}",
                "agent_ids": ids,
                "manager_config": {"manager_type": "round_robin", "termination_token": None},
                "settings": {"context_messages": CONTEXT_MESSAGES},
            },
        )
        return str(group["id"])

    async def say(self, group_id: str, words: str) -> float:
        """Say something to the group; milliseconds until the answer, which is all that its members said to it.

        Raises:
            BenchmarkFailed: not every member spoke.
        """
        message = {"role": "user", "name": SENDER, "content": words}
        answer, milliseconds = await self._post(f"groups/{group_id}/messages", {"messages": [message]})
        if len(answer["messages"]) != len(MEMBERS):
            raise BenchmarkFailed(f"{len(answer['messages'])} of {len(MEMBERS)} members spoke")
        return milliseconds

    async def _create_agent(self, member: Agent) -> str:
        body = {
            "name": f"{member.name} {self._groups}",
            "description": member.description,
            "system": member.instructions,
            "model_settings": {"model": member.model.model},
        }
        agent, milliseconds = await self._post("agents/", body)
        self.agents_ms.append(milliseconds)
        return str(agent["id"])

    async def _post(self, path: str, body: dict[str, Any]) -> tuple[dict[str, Any], float]:
        """The answer, and the milliseconds that it took.

        Raises:
            BenchmarkFailed: it is an error, or there is none.
        """
        began = perf_counter()
        try:
            response = await self._http.post(path, json=body)
        except httpx2.HTTPError as error:
            raise BenchmarkFailed(f"{path}: {error!r}") from None
        milliseconds = (perf_counter() - began) * 1_000
        if response.status_code != 200:
            raise BenchmarkFailed(f"{path}: {response.status_code} {response.text[:500]}")
        return response.json(), milliseconds


async def measure_service(bench: Bench, plan: Plan, progress: Progress) -> Service:
    """Talk with groups over HTTP, and let the bare loop do the same.

    Raises:
        BenchmarkFailed: the API refuses something, or somebody did not speak.
    """
    headers = {"Authorization": f"Bearer {bench.api_key}"}
    async with httpx2.AsyncClient(base_url=f"{bench.api_url}/v1/", headers=headers, timeout=_PATIENCE_SECONDS) as http:
        door = Door(http)
        await _talk(bench, door, _WARM_UP_MESSAGES)
        door.agents_ms.clear()
        talks = [await _talks(bench, door, delay_ms, plan, progress) for delay_ms in plan.model_delays_ms]
    return Service(members=len(MEMBERS), agents_ms=tuple(door.agents_ms), talks=tuple(talks))


async def _talks(bench: Bench, door: Door, delay_ms: int, plan: Plan, progress: Progress) -> Talk:
    exchanges: list[list[Exchange]] = []
    with progress.step(f"service, models answer in {delay_ms} ms", plan.groups) as step:
        await bench.model.behave(delay_ms=delay_ms)
        try:
            for number in range(plan.groups):
                exchanges.append(await _talk(bench, door, 1 + plan.messages))
                step.at(number + 1)
        finally:
            with suppress(OSError):
                await bench.model.reset()
        talk = Talk(
            delay_ms=delay_ms,
            first=tuple(one[0] for one in exchanges),
            following=tuple(exchange for one in exchanges for exchange in one[1:]),
        )
        first, following = median_added_ms(talk.first), median_added_ms(talk.following)
        step.result(f"{first:.0f} ms added to a first message, {following:.0f} ms to others")
    return talk


async def _talk(bench: Bench, door: Door, messages: int) -> list[Exchange]:
    """Say so many things to a new group, and to the bare loop."""
    group_id = await door.create_group()
    loop = PlainConversation(bench.openai, "round_robin", last_messages, transcript=[])
    exchanges = []
    for _ in range(messages):
        await asyncio.sleep(_REST_SECONDS)
        loop_ms = await _say_to_loop(loop)
        await asyncio.sleep(_REST_SECONDS)
        exchanges.append(Exchange(loop_ms=loop_ms, ours_ms=await door.say(group_id, OPENING)))
    return exchanges


async def _say_to_loop(loop: PlainConversation) -> float:
    began = perf_counter()
    loop.transcript.append(TranscriptMessage(sender_id=None, sender=SENDER, text=OPENING))
    await loop.talk(len(MEMBERS))
    return (perf_counter() - began) * 1_000
