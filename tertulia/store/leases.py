"""Leases: which worker executes which activity, and which workers are dead.

Invariant: a worker is alive while it holds its advisory lock on a connection of its own. SIGKILL closes that connection
at once, load does not. Leases only speed up recovery; without them Temporal's heartbeat timeouts decide.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager

from sqlalchemy import bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from tertulia.store.database import Database
from tertulia.store.tables import claims

_LOCK_CLASS = 0x7E27
"""First half of every worker's advisory lock key; the second half is the worker's number."""

_GONE_AFTER_SECONDS = 5
"""Approximate time until a worker on a lost machine loses its lock."""

WorkerNumber = int


class LockNotHeld(Exception):
    """The connection works but does not hold the lock: a pooler shares connections between statements."""


def new_worker_number() -> WorkerNumber:
    """Draw a worker number."""
    return secrets.randbelow(2**31)


@asynccontextmanager
async def hold_worker_lock(database: Database, worker: WorkerNumber) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Context manager: hold the worker's lock. Yields a check that raises once the lock is lost.

    Raises:
        DBAPIError: the database does not answer.
        LockNotHeld: locks cannot be held over this connection.
    """
    async with database.own_connection() as connection:

        async def check_lock() -> None:
            held = await connection.execute(_HELD_HERE, {"lock_class": _LOCK_CLASS, "worker": worker})
            if not held.scalar_one():
                raise LockNotHeld

        await connection.execute(select(func.pg_advisory_lock(_LOCK_CLASS, worker)))
        async with database.transaction() as other:
            # A pooler gives this transaction the connection that it gave the lock, and the look below another one.
            await other.execute(select(1))
            await check_lock()
        for setting in ("idle", "interval", "count"):
            value = 1 if setting != "count" else _GONE_AFTER_SECONDS
            await connection.execute(text(f"set tcp_keepalives_{setting} = {value}"))
        yield check_lock


_HELD_HERE = text(
    """
    select exists (
        select from pg_locks
        where locktype = 'advisory' and objsubid = 2 and granted and pid = pg_backend_pid()
          and classid = cast(:lock_class as oid) and objid = cast(:worker as oid)
    )
    """
)


_CLAIM = insert(claims).values(worker=bindparam("of_worker"), token=bindparam("of_token")).on_conflict_do_nothing()
_RELEASE = delete(claims).where(claims.c.worker == bindparam("of_worker"), claims.c.token == bindparam("of_token"))


async def add_lease(database: Database, worker: WorkerNumber, token: bytes) -> None:
    """Record that the worker executes the activity with `token`."""
    await database.rows(_CLAIM, {"of_worker": worker, "of_token": token})


async def remove_lease(database: Database, worker: WorkerNumber, token: bytes) -> None:
    """Delete that record."""
    await database.rows(_RELEASE, {"of_worker": worker, "of_token": token})


_LOCKLESS = text(
    """
    select distinct worker from claims
    where not exists (
        select from pg_locks
        where locktype = 'advisory' and objsubid = 2 and granted
          and classid = cast(:lock_class as oid) and objid = cast(worker as oid)
          and database = (select oid from pg_database where datname = current_database())
    )
    """
)


async def dead_workers(database: Database) -> set[WorkerNumber]:
    """Return workers with leases and without a lock: dead, or just disconnected from the database."""
    return {int(row.worker) for row in await database.rows(_LOCKLESS, {"lock_class": _LOCK_CLASS})}


async def claim_leases(database: Database, workers: Collection[WorkerNumber]) -> Sequence[bytes]:
    """Delete the leases of these workers and return their tokens. Each token is returned to one caller only."""
    statement = delete(claims).where(claims.c.worker.in_(workers)).returning(claims.c.token)
    return [bytes(row.token) for row in await database.rows(statement)]
