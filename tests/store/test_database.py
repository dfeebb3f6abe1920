"""Connections: one that was cut while idle is replaced; one that was just used is not tested first."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from tertulia.store.database import Database
from tertulia.testing import eventually

PID = text("SELECT pg_backend_pid()")
LAST_STATEMENT = text("SELECT query FROM pg_stat_activity WHERE pid = :pid")
RESTS_SECONDS = 0.4


@pytest.fixture
async def careful(url: str) -> AsyncIterator[Database]:
    """A pool as the API has it."""
    async with Database(url, pool_size=2, timeout_seconds=30) as database:
        yield database


async def pid_of(database: Database) -> int:
    row = await database.row(PID)
    assert row is not None
    return int(row[0])


async def test_cut_idle_connection_is_replaced(careful: Database, database: Database) -> None:
    before = await pid_of(careful)
    await database.rows(text("SELECT pg_terminate_backend(:pid)"), {"pid": before})
    await asyncio.sleep(RESTS_SECONDS)
    assert await pid_of(careful) != before


async def test_recent_connection_is_not_pinged(careful: Database, database: Database) -> None:
    async def statement_before_the_next_one(rest: float) -> str:
        pid = await pid_of(careful)
        await asyncio.sleep(rest)
        async with careful.transaction():
            row = await database.row(LAST_STATEMENT, {"pid": pid})
        assert row is not None
        return str(row.query)

    # On a busy machine a moment may be as long as a rest: sooner or later it is not.
    await eventually(lambda: statement_before_the_next_one(0), lambda said: said == str(PID))
    assert await statement_before_the_next_one(RESTS_SECONDS) != str(PID)


async def test_sequential_queries_reuse_connection(careful: Database) -> None:
    """Prepared statements are reused."""
    await asyncio.gather(*(careful.rows(text("SELECT pg_sleep(0.3)")) for _ in range(2)))
    assert len({await pid_of(careful) for _ in range(6)}) == 1
