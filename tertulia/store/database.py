"""The connection to Postgres. Each statement is a transaction of its own, unless `transaction` is asked for."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, Self

import psycopg
from sqlalchemy import Engine, Executable, Row, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

DRIVER = "postgresql+psycopg"
_CONNECT_SECONDS = 5
_RESTED_SECONDS = 0.2
"""After so long without use a connection is tried before it is trusted: no server is back sooner."""
_RESTS_SINCE = "rests_since"


class Database:
    """A pool of connections.

    Args:
        url: `postgresql+psycopg://…`, Postgres 15 or later.
        pool_size: connections kept open.
        max_overflow: further ones when all are busy.
        patience_seconds: how long a statement may take, the wait for a connection included; None = as long as it needs.
            A server that is frozen answers nothing, not even that it is.
    """

    def __init__(
        self, url: str, *, pool_size: int = 10, max_overflow: int = 20, patience_seconds: float | None = None
    ) -> None:
        self._patience = patience_seconds
        # Errors enter workflow histories and logs: the parameters, which hold what was said, stay out of them.
        self._engine: AsyncEngine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=max_overflow,
            hide_parameters=True,
            connect_args={"connect_timeout": _CONNECT_SECONDS},
            # What one connection has prepared and the server has cached for it is used again.
            pool_use_lifo=True,
        )
        # One who asks seldom makes sure of the connection first; a worker's activities are tried again anyway.
        if patience_seconds is not None:
            _try_rested(self._engine.sync_engine)
        self._autocommit = self._engine.execution_options(isolation_level="AUTOCOMMIT")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()

    async def rows(
        self, statement: Executable, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> Sequence[Row[Any]]:
        """Run one statement, committed at once, and return all rows."""
        async with asyncio.timeout(self._patience), self._autocommit.connect() as connection:
            result = await connection.execute(statement, parameters)
            return result.all() if result.returns_rows else ()

    async def row(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Row[Any] | None:
        """As `rows`, for a statement that gives one row or none."""
        rows = await self.rows(statement, parameters)
        return rows[0] if rows else None

    @asynccontextmanager
    async def own_connection(self) -> AsyncIterator[AsyncConnection]:
        """One connection for as long as the block runs, each statement committed at once; closed afterwards."""
        async with self._autocommit.connect() as connection:
            try:
                yield connection
            finally:
                await connection.invalidate()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Several statements, committed together or not at all."""
        async with self._engine.begin() as connection:
            yield connection


def _try_rested(engine: Engine) -> None:
    """Let a connection that was not used for a while be tried before its next use; one that is cut is replaced."""

    def rests(connection: Any, record: ConnectionPoolEntry) -> None:
        record.info[_RESTS_SINCE] = monotonic()

    def is_wanted(connection: Any, record: ConnectionPoolEntry, _: PoolProxiedConnection) -> None:
        if monotonic() - record.info.get(_RESTS_SINCE, monotonic()) < _RESTED_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except psycopg.Error:
            raise InvalidatePoolError from None

    event.listen(engine, "checkin", rests)
    event.listen(engine, "checkout", is_wanted)
