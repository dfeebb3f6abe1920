"""A stack of its own in a temporary folder, every program of which can be killed."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from temporalio.service import RPCError

from chaos.sample_groups import create_manifest
from tertulia.activities.failpoints import FAILPOINTS_ENV, Failpoint
from tertulia.core.errors import Unavailable
from tertulia.core.ids import ConversationId
from tertulia.devstack.stack import Stack
from tertulia.testing import DirectClient, eventually, open_stack

T = TypeVar("T")

POLL_SECONDS = 0.01
DELAY_MS = 300
"""Time of the model for each answer."""
_TERMINATE_CONNECTIONS = text(
    "select pg_terminate_backend(pid) from pg_stat_activity "
    "where datname = current_database() and pid <> pg_backend_pid()"
)
_TRANSIENT_ERRORS = (Unavailable, RPCError, SQLAlchemyError, OSError, TimeoutError)
"""Errors that a client of a killed server sees; the client retries."""


class KillableStack:
    """The running stack, a client, and methods that disturb it."""

    def __init__(self, stack: Stack, client: DirectClient, failpoints: Path) -> None:
        self.stack = stack
        self.client = client
        self.model = stack.model
        self._failpoints = failpoints

    async def kill(self, program: str) -> None:
        """Send SIGKILL to a program of the stack; its supervisor restarts it."""
        await self.stack.kill(program)

    async def kill_workers(self) -> None:
        """Send SIGKILL to every worker at once."""
        names = (f"worker-{number}" for number in range(1, self.stack.options.workers + 1))
        await asyncio.gather(*(self.kill(name) for name in names))

    async def kill_worker_of(self, conversation: ConversationId) -> None:
        """Send SIGKILL to the worker that executes an activity of the conversation; to the first worker if there is
        none.
        """
        description = await self.client.scope.workflow_handle(conversation).describe()
        pending = description.raw_description.pending_activities
        pids = self.stack.worker_pids
        holder = int(pending[0].last_worker_identity.partition("@")[0] or 0) if pending else 0
        await self.kill(f"worker-{pids.index(holder) + 1 if holder in pids else 1}")

    async def cut_connections(self) -> None:
        """End every connection to Postgres but the one that does this."""
        await self.client.scope.database.rows(_TERMINATE_CONNECTIONS)

    def arm(self, failpoint: Failpoint) -> None:
        """Hold the next step that reaches the failpoint."""
        (self._failpoints / failpoint).touch()

    def is_hit(self, failpoint: Failpoint) -> bool:
        """Return whether a step is held at the failpoint."""
        return (self._failpoints / f"{failpoint}.hit").exists()

    def release(self) -> None:
        """Release the held step, and disarm all failpoints."""
        for file in self._failpoints.iterdir():
            file.unlink(missing_ok=True)

    async def restore(self) -> None:
        """Restore the initial state: nothing held, no faults, every program running."""
        self.release()
        await retry_while_unavailable(lambda: self.model.set_behaviour(delay_ms=DELAY_MS))
        await wait_until(self._all_workers_run, bool, 30)

    async def _all_workers_run(self) -> bool:
        return len(self.stack.worker_pids) == self.stack.options.workers


async def retry_while_unavailable(call: Callable[[], Awaitable[T]], seconds: float = 120) -> T:
    """Await the call, and repeat it while a server is unavailable."""
    deadline = monotonic() + seconds
    while True:
        try:
            return await call()
        except _TRANSIENT_ERRORS:
            if monotonic() > deadline:
                raise
            await asyncio.sleep(POLL_SECONDS * 10)


async def wait_until(read: Callable[[], Awaitable[T]], predicate: Callable[[T], bool], seconds: float) -> T:
    """Return the value of `read` once `predicate` holds for it; repeat while a server is unavailable.

    Raises:
        AssertionError: it did not hold in time.
    """
    return await eventually(
        lambda: retry_while_unavailable(read, seconds), predicate, seconds=seconds, interval_seconds=POLL_SECONDS
    )


@asynccontextmanager
async def open_killable_stack(workers: int = 2, **variables: str) -> AsyncIterator[KillableStack]:
    """Start everything; on exit, end and remove it. `variables` are the environment's."""
    with tempfile.TemporaryDirectory() as failpoints:
        async with (
            open_stack(workers=workers, settings={FAILPOINTS_ENV: failpoints, **variables}) as stack,
            DirectClient.open(stack.configuration) as client,
        ):
            await client.apply(create_manifest())
            yield KillableStack(stack, client, Path(failpoints))
