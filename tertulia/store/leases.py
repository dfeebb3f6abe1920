"""Which worker holds which activity, and which workers are dead, so that a survivor can hand their work back at once.

Law: a worker is alive while it holds its advisory lock, on a connection of its own: SIGKILL closes that at once, load
does not. What is claimed here only makes recovery quicker; without it Temporal's heartbeat timeouts do the same.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager

from sqlalchemy import bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from tertulia.store.database import Database
from tertulia.store.tables import claims

_LOCK_CLASS = 0x7E27
"""The first half of every worker's advisory lock; the second is the worker's number."""

_GONE_AFTER_SECONDS = 5
"""A worker whose machine went away without a word loses its lock after about so long."""

WorkerNumber = int


class LockNotHeld(Exception):
    """The connection lives and the lock is not its own: a pooler stands between, and statements share connections."""


def new_worker_number() -> WorkerNumber:
    """A number that no other worker has."""
    return secrets.randbelow(2**31)


@asynccontextmanager
async def holding_lock(database: Database, worker: WorkerNumber) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Hold the worker's lock while the block runs. What it is given raises once the lock is gone.

    Raises:
        DBAPIError: the database does not answer.
        LockNotHeld: locks cannot be held over this connection.
    """
    async with database.own_connection() as connection:

        async def still_held() -> None:
            held = await connection.execute(_HELD_HERE, {"lock_class": _LOCK_CLASS, "worker": worker})
            if not held.scalar_one():
                raise LockNotHeld

        await connection.execute(select(func.pg_advisory_lock(_LOCK_CLASS, worker)))
        async with database.transaction() as other:
            # A pooler gives this transaction the connection that it gave the lock, and the look below another one.
            await other.execute(select(1))
            await still_held()
        for setting in ("idle", "interval", "count"):
            value = 1 if setting != "count" else _GONE_AFTER_SECONDS
            await connection.execute(text(f"set tcp_keepalives_{setting} = {value}"))
        yield still_held


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


async def claim(database: Database, worker: WorkerNumber, token: bytes) -> None:
    """Keep that the worker is at work on that activity."""
    await database.rows(_CLAIM, {"of_worker": worker, "of_token": token})


async def release(database: Database, worker: WorkerNumber, token: bytes) -> None:
    """The worker has done with that activity."""
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


async def lockless_workers(database: Database) -> set[WorkerNumber]:
    """The workers that have claims and no lock: dead, or cut off from the database a moment ago."""
    return {int(row.worker) for row in await database.rows(_LOCKLESS, {"lock_class": _LOCK_CLASS})}


async def take_over(database: Database, workers: Collection[WorkerNumber]) -> Sequence[bytes]:
    """The activities that those workers held; each is given to one caller only."""
    statement = delete(claims).where(claims.c.worker.in_(workers)).returning(claims.c.token)
    return [bytes(row.token) for row in await database.rows(statement)]
