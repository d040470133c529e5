"""The schema of a database file, brought up to date outside of any engine."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from aiki.compose import sqlite_path
from aiki.errors import ConfigurationError
from aiki.store.sqlite.connection import open_connection, refuse_network_file_system
from aiki.store.sqlite.migrations import SCHEMA_VERSION, Migration, schema_version
from aiki.store.sqlite.migrations import migrate as migrate_connection


def newest() -> int:
    """The schema that this version of Aiki makes."""
    return SCHEMA_VERSION


def bring_up_to_date(url: str) -> tuple[int, int, list[Migration]]:
    """Make or migrate the database; answers the schema before and after, and the steps taken."""
    path = sqlite_path(url)
    refuse_network_file_system(path)
    with closing(open_connection(path)) as connection:
        try:
            before = schema_version(connection)
            steps = migrate_connection(connection)
            return before, schema_version(connection), steps
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"{path} cannot be migrated ({error}): is it a database of another program? "
                "name another file by --url"
            ) from error
