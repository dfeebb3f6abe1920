"""How much is stored: by Postgres for our tables, by Temporal in its database file."""

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
    """Bytes on disk at one moment."""

    postgres: int
    """Tables with their indexes; whole pages."""
    temporal: int
    """Pages in use, those that so far are only in the write-ahead log included."""

    def subtract(self, before: "StorageSize") -> "StorageSize":
        """The growth since `before`."""
        return StorageSize(postgres=self.postgres - before.postgres, temporal=self.temporal - before.temporal)


async def storage_size(database: Database, temporal_file: Path) -> StorageSize:
    """What is stored now."""
    row = await database.row(_TABLES, {"names": [table.name for table in metadata.sorted_tables]})
    assert row is not None
    return StorageSize(postgres=int(row[0]), temporal=_sqlite_bytes(temporal_file))


def _sqlite_bytes(file: Path) -> int:
    """Asked of SQLite and not of the file system: the log's file keeps its size when it has been emptied."""
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
        pages, free, size = (
            int(connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
    return (pages - free) * size
