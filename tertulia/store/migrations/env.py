"""Run by alembic: apply migrations under a lock, so that concurrent starts do not race."""

from alembic import context
from sqlalchemy import create_engine, text

from tertulia.store.tables import metadata

MIGRATION_LOCK = 7_402_881_163
"""Advisory lock key: an arbitrary number, the same in every process."""


def _run() -> None:
    engine = create_engine(context.config.get_main_option("sqlalchemy.url") or "")
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata, compare_type=True)
        with context.begin_transaction():
            connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
            context.run_migrations()
    engine.dispose()


_run()
