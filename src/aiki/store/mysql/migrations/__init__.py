"""Migrations: numbered SQL files that lead a database to the newest schema.

The server commits each statement that changes a schema by itself. So every statement of a file has
a name, is recorded when it is done, and may be executed again: whatever is killed, the next process
goes on with the statement that was not recorded. A named lock lets one process migrate at a time.
"""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple

from aiki.errors import ConfigurationError
from aiki.store.mysql.address import Address
from aiki.store.mysql.connection import Connection, Purpose, open_connection, refusal
from aiki.store.mysql.template import Template
from aiki.store.mysql.trouble import DRIVER_ERRORS, describe, number_of
from aiki.store.named_sql import load_sql

_STEPS = {
    name: Template(sql)
    for name, sql in load_sql("aiki.store.mysql.migrations", "steps.sql").items()
}
_WAIT_SECONDS = 600
"""How long another process's migrations are waited for, and the longest statement may take."""
_DENIED = frozenset({1044, 1142, 1227, 1370})
_NEEDS_TRUST = 1419
_DONE_ALREADY = frozenset({1050, 1060, 1061, 1091, 1359})
"""What is to be added is there, or what is to be dropped is not: done, but not recorded."""


class Migration(NamedTuple):
    """One step forward; there is no way back."""

    version: int
    name: str
    statements: dict[str, str]
    """By their names, in order."""


def _migrations() -> tuple[Migration, ...]:
    found = sorted(
        item.name
        for item in files("aiki.store.mysql.migrations").iterdir()
        if item.name.endswith(".sql") and item.name[:4].isdigit()
    )
    return tuple(
        Migration(int(name[:4]), name[5:-4], load_sql("aiki.store.mysql.migrations", name))
        for name in found
    )


MIGRATIONS = _migrations()
SCHEMA_VERSION = MIGRATIONS[-1].version


async def migrate(url: str) -> list[Migration]:
    """Bring the database's schema up to date; answers the steps that were taken.

    Raises `ConfigurationError` for a database that a newer Aiki has written, or where the user may
    not create tables or triggers, and `StoreUnavailable` where the database does not answer.
    """
    address = Address.parse(url)
    try:
        connection = await open_connection(address, Purpose.WRITE, statement_seconds=0)
        try:
            return await _migrate(address, connection)
        finally:
            await connection.close()
    except DRIVER_ERRORS as error:
        raise _refusal(address, error) from error


async def _migrate(address: Address, connection: Connection) -> list[Migration]:
    """Nothing idles here: what a server does for long is not taken for a dead session."""
    if not (await _run(connection, "wait_for_others", _WAIT_SECONDS))[0][0]:
        raise ConfigurationError(
            f"{address.label}: another process migrates it since {_WAIT_SECONDS} s; end it first"
        )
    version = await schema_version(connection)
    check_not_newer(version)
    steps = [step for step in MIGRATIONS if step.version > version]
    if version == 0:
        await _run(connection, "create_migrations")
    for step in steps:
        await _take(connection, step)
    return steps


async def _take(connection: Connection, step: Migration) -> None:
    done = {row[0] for row in await _run(connection, "recorded", step.version)}
    for name, sql in step.statements.items():
        if name not in done:
            await _execute(connection, sql)
            await _run(connection, "record", step.version, name)
    await _run(connection, "record", step.version, "")


async def _execute(connection: Connection, sql: str) -> None:
    try:
        await connection.send(sql.encode(), _WAIT_SECONDS)
    except DRIVER_ERRORS as error:
        if number_of(error) not in _DONE_ALREADY:
            raise


async def _run(connection: Connection, name: str, *values: str | int) -> list[tuple[object, ...]]:
    # A little longer than the server waits, which tells more.
    return (await connection.send(_STEPS[name].fill(*values), _WAIT_SECONDS + 10.0))[0]


def _refusal(address: Address, error: BaseException) -> BaseException:
    text = f"{address.label}: {describe(error)}"
    if number_of(error) in _DENIED:
        return ConfigurationError(
            f"{text}; this user may not change the schema: run `aiki migrate` with the user that "
            "owns it"
        )
    if number_of(error) == _NEEDS_TRUST:
        return ConfigurationError(
            f"{text}; with the binary log on, triggers need SET GLOBAL "
            "log_bin_trust_function_creators = 1, or a user with the right SUPER: then run "
            "`aiki migrate` again, it goes on from here"
        )
    return refusal(address, error)


async def schema_version(connection: Connection) -> int:
    """The version of the schema; 0 for a database that has none, or half of the first."""
    ((count,),) = await _run(connection, "has_migrations")
    if not count:
        return 0
    ((version,),) = await _run(connection, "schema_version")
    assert isinstance(version, int)
    return version


def check_not_newer(version: int) -> None:
    """Raise for a database that a newer Aiki has written."""
    if version > SCHEMA_VERSION:
        raise ConfigurationError(
            f"the database has schema {version}, this Aiki knows {SCHEMA_VERSION}: "
            "upgrade Aiki, or open another database"
        )


def check_not_older(version: int) -> None:
    """Raise for a database that this Aiki would have to bring up to date first."""
    if version < SCHEMA_VERSION:
        raise ConfigurationError(
            f"the database has schema {version}, this Aiki needs {SCHEMA_VERSION}: "
            "run `aiki migrate` with the user that owns the schema"
        )
