"""A look at a file by whoever wants to know whether it is sound; the server may go on beside it."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from aiki.errors import ConfigurationError
from aiki.store.laws import Finding, Rows, examine
from aiki.store.sqlite.connection import open_connection
from aiki.store.sqlite.migrations import SCHEMA_VERSION, schema_version


async def inspect(path: Path) -> list[Finding]:
    """The laws that do not hold in this file. Raises `ConfigurationError` for another file."""
    if not await asyncio.to_thread(path.exists):
        raise ConfigurationError(f"there is no file {path}: name a database by --url")
    with closing(open_connection(path, read_only=True)) as connection:
        try:
            connection.execute("BEGIN")
            _check(path, schema_version(connection))

            async def ask(sql: str) -> Rows:
                return await asyncio.to_thread(lambda: connection.execute(sql).fetchall())

            return [*_damage(connection), *await examine(ask)]
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"{path} cannot be read ({error}): is it a database of Aiki's?"
            ) from error


def _check(path: Path, version: int) -> None:
    if version != SCHEMA_VERSION:
        raise ConfigurationError(
            f"{path} has schema {version}, this Aiki knows {SCHEMA_VERSION}: "
            "migrate it, or use the version of Aiki that wrote it"
        )


def _damage(connection: sqlite3.Connection) -> list[Finding]:
    """What SQLite itself finds."""
    found = connection.execute("PRAGMA quick_check(20)").fetchall()
    return [] if found == [("ok",)] else [Finding("the file is sound", found)]
