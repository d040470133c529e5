"""The stores that are compared, and a look into each that stays open.

`AIKI_TEST_STORE` restricts the comparison to one; otherwise every store is tested whose server is
installed.
"""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from aiki.store.sqlite import run_verbs
from aiki.store.sqlite.store import SqliteStore
from tests.support import databases

FROZEN = 1_900_000_000_000
"""Where the clock stands until a test moves it."""
Rows = list[tuple[Any, ...]]


def kinds() -> list[str]:
    """The stores to test: the one that was chosen, or all."""
    chosen = os.environ.get("AIKI_TEST_STORE")
    return [chosen] if chosen else ["sqlite", "postgresql", "mysql"]


each_kind = pytest.mark.parametrize("kind", kinds())


@contextmanager
def using(kind: str, faults: float = 0.0) -> Iterator[None]:
    """Let `databases` give stores of this kind; skips where its server is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(databases, "KIND", kind)
        patch.setattr(databases, "FAULTS", faults)
        if kind == "mysql":
            pytest.importorskip("aiki.store.mysql.store", reason="there is no store for MySQL")
        yield


class FrozenClock:
    """A wall that stands still: only `shift_clock` moves the database's time."""

    def wall(self) -> int:
        return FROZEN

    def monotonic(self) -> float:
        return 0.0


@contextmanager
def frozen_clock(kind: str) -> Iterator[None]:
    """The clock stands still; PostgreSQL's is in the database, where `Look.freeze` stops it."""
    with pytest.MonkeyPatch.context() as patch:
        if kind == "sqlite":
            patch.setattr(run_verbs, "SYSTEM", FrozenClock())
            # No file is looked at for what others committed.
            patch.setattr(SqliteStore, "SIGNAL_MS", (60_000, 60_000))
        elif kind == "mysql":
            from aiki.store.mysql import connection
            from aiki.store.mysql.template import Template

            now = f"SELECT {FROZEN} + offset_ms FROM clock WHERE one = 1"
            patch.setitem(connection.TEMPLATES, "now", Template(now))
        yield


class Look(Protocol):
    """A connection that reads what a store has committed."""

    def rows(self, sql: str) -> Rows: ...

    def freeze(self) -> None:
        """Let the database's clock stand still."""
        ...

    def close(self) -> None: ...


class SqliteLook:
    """Reads a file."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path)

    def rows(self, sql: str) -> Rows:
        return self._connection.execute(sql).fetchall()

    def freeze(self) -> None:
        """`frozen_clock` has done it."""

    def close(self) -> None:
        self._connection.close()


class PostgresLook:
    """Reads a schema of PostgreSQL."""

    def __init__(self, url: str, loop: asyncio.AbstractEventLoop) -> None:
        from aiki.store.postgres.connection import connect

        self._loop = loop
        self._connection = loop.run_until_complete(connect(url))

    def rows(self, sql: str) -> Rows:
        found = self._loop.run_until_complete(self._connection.fetch(sql))
        return [tuple(row) for row in found]

    def freeze(self) -> None:
        self._loop.run_until_complete(
            self._connection.execute(
                "CREATE OR REPLACE FUNCTION aiki_now() RETURNS BIGINT LANGUAGE sql VOLATILE AS"
                f" $$ SELECT {FROZEN} + (SELECT offset_ms FROM clock WHERE one = 1) $$"
            )
        )

    def close(self) -> None:
        self._loop.run_until_complete(self._connection.close())


class MySqlLook:
    """Reads a database of MySQL or MariaDB."""

    def __init__(self, url: str, loop: asyncio.AbstractEventLoop) -> None:
        from aiki.store.mysql.connection import connect

        self._loop = loop
        self._connection = loop.run_until_complete(connect(url))

    def rows(self, sql: str) -> Rows:
        sql = re.sub(r"\bkey\b", "`key`", sql)
        found = self._loop.run_until_complete(self._connection.send(sql.encode(), 30))
        return list(found[0])

    def freeze(self) -> None:
        """`frozen_clock` has done it."""

    def close(self) -> None:
        self._loop.run_until_complete(self._connection.close())


def look_at(path: Path, loop: asyncio.AbstractEventLoop) -> Look:
    """A look into the database that stands for this path."""
    if databases.KIND == "sqlite":
        return SqliteLook(path)
    kind = PostgresLook if databases.KIND == "postgresql" else MySqlLook
    return kind(databases.url_of(path), loop)
