"""Brings a database's tables to the version that this code needs."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

MIGRATIONS = Path(__file__).parent / "migrations"


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def upgrade(url: str) -> str:
    """Apply every step that is missing; return the version reached."""
    command.upgrade(_config(url), "head")
    return newest()


async def upgrade_async(url: str) -> str:
    """As `upgrade`, beside a running event loop."""
    return await asyncio.to_thread(upgrade, url)


def newest() -> str:
    """The version that this code needs."""
    head = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    assert head is not None
    return head


def current(url: str) -> str | None:
    """The database's version; None for an empty one."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()
