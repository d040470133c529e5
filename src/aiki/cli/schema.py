"""The schema of a database, brought up to date outside of any engine."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from aiki.compose import MYSQL, POSTGRES, sqlite_path, store_for
from aiki.errors import ConfigurationError
from aiki.store.sqlite.connection import open_connection, refuse_network_file_system
from aiki.store.sqlite.migrations import SCHEMA_VERSION, schema_version
from aiki.store.sqlite.migrations import migrate as migrate_connection


class Step(Protocol):
    """One migration, of whatever database."""

    @property
    def version(self) -> int: ...

    @property
    def name(self) -> str: ...


class Migrated(NamedTuple):
    """The schema before and after, and the steps between."""

    before: int
    after: int
    steps: Sequence[Step]


def newest() -> int:
    """The schema that this version of Aiki makes in a file."""
    return SCHEMA_VERSION


def bring_up_to_date(url: str) -> Migrated:
    """Make or migrate the database; asks for a role that may change the schema."""
    scheme = urlsplit(url).scheme
    if scheme not in POSTGRES | MYSQL:
        return _migrate_file(url)
    after = store_for(url).schema_version
    steps = asyncio.run(_migrate_server(scheme, url))
    return Migrated(steps[0].version - 1 if steps else after, after, steps)


async def _migrate_server(scheme: str, url: str) -> Sequence[Step]:
    if scheme in POSTGRES:
        from aiki.store.postgres.migrations import migrate

        return await migrate(url)
    from aiki.store.mysql.migrations import migrate as migrate_mysql

    return await migrate_mysql(url)


def _migrate_file(url: str) -> Migrated:
    path = sqlite_path(url)
    refuse_network_file_system(path)
    with closing(open_connection(path)) as connection:
        try:
            before = schema_version(connection)
            steps = migrate_connection(connection)
            return Migrated(before, schema_version(connection), steps)
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"{path} cannot be migrated ({error}): is it a database of another program? "
                "name another file by --url"
            ) from error
