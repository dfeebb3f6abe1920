"""The embedded stack of the benchmark, in a temporary folder and on free ports."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic

from openai import AsyncOpenAI
from sqlalchemy import bindparam, func, select

from benchmarks.plan import ManagerType
from benchmarks.processes import cpu_seconds
from benchmarks.results import BenchmarkFailed
from benchmarks.sample_group import GROUP_NAMES, OPENING_MESSAGE, SENDER, create_manifest
from benchmarks.storage import StorageSize, storage_size
from tertulia.configuration import OFFLINE_MODEL
from tertulia.core.ids import ConversationId
from tertulia.core.status import ConversationStatus
from tertulia.devstack.local_key import KEY_FILE
from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tertulia.store.tables import conversations, turns
from tertulia.testing import DirectClient, open_stack

_POLL_SECONDS = 0.02
_REPORT_SECONDS = 0.5
_START_TIMEOUT_SECONDS = 60.0
_SECONDS_PER_TURN = 0.5

_TURN_COUNT = select(func.coalesce(func.sum(conversations.c.last_turn), 0)).where(
    conversations.c.id.in_(bindparam("ids", expanding=True))
)
_FINISHED_TURNS = (
    select(turns.c.finished_at, turns.c.outcome)
    .where(turns.c.conversation_id == bindparam("id"))
    .order_by(turns.c.turn)
)


@dataclass(frozen=True)
class Meter:
    """Resources used up to one time."""

    cpu: Mapping[str, float]
    model_calls: int


class Bench:
    """The running stack and its clients."""

    def __init__(self, stack: Stack, client: DirectClient, openai: AsyncOpenAI, model: OfflineModelControl) -> None:
        self.client = client
        self.openai = openai
        self.model = model
        self._stack = stack
        self._data = stack.options.data

    async def start(self, manager: ManagerType, turns: int, *, conversations: int = 1) -> list[ConversationId]:
        """Start conversations that close after exactly so many turns."""
        await self.client.apply(create_manifest(manager, turns))
        create = self.client.conversations.create
        starting = (
            create(GROUP_NAMES[manager], OPENING_MESSAGE, sender=SENDER, close_after_round=True)
            for _ in range(conversations)
        )
        return [conversation.id for conversation in await asyncio.gather(*starting)]

    async def wait_until_closed(
        self, ids: Sequence[ConversationId], turns: int, report: Callable[[int], None]
    ) -> list[ConversationStatus]:
        """Return the final statuses. `report` gets the number of turns so far, about twice a second.

        Raises:
            BenchmarkFailed: it takes unreasonably long.
        """
        deadline = monotonic() + timeout_seconds(turns * len(ids))
        closing = asyncio.create_task(self._final_statuses(ids))
        try:
            while not (await asyncio.wait({closing}, timeout=_REPORT_SECONDS))[0]:
                _check_deadline(deadline, turns * len(ids))
                report(await self.turn_count(ids))
            return closing.result()
        finally:
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)

    async def _final_statuses(self, ids: Sequence[ConversationId]) -> list[ConversationStatus]:
        return list(await asyncio.gather(*(self.client.scope.workflow_handle(one).result() for one in ids)))

    async def wait_for_turns(self, ids: Sequence[ConversationId], turns: int) -> int:
        """Wait until they have taken so many turns together; the number taken then.

        Raises:
            BenchmarkFailed: it takes unreasonably long.
        """
        deadline = monotonic() + timeout_seconds(turns)
        while (turn_count := await self.turn_count(ids)) < turns:
            _check_deadline(deadline, turns)
            await asyncio.sleep(_POLL_SECONDS)
        return turn_count

    async def turn_count(self, ids: Sequence[ConversationId]) -> int:
        """Return the number of turns of all these conversations."""
        row = await self.client.scope.database.row(_TURN_COUNT, {"ids": list(ids)})
        return int(row[0]) if row else 0

    async def turn_times(self, conversation_id: ConversationId) -> list[float]:
        """Return the end of each turn, in seconds.

        Raises:
            BenchmarkFailed: a member passed or failed.
        """
        rows = await self.client.scope.database.rows(_FINISHED_TURNS, {"id": conversation_id})
        if any(row.outcome != "spoke" for row in rows):
            raise BenchmarkFailed(f"somebody did not speak in {conversation_id}")
        return [row.finished_at.timestamp() for row in rows]

    async def meter(self) -> Meter:
        """Return the resources used so far."""
        calls = await self.model.calls()
        return Meter(cpu_seconds(self._data), calls.total)

    async def storage_size(self) -> StorageSize:
        """Return the stored sizes."""
        return await storage_size(self.client.scope.database, self._data / "temporal.db")

    @property
    def api_url(self) -> str:
        """The API's address."""
        return str(self._stack.addresses.api_url)

    @property
    def api_key(self) -> str:
        """An API key with every scope."""
        return (self._data / KEY_FILE).read_text().strip()

    async def kill_worker(self) -> None:
        """Send SIGKILL to the only worker; the stack restarts it."""
        await self._stack.kill_worker(0)


@asynccontextmanager
async def open_bench() -> AsyncIterator[Bench]:
    """Start everything; on exit, end and remove it."""
    async with open_stack(workers=1, with_api=True, settings={"TERTULIA_REQUESTS_PER_MINUTE": "0"}) as stack:
        base_url = stack.configuration.model_endpoint.base_url
        assert base_url is not None
        async with (
            DirectClient.open(stack.configuration) as client,
            AsyncOpenAI(base_url=base_url, api_key=OFFLINE_MODEL, max_retries=0) as openai,
        ):
            yield Bench(stack, client, openai, stack.model)


def timeout_seconds(turns: int) -> float:
    """Return the limit in seconds for this many turns."""
    return _START_TIMEOUT_SECONDS + _SECONDS_PER_TURN * turns


def _check_deadline(deadline: float, turns: int) -> None:
    if monotonic() > deadline:
        raise BenchmarkFailed(f"{turns} turns were not taken within {timeout_seconds(turns):.0f} s")
