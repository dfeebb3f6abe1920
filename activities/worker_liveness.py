"""Record this worker's leases, and report the activities of dead workers to Temporal so that they are retried at once.

Invariant: this only speeds up recovery and never raises. If a live worker is taken for dead, its attempt continues
beside the new one, and the attempt that commits first counts.
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
"""Interval of the query for dead workers. It reads locks, not leases, so its cost does not depend on the load."""
DEAD_AFTER_SECONDS = 0.5
"""Time without its lock after which a worker counts as dead; a live one has reconnected by then."""
_RETRY_INTERVAL_SECONDS = 0.05
_LOCK_CHECK_SECONDS = 0.2
_LEASE_TIMEOUT_SECONDS = 2.0
_NO_DELAY = timedelta(milliseconds=1)

logger = logging.getLogger("tertulia.liveness")


class WorkerLivenessMonitor:
    """Async context manager: hold this worker's lock, and monitor the other workers of the database.

    Args:
        database: stores leases and locks.
        client: reports the activities of dead workers as failed.
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

    async def add_lease(self, token: bytes) -> None:
        """Record that this worker executes the activity with this task token."""
        # Without its lock this worker counts as dead: its lease would make others fail the activity.
        if self._holds_lock:
            await self._update_lease(add_lease, token)

    async def remove_lease(self, token: bytes) -> None:
        """Delete the record of `add_lease`."""
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
            logger.warning(
                "the database is behind a pooler that cannot hold advisory locks: dead workers are noticed by missing"
                " heartbeats only, which takes some seconds longer"
            )
            self._holds_lock = False
            await claim_leases(self._database, [self._worker_number])
        finally:
            self._holds_lock = False

    async def _monitor_workers(self) -> None:
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
            logger.info("a worker has died; its %d activities are retried now", len(tokens))
        for token in tokens:
            worker_died = ApplicationError("the worker died", type=ErrorType.WORKER_DIED, next_retry_delay=_NO_DELAY)
            with suppress(RPCError):
                await self._client.get_async_activity_handle(task_token=token).fail(worker_died)


async def _repeat_on_database_errors(step: Callable[[], Awaitable[None]]) -> None:
    """Run a step until it returns; start it again after errors of the database."""
    while True:
        with suppress(SQLAlchemyError, OSError):
            return await step()
        await asyncio.sleep(_RETRY_INTERVAL_SECONDS)
