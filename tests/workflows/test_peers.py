"""A worker that lives is not taken for dead; and when one is all the same, nothing is lost or said twice."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text
from temporalio.exceptions import ApplicationError

from tertulia.activities.worker_liveness import WorkerLivenessMonitor
from tertulia.core.errors import ErrorType
from tertulia.devstack.stack import Stack
from tertulia.store.database import Database
from tertulia.store.leases import claim, new_worker_number
from tertulia.store.tables import claims
from tests.eventually import eventually
from tests.store.pooled import PooledDatabase
from tests.workflows.salon import Salon

_CUT_ALL_LOCKS = text("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objsubid = 2")


@pytest.fixture
async def onlooker(stack: Stack, salon: Salon) -> AsyncIterator[Database]:
    """Another worker's eye on the salon's; its database."""
    async with (
        Database(stack.configuration.database_url) as database,
        WorkerLivenessMonitor(database, salon.client.scope.temporal),
    ):
        yield database


async def claimed(database: Database) -> int:
    row = await database.row(select(func.count()).select_from(claims))
    assert row is not None
    return int(row[0])


async def test_a_worker_whose_lock_is_cut_off_is_not_taken_for_dead(salon: Salon, onlooker: Database) -> None:
    await salon.model.zero()
    await salon.model.behave(delay_ms=2_500)
    conversation = (await salon.client.conversations.create(await salon.group("Ana"), "Shall we?")).id
    await eventually(lambda: claimed(onlooker), lambda number: number == 1)
    for _ in range(3):
        await onlooker.rows(_CUT_ALL_LOCKS)
        await asyncio.sleep(0.6)
    await salon.until_idle(conversation)
    assert (await salon.model.calls()).total == 1
    assert [turn.attempt for turn in await salon.turns(conversation)] == [1]


async def test_an_attempt_that_is_handed_back_while_it_lives_is_said_once(salon: Salon, onlooker: Database) -> None:
    await salon.model.behave(delay_ms=1_000)
    conversation = (await salon.client.conversations.create(await salon.group("Ana", "Ben"), "Shall we?")).id
    await eventually(lambda: claimed(onlooker), lambda number: number == 1)
    (row,) = await onlooker.rows(select(claims.c.token))
    error = ApplicationError("taken for dead", type=ErrorType.WORKER_DIED, next_retry_delay=timedelta(milliseconds=1))
    await salon.client.scope.temporal.get_async_activity_handle(task_token=row.token).fail(error)
    await salon.until_idle(conversation)
    assert [turn.outcome for turn in await salon.turns(conversation)] == ["spoke", "spoke"]
    assert [message.turn for message in await salon.transcript(conversation)] == [None, 1, 2]


async def test_a_claim_of_the_dead_is_handed_back_although_temporal_has_forgotten_it(onlooker: Database) -> None:
    for token in (b"no token of Temporal's", b"nor this", b"nor that", b"nor the last"):
        await claim(onlooker, new_worker_number(), token)
        await eventually(lambda: claimed(onlooker), lambda number: number == 0)


async def test_behind_a_pooler_nothing_is_claimed_and_so_nobody_is_taken_for_dead(stack: Stack, salon: Salon) -> None:
    async with (
        PooledDatabase(stack.configuration.database_url) as pooled,
        WorkerLivenessMonitor(pooled, salon.client.scope.temporal) as monitor,
    ):

        async def after_a_claim() -> int:
            await monitor.claim(b"alive")
            return await claimed(pooled)

        # At first the pooler may give the lock and each look at it the same connection, by chance.
        await asyncio.sleep(1)
        await eventually(after_a_claim, lambda number: number == 0)
        for _ in range(10):
            assert await after_a_claim() == 0


async def test_what_is_over_is_claimed_no_more(salon: Salon, onlooker: Database) -> None:
    await salon.model.behave(delay_ms=300)
    conversation = (await salon.client.conversations.create(await salon.group("Ana", "Ben"), "Shall we?")).id
    await salon.until_idle(conversation)
    assert await claimed(onlooker) == 0
