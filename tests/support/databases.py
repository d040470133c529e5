"""Which database the tests use: a file of SQLite, or a schema of a server for each path.

`AIKI_TEST_STORE` chooses: `sqlite` (the default), `postgresql` or `mysql`. `AIKI_TEST_FAULTS` is
the share of transactions that are committed and then reported as timed out.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

import pytest

from aiki.compose import store_for
from aiki.store.protocol import Store
from tests.support.faults import FaultyStore

R = TypeVar("R")
Row: TypeAlias = tuple[Any, ...]
Question: TypeAlias = tuple[str, tuple[Any, ...]]
"""A statement, and the values of its parameters."""

KIND = os.environ.get("AIKI_TEST_STORE", "sqlite")
FAULTS = float(os.environ.get("AIKI_TEST_FAULTS", "0"))

exact = pytest.mark.skipif(FAULTS > 0, reason="looks at each transaction: there are no faults")
only_sqlite = pytest.mark.skipif(KIND != "sqlite", reason="is about the files of SQLite")


def url_of(path: Path) -> str:
    """The database that stands for this path; made empty when it is first opened."""
    if KIND == "sqlite":
        return f"sqlite:///{path}"
    name = "t_" + hashlib.sha256(str(path).encode()).hexdigest()[:24]
    if KIND == "postgresql":
        from tests.services import postgres

        return postgres.postgres(postgres.versions()[0]).schema_url(name)
    from tests.services import mysql

    return mysql.database_url(name)


def store_at(path: Path) -> Store:
    """A store on the database that stands for this path; not open yet."""
    return faulty(store_for(url_of(path)))


def faulty(store: Store) -> Store:
    """The store with the faults that were asked for."""
    return FaultyStore(store, FAULTS) if FAULTS else store


def rows_at(path: Path, sql: str, *values: Any) -> list[Row]:
    """Rows straight from the database; parameters are question marks."""
    return _ask_at(path, [(sql, values)])[0]


def tables_at(path: Path, *tables: str) -> dict[str, list[Row]]:
    """All rows of each table, in the order of its first two columns."""
    questions: list[Question] = [(f"SELECT * FROM {table} ORDER BY 1, 2", ()) for table in tables]
    return dict(zip(tables, _ask_at(path, questions), strict=True))


def _ask_at(path: Path, questions: Sequence[Question]) -> list[list[Row]]:
    """The rows of each question; on a server a connection costs more than they do, so one asks."""
    if KIND == "sqlite":
        with closing(sqlite3.connect(path)) as connection:
            return [connection.execute(sql, values).fetchall() for sql, values in questions]
    ask = _ask_postgres if KIND == "postgresql" else _ask_mysql
    return aside(lambda: ask(url_of(path), questions))


def change_at(path: Path, *statements: str) -> None:
    """Change the database behind everybody's back."""
    if KIND == "sqlite":
        with closing(sqlite3.connect(path)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()
        return
    for statement in statements:
        rows_at(path, statement)


async def _ask_postgres(url: str, questions: Sequence[Question]) -> list[list[Row]]:
    from aiki.store.postgres.connection import connect

    connection = await connect(url)
    try:
        return [
            [tuple(row) for row in await connection.fetch(_numbered(sql), *values)]
            for sql, values in questions
        ]
    finally:
        await connection.close()


def _numbered(sql: str) -> str:
    """Parameters as PostgreSQL writes them."""
    first, *rest = sql.split("?")
    return first + "".join(f"${number}{text}" for number, text in enumerate(rest, 1))


async def _ask_mysql(url: str, questions: Sequence[Question]) -> list[list[Row]]:
    from tests.services import mysql

    return await mysql.fetch_each(
        url, [(sql.replace("?", "%s"), values) for sql, values in questions]
    )


def aside(work: Callable[[], Coroutine[Any, Any, R]]) -> R:
    """Run a coroutine to its end on a loop of its own, although this thread's may be running."""
    answer: list[R] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answer.append(asyncio.run(work()))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return answer[0]


def is_file(url: str) -> bool:
    """Whether the database is a file."""
    return urlsplit(url).scheme == "sqlite"
