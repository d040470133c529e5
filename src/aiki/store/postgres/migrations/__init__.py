"""Migrations: numbered SQL files that lead a database to the newest schema.

Each is one transaction together with its row in `schema_migration`, under a lock that one process
holds at a time: whatever is killed leaves whole steps, and the next process goes on from there.
"""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple

import asyncpg

from aiki.errors import ConfigurationError
from aiki.store.named_sql import load_sql
from aiki.store.postgres.address import Address
from aiki.store.postgres.connection import Connection, refusal

_STEPS = load_sql("aiki.store.postgres.migrations", "steps.sql")
_LOCK_SECONDS = 600.0
"""How long another process's migrations are waited for."""


class Migration(NamedTuple):
    """One step forward; there is no way back."""

    version: int
    name: str
    script: str


def _migrations() -> tuple[Migration, ...]:
    found = [
        item
        for item in files("aiki.store.postgres.migrations").iterdir()
        if item.name.endswith(".sql") and item.name[:4].isdigit()
    ]
    return tuple(
        Migration(int(item.name[:4]), item.name[5:-4], item.read_text("utf-8"))
        for item in sorted(found, key=lambda item: item.name)
    )


MIGRATIONS = _migrations()
SCHEMA_VERSION = MIGRATIONS[-1].version


async def migrate(url: str) -> list[Migration]:
    """Bring the database's schema up to date; answers the steps that were taken.

    Raises `ConfigurationError` for a database that a newer Aiki has written, or where the role may
    not create tables, and `StoreUnavailable` where the database does not answer.
    """
    address = Address.parse(url)
    try:
        connection = await asyncpg.connect(address.url, timeout=10.0, statement_cache_size=0)
        try:
            return await _migrate(connection, address.schema)
        finally:
            connection.terminate()
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigurationError(
            f"{address.label}: this role may not change the schema ({error}); run `aiki migrate` "
            "with the role that owns it"
        ) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise refusal(address, error) from error


async def _migrate(connection: Connection, schema: str | None) -> list[Migration]:
    taken: list[Migration] = []
    while True:
        async with connection.transaction():
            await _enter(connection, schema)
            version = await schema_version(connection)
            check_not_newer(version)
            step = next((step for step in MIGRATIONS if step.version > version), None)
            if step is None:
                return taken
            if version == 0:
                await connection.execute(_STEPS["create_migrations"])
            await connection.execute(step.script)
            await connection.execute(_STEPS["record_migration"], step.version, step.name)
        taken.append(step)


async def _enter(connection: Connection, schema: str | None) -> None:
    """Wait until no other process migrates, and be in the schema, for this transaction."""
    await connection.execute(_STEPS["wait_for_others"], schema, timeout=_LOCK_SECONDS)
    await choose(connection, schema)
    if schema is not None and not await connection.fetchval(_STEPS["has_schema"], schema):
        await connection.execute(_STEPS["create_schema"])


async def choose(connection: Connection, schema: str | None) -> None:
    """Be in this schema for the rest of the transaction."""
    if schema is not None:
        await connection.execute(_STEPS["choose_schema"], schema)


async def schema_version(connection: Connection) -> int:
    """The version of the schema that the session is in; 0 for an empty one."""
    if not await connection.fetchval(_STEPS["has_migrations"]):
        return 0
    return int(await connection.fetchval(_STEPS["schema_version"]))


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
            "run `aiki migrate` with the role that owns the schema"
        )
