"""Connections to Postgres. Each statement is a transaction of its own, unless `transaction` groups several."""

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
_IDLE_SECONDS = 0.2
"""A connection that was idle for this time is tested before its next use."""
_IDLE_SINCE = "idle_since"


class Database:
    """A pool of connections.

    Args:
        url: `postgresql+psycopg://…`, Postgres 15 or later.
        pool_size: connections kept open.
        max_overflow: further connections while all are busy.
        timeout_seconds: limit for a statement, including the wait for a connection; None = no limit. A frozen server
            sends no error, so callers that people wait for need a limit.
    """

    def __init__(
        self, url: str, *, pool_size: int = 10, max_overflow: int = 20, timeout_seconds: float | None = None
    ) -> None:
        self._timeout_seconds = timeout_seconds
        # Errors enter workflow histories and logs: the parameters, which hold what was said, stay out of them.
        self._engine: AsyncEngine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=max_overflow,
            hide_parameters=True,
            connect_args={"connect_timeout": _CONNECT_SECONDS},
            # The most recently used connection first: its prepared statements are cached on the server.
            pool_use_lifo=True,
        )
        # Only people's calls test an idle connection: Temporal repeats an activity that meets a broken one.
        if timeout_seconds is not None:
            _test_idle_connections(self._engine.sync_engine)
        self._autocommit = self._engine.execution_options(isolation_level="AUTOCOMMIT")

    @property
    def address(self) -> str:
        """Host and port, or the folder of the socket. Without name and password."""
        url = self._engine.url
        host = url.host or url.query.get("host") or "localhost"
        return f"{host}:{url.port}" if url.port else str(host)

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
        async with asyncio.timeout(self._timeout_seconds), self._autocommit.connect() as connection:
            result = await connection.execute(statement, parameters)
            return result.all() if result.returns_rows else ()

    async def row(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Row[Any] | None:
        """Run one statement, committed at once, and return its only row or None."""
        rows = await self.rows(statement, parameters)
        return rows[0] if rows else None

    @asynccontextmanager
    async def own_connection(self) -> AsyncIterator[AsyncConnection]:
        """Context manager: one connection of its own, each statement committed at once; closed at exit."""
        async with self._autocommit.connect() as connection:
            try:
                yield connection
            finally:
                await connection.invalidate()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Context manager: statements that are committed together or not at all."""
        async with self._engine.begin() as connection:
            yield connection


def _test_idle_connections(engine: Engine) -> None:
    """Test connections that were idle before their next use, and replace those that were cut."""

    def record_checkin(connection: Any, record: ConnectionPoolEntry) -> None:
        record.info[_IDLE_SINCE] = monotonic()

    def test_if_idle(connection: Any, record: ConnectionPoolEntry, _: PoolProxiedConnection) -> None:
        if monotonic() - record.info.get(_IDLE_SINCE, monotonic()) < _IDLE_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except psycopg.Error:
            raise InvalidatePoolError from None

    event.listen(engine, "checkin", record_checkin)
    event.listen(engine, "checkout", test_if_idle)
