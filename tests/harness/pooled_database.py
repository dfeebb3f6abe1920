"""What a pooler in transaction mode makes of a connection: each statement gets whichever server connection is free."""

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
    """A database behind such a pooler. Session locks stay with the server connection that they were taken on."""

    @asynccontextmanager
    async def own_connection(self) -> AsyncIterator[AsyncConnection]:
        """Not one connection at all."""
        yield cast(AsyncConnection, _AnyConnection(self))


class ExposedConnectionDatabase(Database):
    """Lets others use the connection that it has given away, as a pooler does when it resets one."""

    own: AsyncConnection

    @asynccontextmanager
    async def own_connection(self) -> AsyncIterator[AsyncConnection]:
        """One connection, remembered."""
        async with super().own_connection() as self.own:
            yield self.own
