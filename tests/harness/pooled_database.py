"""Connections as a pooler in transaction mode gives them: each statement gets any free server connection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from sqlalchemy import CursorResult
from sqlalchemy.ext.asyncio import AsyncConnection

from tertulia.store.database import Database


class _AnyConnection:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def execute(self, *statement: Any) -> CursorResult[Any]:
        async with self._database.transaction() as connection:
            result: CursorResult[Any] = await connection.execute(*statement)
            return result


class PooledDatabase(Database):
    """A database behind such a pooler. Session locks stay with the server connection that took them."""

    @asynccontextmanager
    async def own_connection(self) -> AsyncIterator[AsyncConnection]:
        """Yield a proxy that uses several server connections."""
        yield cast(AsyncConnection, _AnyConnection(self))


class ExposedConnectionDatabase(Database):
    """A database whose given connection others can use, as after a pooler's reset."""

    own: AsyncConnection

    @asynccontextmanager
    async def own_connection(self) -> AsyncIterator[AsyncConnection]:
        """Yield one connection and remember it."""
        async with super().own_connection() as self.own:
            yield self.own
