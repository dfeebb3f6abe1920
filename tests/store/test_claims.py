"""A worker is alive while it holds its lock; what a dead one held is handed to one survivor, once."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tertulia.store.database import Database
from tertulia.store.leases import (
    LockNotHeld,
    claim,
    holding_lock,
    lockless_workers,
    new_worker_number,
    release,
    take_over,
)
from tests.eventually import eventually
from tests.store.pooled import PooledDatabase, RememberingDatabase

_CUT = text("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = cast(:n as oid)")


async def test_a_worker_is_alive_for_as_long_as_it_holds_its_lock(database: Database) -> None:
    worker = new_worker_number()
    async with holding_lock(database, worker) as still_held:
        await claim(database, worker, b"one")
        assert worker not in await lockless_workers(database)
        await still_held()
    await eventually(lambda: lockless_workers(database), lambda lockless: worker in lockless)
    assert await take_over(database, [worker]) == [b"one"]


async def test_a_worker_without_claims_is_nobody_to_look_after(database: Database) -> None:
    worker = new_worker_number()
    await claim(database, worker, b"one")
    await release(database, worker, b"one")
    assert worker not in await lockless_workers(database)


async def test_what_a_dead_worker_held_is_handed_out_once(database: Database) -> None:
    worker, living = new_worker_number(), new_worker_number()
    tokens = [bytes([number]) for number in range(50)]
    for token in tokens:
        await claim(database, worker, token)
    await claim(database, living, b"kept")
    taken = await asyncio.gather(*(take_over(database, [worker]) for _ in range(8)))
    assert sorted(token for survivor in taken for token in survivor) == tokens
    assert await take_over(database, [living]) == [b"kept"]


async def test_a_claim_made_twice_is_one(database: Database) -> None:
    worker = new_worker_number()
    for _ in range(2):
        await claim(database, worker, b"one")
    assert await take_over(database, [worker]) == [b"one"]


async def test_a_cut_connection_is_noticed_and_the_lock_can_be_had_again(database: Database) -> None:
    worker = new_worker_number()
    with pytest.raises(DBAPIError):
        async with holding_lock(database, worker) as still_held:
            await database.rows(_CUT, {"n": worker})
            await still_held()
    async with holding_lock(database, worker) as still_held:
        await still_held()


async def test_a_pooler_that_shares_connections_is_noticed_at_once(url: str) -> None:
    """A lock taken through it would belong to nobody in particular: its worker could look dead while it lives."""
    async with PooledDatabase(url) as pooled:
        with pytest.raises(LockNotHeld):
            async with holding_lock(pooled, new_worker_number()):
                pass


async def test_a_lock_that_is_lost_while_the_connection_lives_is_noticed(url: str) -> None:
    async with RememberingDatabase(url) as database:
        with pytest.raises(LockNotHeld):
            async with holding_lock(database, new_worker_number()) as still_held:
                await still_held()
                await database.own.execute(text("select pg_advisory_unlock_all()"))
                await still_held()
