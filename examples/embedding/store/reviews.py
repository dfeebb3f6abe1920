"""The table of reviews."""

import sqlite3
from dataclasses import astuple
from types import TracebackType
from typing import Self

from workflows.review import Review


class Reviews:
    """An SQLite file with one row per review. A context manager."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path)
        self._connection.execute("create table if not exists reviews (conversation_id primary key, turns, last_words)")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()

    def save(self, review: Review) -> None:
        """Store a review; storing it again changes nothing."""
        with self._connection:
            self._connection.execute("insert or ignore into reviews values (?, ?, ?)", astuple(review))
