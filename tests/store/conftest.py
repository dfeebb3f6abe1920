"""A real Postgres for the session, and a conversation per test."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy.engine import URL, make_url

from tertulia.devstack.postgres import EmbeddedPostgres
from tertulia.devstack.processes import SupervisedProcess
from tertulia.store.database import Database
from tertulia.store.migrate import upgrade_async
from tests.store.harness import StoreHarness, open_store_harness

NewDatabase = Callable[[], Awaitable[str]]


@pytest.fixture(scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[URL]:
    """URL of the first, empty database of a running server."""
    import asyncio

    folder: Path = tmp_path_factory.mktemp("pg")
    postgres = EmbeddedPostgres(folder)
    await postgres.prepare()
    program = postgres.program(dict(os.environ))
    process = SupervisedProcess(program, folder / "logs", report=lambda event: None, on_spawn=lambda: None)
    await process.start()
    try:
        yield make_url(postgres.url)
    finally:
        await process.stop(asyncio.Event())
        postgres.remove_socket_folder()


@pytest.fixture(scope="session")
async def new_database(server: URL) -> NewDatabase:
    """Function that creates an empty database and returns its URL."""

    async def create() -> str:
        name = f"db_{uuid4().hex}"
        plain = server.set(drivername="postgresql").render_as_string(hide_password=False)
        async with await psycopg.AsyncConnection.connect(plain, autocommit=True) as connection:
            await connection.execute(f'CREATE DATABASE "{name}"')
        return server.set(database=name).render_as_string(hide_password=False)

    return create


@pytest.fixture(scope="session")
async def url(new_database: NewDatabase) -> str:
    """URL of a migrated database."""
    migrated = await new_database()
    await upgrade_async(migrated)
    return migrated


@pytest.fixture(scope="session")
async def database(url: str) -> AsyncIterator[Database]:
    async with Database(url) as connected:
        yield connected


@pytest.fixture
async def harness(database: Database) -> StoreHarness:
    """An open conversation of three members that no other test uses."""
    return await open_store_harness(database)
