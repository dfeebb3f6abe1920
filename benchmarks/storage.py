"""Stored sizes: Postgres for our tables, Temporal for its database file."""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import text

from tertulia.core.base import Record
from tertulia.store.database import Database
from tertulia.store.tables import metadata

_TABLES = text(
    "SELECT sum(pg_total_relation_size(quote_ident(name)::regclass)) FROM unnest(CAST(:names AS text[])) AS name"
)


class StorageSize(Record):
    """Bytes on disk at one time."""

    postgres: int
    """Tables with their indexes, in whole pages."""
    temporal: int
    """Used pages, including those only in the write-ahead log."""

    def subtract(self, before: "StorageSize") -> "StorageSize":
        """Return the growth since `before`."""
        return StorageSize(postgres=self.postgres - before.postgres, temporal=self.temporal - before.temporal)


async def storage_size(database: Database, temporal_file: Path) -> StorageSize:
    """Return the stored sizes."""
    row = await database.row(_TABLES, {"names": [table.name for table in metadata.sorted_tables]})
    assert row is not None
    return StorageSize(postgres=int(row[0]), temporal=_sqlite_bytes(temporal_file))


def _sqlite_bytes(file: Path) -> int:
    """Return the size as SQLite reports it: the log's file keeps its size after it was emptied."""
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
        pages, free, size = (
            int(connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
    return (pages - free) * size
