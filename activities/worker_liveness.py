"""A worker among its peers: it claims what it is at work on, and hands back at once what a dead one was at work on.

Law: nothing here is needed for anything but speed, and nothing here fails anything. A worker that only seems dead loses
nothing: its attempt may go on, and whichever attempt commits first is the one that counts.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from time import monotonic
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from tertulia.core.errors import ErrorType
from tertulia.store.database import Database
from tertulia.store.leases import (
    LockNotHeld,
    WorkerNumber,
    add_lease,
    claim_leases,
    dead_workers,
    hold_worker_lock,
    new_worker_number,
    remove_lease,
)

CHECK_INTERVAL_SECONDS = 0.2
"""How often a worker looks at its peers: one short query, whatever they are at work on."""
DEAD_AFTER_SECONDS = 0.5
"""How long a peer has to be seen without its lock: one that lives has it again by then."""
_RETRY_INTERVAL_SECONDS = 0.05
_LOCK_CHECK_SECONDS = 0.2
_LEASE_TIMEOUT_SECONDS = 2.0
_NO_DELAY = timedelta(milliseconds=1)

logger = logging.getLogger("tertulia.peers")


class WorkerLivenessMonitor:
    """While the block runs, this worker is known to its peers, and watches over them.

    Args:
        database: where the claims are.
        client: through which activities are handed back.
    """

    def __init__(self, database: Database, client: Client) -> None:
        self._database = database
        self._client = client
        self._worker_number: WorkerNumber = new_worker_number()
        self._holds_lock = False
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    async def __aenter__(self) -> Self:
        steps: tuple[Callable[[], Awaitable[None]], ...] = (self._hold_lock, self._monitor_workers)
        self._tasks = tuple(asyncio.create_task(_repeat_on_database_errors(step)) for step in steps)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def claim(self, token: bytes) -> None:
        """Tell that this worker is at work on that activity; without the lock it would be taken for dead."""
        if self._holds_lock:
            await self._update_lease(add_lease, token)

    async def release(self, token: bytes) -> None:
        """Tell that it has done."""
        await self._update_lease(remove_lease, token)

    async def _update_lease(
        self, operation: Callable[[Database, WorkerNumber, bytes], Awaitable[None]], token: bytes
    ) -> None:
        with suppress(SQLAlchemyError, OSError, asyncio.TimeoutError):
            async with asyncio.timeout(_LEASE_TIMEOUT_SECONDS):
                await operation(self._database, self._worker_number, token)

    async def _hold_lock(self) -> None:
        try:
            async with hold_worker_lock(self._database, self._worker_number) as check_lock:
                self._holds_lock = True
                while True:
                    await asyncio.sleep(_LOCK_CHECK_SECONDS)
                    await check_lock()
        except LockNotHeld:
            logger.warning("no lock can be held through this database's pooler: heartbeats alone tell of dead workers")
            self._holds_lock = False
            await claim_leases(self._database, [self._worker_number])
        finally:
            self._holds_lock = False

    async def _monitor_workers(self) -> None:
        """Whoever is seen without a lock for long enough is dead."""
        unlocked_since: dict[WorkerNumber, float] = {}
        while True:
            now = monotonic()
            unlocked = await dead_workers(self._database) - {self._worker_number}
            unlocked_since = {worker: unlocked_since.get(worker, now) for worker in unlocked}
            dead = [worker for worker, first_seen in unlocked_since.items() if now - first_seen >= DEAD_AFTER_SECONDS]
            if dead:
                await self._fail_activities(await claim_leases(self._database, dead))
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)

    async def _fail_activities(self, tokens: Sequence[bytes]) -> None:
        if tokens:
            logger.info("a worker has died; %d of its activities are handed back", len(tokens))
        for token in tokens:
            worker_died = ApplicationError("its worker died", type=ErrorType.WORKER_DIED, next_retry_delay=_NO_DELAY)
            with suppress(RPCError):
                await self._client.get_async_activity_handle(task_token=token).fail(worker_died)


async def _repeat_on_database_errors(step: Callable[[], Awaitable[None]]) -> None:
    """Begin again whenever the database is away, until the step itself is content to end."""
    while True:
        with suppress(SQLAlchemyError, OSError):
            return await step()
        await asyncio.sleep(_RETRY_INTERVAL_SECONDS)
