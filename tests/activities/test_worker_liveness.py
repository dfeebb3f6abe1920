"""A live worker is not taken for dead; if it is, nothing is lost and no message is committed twice."""

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
from tertulia.store.leases import add_lease, new_worker_number
from tertulia.store.tables import claims
from tertulia.testing import WorkflowHarness, eventually
from tests.harness.pooled_database import PooledDatabase

_CUT_ALL_LOCKS = text("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objsubid = 2")


@pytest.fixture
async def observer(stack: Stack, workflow_harness: WorkflowHarness) -> AsyncIterator[Database]:
    """Monitor the harness's worker like another worker would; return that monitor's database."""
    async with (
        Database(stack.configuration.database_url) as database,
        WorkerLivenessMonitor(database, workflow_harness.client.scope.temporal),
    ):
        yield database


async def lease_count(database: Database) -> int:
    row = await database.row(select(func.count()).select_from(claims))
    assert row is not None
    return int(row[0])


async def test_worker_with_cut_lock_is_not_dead(workflow_harness: WorkflowHarness, observer: Database) -> None:
    await workflow_harness.model.clear_calls()
    await workflow_harness.model.set_behaviour(delay_ms=2_500)
    conversation = await workflow_harness.start(await workflow_harness.group("Ana"), "Shall we?")
    await eventually(lambda: lease_count(observer), lambda number: number == 1)
    for _ in range(3):
        await observer.rows(_CUT_ALL_LOCKS)
        await asyncio.sleep(0.6)
    await workflow_harness.wait_until_idle(conversation)
    assert (await workflow_harness.model.calls()).total == 1
    assert [turn.attempt for turn in await workflow_harness.turns(conversation)] == [1]


async def test_returned_live_attempt_commits_once(workflow_harness: WorkflowHarness, observer: Database) -> None:
    await workflow_harness.model.set_behaviour(delay_ms=1_000)
    conversation = await workflow_harness.start(await workflow_harness.group("Ana", "Ben"), "Shall we?")
    await eventually(lambda: lease_count(observer), lambda number: number == 1)
    (row,) = await observer.rows(select(claims.c.token))
    error = ApplicationError("taken for dead", type=ErrorType.WORKER_DIED, next_retry_delay=timedelta(milliseconds=1))
    await workflow_harness.client.scope.temporal.get_async_activity_handle(task_token=row.token).fail(error)
    await workflow_harness.wait_until_idle(conversation)
    assert [turn.outcome for turn in await workflow_harness.turns(conversation)] == ["spoke", "spoke"]
    assert [message.turn for message in await workflow_harness.transcript(conversation)] == [None, 1, 2]


async def test_leases_unknown_to_temporal_are_removed(observer: Database) -> None:
    for token in (b"first", b"second", b"third", b"fourth"):
        await add_lease(observer, new_worker_number(), token)
        await eventually(lambda: lease_count(observer), lambda number: number == 0)


async def test_pooler_prevents_leases(stack: Stack, workflow_harness: WorkflowHarness) -> None:
    async with (
        PooledDatabase(stack.configuration.database_url) as pooled,
        WorkerLivenessMonitor(pooled, workflow_harness.client.scope.temporal) as monitor,
    ):

        async def lease_count_after_claim() -> int:
            await monitor.add_lease(b"alive")
            return await lease_count(pooled)

        # At first the pooler may use the same connection for the lock and its checks, by chance.
        await asyncio.sleep(1)
        await eventually(lease_count_after_claim, lambda number: number == 0)
        for _ in range(10):
            assert await lease_count_after_claim() == 0


async def test_finished_activity_has_no_lease(workflow_harness: WorkflowHarness, observer: Database) -> None:
    await workflow_harness.model.set_behaviour(delay_ms=300)
    conversation = await workflow_harness.start(await workflow_harness.group("Ana", "Ben"), "Shall we?")
    await workflow_harness.wait_until_idle(conversation)
    assert await lease_count(observer) == 0
