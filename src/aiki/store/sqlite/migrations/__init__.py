"""Migrations: numbered SQL files that lead an older database to the schema of a fresh one."""

from __future__ import annotations

import sqlite3
from importlib.resources import files
from typing import NamedTuple

from aiki.clock import SYSTEM
from aiki.errors import ConfigurationError
from aiki.store.sqlite.statements import QUERIES


class Migration(NamedTuple):
    """One step forward; there is no way back."""

    version: int
    name: str
    script: str


def _migrations() -> tuple[Migration, ...]:
    found = [
        item
        for item in files("aiki.store.sqlite.migrations").iterdir()
        if item.name.endswith(".sql")
    ]
    return tuple(
        Migration(int(item.name[:4]), item.name[5:-4], item.read_text("utf-8"))
        for item in sorted(found, key=lambda item: item.name)
    )


MIGRATIONS = _migrations()
SCHEMA_VERSION = MIGRATIONS[-1].version


def schema_version(connection: sqlite3.Connection) -> int:
    """The version of the database's schema; 0 for an empty file."""
    if not connection.execute(QUERIES["has_schema"]).fetchone()[0]:
        return 0
    return int(connection.execute(QUERIES["schema_version"]).fetchone()[0] or 0)


def migrate(connection: sqlite3.Connection, *, stepwise: bool = False) -> list[Migration]:
    """Bring the schema up to date under the write lock; answers the steps that were taken.

    A fresh database takes `schema.sql` whole; with `stepwise` it takes the migrations one by one.
    Raises `ConfigurationError` for a database that a newer Aiki has written.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        steps = _migrate(connection, stepwise)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return steps


def _migrate(connection: sqlite3.Connection, stepwise: bool) -> list[Migration]:
    version = schema_version(connection)
    if version > SCHEMA_VERSION:
        raise ConfigurationError(
            f"the database has schema {version}, this Aiki knows {SCHEMA_VERSION}: "
            "upgrade Aiki, or open another file"
        )
    steps = [step for step in MIGRATIONS if step.version > version]
    if version == 0 and not stepwise:
        _execute(connection, files("aiki.store.sqlite").joinpath("schema.sql").read_text("utf-8"))
    for step in steps:
        if version > 0 or stepwise:
            _execute(connection, step.script)
        connection.execute(QUERIES["record_migration"], (step.version, step.name, SYSTEM.wall()))
    if version == 0:
        connection.execute(QUERIES["start_clock"], (SYSTEM.wall(),))
    return steps


def _execute(connection: sqlite3.Connection, script: str) -> None:
    """`executescript` would commit first; so the statements go one by one."""
    statement = ""
    for line in script.splitlines(keepends=True):
        if not statement and (not line.strip() or line.startswith("--")):
            continue
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
