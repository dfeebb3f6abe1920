"""Migrations produce the tables that the code defines."""

import asyncio
import subprocess
import sys
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect

from tertulia.store.migrate import current_revision, head_revision, upgrade, upgrade_async
from tertulia.store.tables import metadata
from tests.store.conftest import NewDatabase

ROOT = Path(__file__).parents[2]


def tables(url: str) -> set[str]:
    engine = create_engine(url)
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


async def test_upgrade_empty_database_creates_tables(new_database: NewDatabase) -> None:
    url = await new_database()
    assert current_revision(url) is None
    assert await upgrade_async(url) == head_revision()
    assert current_revision(url) == head_revision()
    assert tables(url) == {*metadata.tables, "alembic_version"}


async def test_upgrade_twice_changes_nothing(new_database: NewDatabase) -> None:
    url = await new_database()
    upgrade(url)
    assert upgrade(url) == head_revision()
    assert tables(url) == {*metadata.tables, "alembic_version"}


RACER = """
import sys
from tertulia.store.migrate import head_revision, upgrade
print(head_revision(), flush=True)
sys.stdin.readline()
print(upgrade(sys.argv[1]))
"""


async def test_concurrent_upgrades_do_not_race(new_database: NewDatabase) -> None:
    url = await new_database()
    pipe = subprocess.PIPE
    racers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", RACER, url, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe
        )
        for _ in range(3)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert await racer.stdout.readline(), "ready to start"
    told = await asyncio.gather(*(racer.communicate(b"go\n") for racer in racers))
    assert told == [(f"{head_revision()}\n".encode(), b"")] * 3
    assert [racer.returncode for racer in racers] == [0] * 3
    assert current_revision(url) == head_revision()


def test_migrations_match_table_definitions(url: str) -> None:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            options = {"compare_type": True, "compare_server_default": True}
            context = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(context, metadata) == []
    finally:
        engine.dispose()
