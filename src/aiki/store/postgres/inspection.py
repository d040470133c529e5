"""A look at a schema by whoever asks whether it is sound; servers may go on beside it."""

from __future__ import annotations

from aiki.store.laws import Finding, Rows, examine
from aiki.store.postgres import migrations
from aiki.store.postgres.address import Address
from aiki.store.postgres.connection import connect, refusal
from aiki.store.postgres.trouble import DRIVER_ERRORS


async def inspect(url: str) -> list[Finding]:
    """The laws that do not hold in this database.

    Raises `ConfigurationError` for a database that is not of this version of Aiki, and
    `StoreUnavailable`.
    """
    address = Address.parse(url)
    connection = await connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await migrations.choose(connection, address.schema)
            version = await migrations.schema_version(connection)
            migrations.check_not_newer(version)
            migrations.check_not_older(version)
            # It may take longer than any statement of a server.
            await connection.execute("SET LOCAL statement_timeout = 0")

            async def ask(sql: str) -> Rows:
                return [tuple(row) for row in await connection.fetch(sql, timeout=3_600)]

            return await examine(ask)
    except DRIVER_ERRORS as error:
        raise refusal(address, error) from error
    finally:
        await connection.close()
