"""Costs of the service: a message to a group over HTTP, against a plain loop that calls the models for the same round.
Invariant: the sides alternate message by message, so that a disturbance hits both, and both rest before each message,
so that work left over from one answer is not counted in the next.
"""

import asyncio
from contextlib import suppress
from time import perf_counter
from typing import Any

import httpx2

from benchmarks.bench import Bench
from benchmarks.plain_loop import PlainConversation, skip_old_messages
from benchmarks.plan import Plan
from benchmarks.progress import Progress
from benchmarks.results import BenchmarkFailed, Exchange, MessageRun, Service, median_added_ms
from benchmarks.sample_group import CONTEXT_MESSAGES, MEMBERS, OPENING_MESSAGE, SENDER
from tertulia.core.agents import Agent
from tertulia.core.prompt import TranscriptMessage

_TIMEOUT_SECONDS = 120.0
_WARM_UP_MESSAGES = 3
_PAUSE_SECONDS = 0.1


class ApiClient:
    """A client of the API that keeps its connection."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self.agents_ms: list[float] = []
        """Duration of each creation of an agent."""
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

    async def post_message(self, group_id: str, text: str) -> float:
        """Post a message to the group; return the milliseconds until the answer with all members' messages.

        Raises:
            BenchmarkFailed: not every member spoke.
        """
        message = {"role": "user", "name": SENDER, "content": text}
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
        """Return the answer and its duration in milliseconds.

        Raises:
            BenchmarkFailed: the answer is an error, or there is none.
        """
        started_at = perf_counter()
        try:
            response = await self._http.post(path, json=body)
        except httpx2.HTTPError as error:
            raise BenchmarkFailed(f"{path}: {error!r}") from None
        milliseconds = (perf_counter() - started_at) * 1_000
        if response.status_code != 200:
            raise BenchmarkFailed(f"{path}: {response.status_code} {response.text[:500]}")
        return response.json(), milliseconds


async def measure_service(bench: Bench, plan: Plan, progress: Progress) -> Service:
    """Post messages to groups over HTTP, and run the bare loop for the same messages.

    Raises:
        BenchmarkFailed: the API refused a request, or a member did not speak.
    """
    headers = {"Authorization": f"Bearer {bench.api_key}"}
    async with httpx2.AsyncClient(base_url=f"{bench.api_url}/v1/", headers=headers, timeout=_TIMEOUT_SECONDS) as http:
        api_client = ApiClient(http)
        await _exchange_messages(bench, api_client, _WARM_UP_MESSAGES)
        api_client.agents_ms.clear()
        talks = [
            await _measure_with_delay(bench, api_client, delay_ms, plan, progress) for delay_ms in plan.model_delays_ms
        ]
    return Service(members=len(MEMBERS), agents_ms=tuple(api_client.agents_ms), talks=tuple(talks))


async def _measure_with_delay(
    bench: Bench, api_client: ApiClient, delay_ms: int, plan: Plan, progress: Progress
) -> MessageRun:
    exchanges: list[list[Exchange]] = []
    with progress.step(f"service, models answer in {delay_ms} ms", plan.groups) as step:
        await bench.model.set_behaviour(delay_ms=delay_ms)
        try:
            for number in range(plan.groups):
                exchanges.append(await _exchange_messages(bench, api_client, 1 + plan.messages))
                step.update(number + 1)
        finally:
            with suppress(OSError):
                await bench.model.reset()
        talk = MessageRun(
            delay_ms=delay_ms,
            first=tuple(one[0] for one in exchanges),
            following=tuple(exchange for one in exchanges for exchange in one[1:]),
        )
        first, following = median_added_ms(talk.first), median_added_ms(talk.following)
        step.result(f"{first:.0f} ms added to a first message, {following:.0f} ms to others")
    return talk


async def _exchange_messages(bench: Bench, api_client: ApiClient, messages: int) -> list[Exchange]:
    """Post this many messages to a new group, and run the bare loop for them."""
    group_id = await api_client.create_group()
    loop = PlainConversation(bench.openai, "round_robin", skip_old_messages, transcript=[])
    exchanges = []
    for _ in range(messages):
        await asyncio.sleep(_PAUSE_SECONDS)
        loop_ms = await _post_to_loop(loop)
        await asyncio.sleep(_PAUSE_SECONDS)
        exchanges.append(Exchange(loop_ms=loop_ms, ours_ms=await api_client.post_message(group_id, OPENING_MESSAGE)))
    return exchanges


async def _post_to_loop(loop: PlainConversation) -> float:
    started_at = perf_counter()
    loop.transcript.append(TranscriptMessage(sender_id=None, sender=SENDER, text=OPENING_MESSAGE))
    await loop.talk(len(MEMBERS))
    return (perf_counter() - started_at) * 1_000
