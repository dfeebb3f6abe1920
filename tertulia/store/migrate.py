"""Migrate a database to the schema of this version."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

MIGRATIONS = Path(__file__).parent / "migrations"


def alembic_config(url: str) -> Config:
    """Return alembic's configuration for a database."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def upgrade(url: str) -> str:
    """Apply every missing migration; return the revision reached."""
    command.upgrade(alembic_config(url), "head")
    return head_revision()


async def upgrade_async(url: str) -> str:
    """Run `upgrade` in a thread, beside a running event loop."""
    return await asyncio.to_thread(upgrade, url)


def head_revision() -> str:
    """Return the revision that this code needs."""
    head = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    assert head is not None
    return head


def current_revision(url: str) -> str | None:
    """Return the database's revision; None for an empty database."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()
