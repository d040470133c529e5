"""One connection, and its statements by name."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from aiki.store.named_sql import load_sql

QUERIES = load_sql("aiki.store.sqlite", "queries.sql")


class Statements:
    """Runs named statements on a connection, and counts them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.executed = 0
        self._cursor = connection.cursor()

    def one(self, name: str, *values: Any) -> Any:
        """The first column of the first row, or None."""
        self.executed += 1
        row = self._cursor.execute(QUERIES[name], values).fetchone()
        return None if row is None else row[0]

    def rows(self, name: str, *values: Any) -> list[tuple[Any, ...]]:
        """All rows."""
        self.executed += 1
        return self._cursor.execute(QUERIES[name], values).fetchall()

    def run(self, name: str, *values: Any) -> None:
        """One statement that answers nothing."""
        self.executed += 1
        self._cursor.execute(QUERIES[name], values)

    def many(self, name: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """One statement over all rows."""
        self.executed += 1
        self._cursor.executemany(QUERIES[name], rows)
