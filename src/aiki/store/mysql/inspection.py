"""A look at a database by whoever asks whether it is sound; servers may go on beside it."""

from __future__ import annotations

from aiki.store.laws import Finding, Rows, examine
from aiki.store.mysql import migrations
from aiki.store.mysql.address import Address
from aiki.store.mysql.connection import connect, refusal
from aiki.store.mysql.trouble import DRIVER_ERRORS

_LONGEST_SECONDS = 3_600


async def inspect(url: str) -> list[Finding]:
    """The laws that do not hold in this database.

    Raises `ConfigurationError` for a database that is not of this version of Aiki, and
    `StoreUnavailable`.
    """
    address = Address.parse(url)
    connection = await connect(url)
    try:
        version = await migrations.schema_version(connection)
        migrations.check_not_newer(version)
        migrations.check_not_older(version)
        await connection.send(b"SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await connection.send(b"START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")

        async def ask(sql: str) -> Rows:
            (found,) = await connection.send(sql.encode(), _LONGEST_SECONDS)
            return list(found)

        return await examine(ask)
    except DRIVER_ERRORS as error:
        raise refusal(address, error) from error
    finally:
        await connection.close()
