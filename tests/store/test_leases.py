"""A worker is alive while it holds its lock; a dead worker's leases go to one survivor, once."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tertulia.store.database import Database
from tertulia.store.leases import (
    LockNotHeld,
    add_lease,
    claim_leases,
    dead_workers,
    hold_worker_lock,
    new_worker_number,
    remove_lease,
)
from tertulia.testing import eventually
from tests.harness.pooled_database import ExposedConnectionDatabase, PooledDatabase

_CUT = text("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = cast(:n as oid)")


async def test_worker_is_alive_while_lock_is_held(database: Database) -> None:
    worker = new_worker_number()
    async with hold_worker_lock(database, worker) as still_held:
        await add_lease(database, worker, b"one")
        assert worker not in await dead_workers(database)
        await still_held()
    await eventually(lambda: dead_workers(database), lambda lockless: worker in lockless)
    assert await claim_leases(database, [worker]) == [b"one"]


async def test_worker_without_leases_is_not_dead(database: Database) -> None:
    worker = new_worker_number()
    await add_lease(database, worker, b"one")
    await remove_lease(database, worker, b"one")
    assert worker not in await dead_workers(database)


async def test_leases_of_dead_worker_are_claimed_once(database: Database) -> None:
    worker, living = new_worker_number(), new_worker_number()
    tokens = [bytes([number]) for number in range(50)]
    for token in tokens:
        await add_lease(database, worker, token)
    await add_lease(database, living, b"kept")
    taken = await asyncio.gather(*(claim_leases(database, [worker]) for _ in range(8)))
    assert sorted(token for survivor in taken for token in survivor) == tokens
    assert await claim_leases(database, [living]) == [b"kept"]


async def test_lease_taken_twice_is_one(database: Database) -> None:
    worker = new_worker_number()
    for _ in range(2):
        await add_lease(database, worker, b"one")
    assert await claim_leases(database, [worker]) == [b"one"]


async def test_lock_can_be_retaken_after_cut_connection(database: Database) -> None:
    worker = new_worker_number()
    with pytest.raises(DBAPIError):
        async with hold_worker_lock(database, worker) as still_held:
            await database.rows(_CUT, {"n": worker})
            await still_held()
    async with hold_worker_lock(database, worker) as still_held:
        await still_held()


async def test_lock_through_pooler_is_detected(url: str) -> None:
    """A lock through a pooler belongs to no worker: a live worker could look dead."""
    async with PooledDatabase(url) as pooled:
        with pytest.raises(LockNotHeld):
            async with hold_worker_lock(pooled, new_worker_number()):
                pass


async def test_lock_lost_on_open_connection_is_detected(url: str) -> None:
    async with ExposedConnectionDatabase(url) as database:
        with pytest.raises(LockNotHeld):
            async with hold_worker_lock(database, new_worker_number()) as still_held:
                await still_held()
                await database.own.execute(text("select pg_advisory_unlock_all()"))
                await still_held()
