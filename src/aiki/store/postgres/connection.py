"""How a session with the database is opened, and what it is set to."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import asyncpg

from aiki.errors import ConfigurationError, StoreUnavailable
from aiki.store.named_sql import load_sql
from aiki.store.postgres.address import Address
from aiki.store.postgres.trouble import DRIVER_ERRORS, is_misconfigured, is_unavailable

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
QUERIES = load_sql("aiki.store.postgres", "queries.sql") | load_sql(
    "aiki.store.postgres", "lists.sql"
)
OLDEST = 14
CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 6.0
"""A little longer than the server's own limit, which tells more."""

_LIMITS = {
    "statement_timeout": "5000",
    "lock_timeout": "2000",
    # A server process that froze inside a transaction must not hold its locks for longer.
    "idle_in_transaction_session_timeout": "5000",
}
_PLANS = {
    # Each statement is meant to walk an index, whatever statistics say of tables that fill and
    # empty within seconds; so the general plan is the right one, and is made once.
    "plan_cache_mode": "force_generic_plan",
    "random_page_cost": "1.1",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
_SESSION = {
    "application_name": "aiki",
    # The server notices clients that vanished without a word.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "15000",
}


class Dialect(NamedTuple):
    """How sessions are held with this database."""

    address: Address
    pooled: bool = False
    """A pooler stands between: settings and prepared statements last for one transaction."""

    @property
    def settings(self) -> dict[str, str]:
        """What every transaction needs."""
        schema = self.address.schema
        path = {} if schema is None else {"search_path": schema}
        return _LIMITS | _PLANS | path

    async def connect(self) -> Connection:
        """A new session, set as every one is."""
        return await asyncpg.connect(
            self.address.url,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
            statement_cache_size=0 if self.pooled else 1_000,
            max_cached_statement_lifetime=0,
            max_cacheable_statement_size=0,
            server_settings=None if self.pooled else self.settings | _SESSION,
        )


async def connect(url: str) -> Connection:
    """A session of one's own with a store's schema, to look at its tables.

    Raises `ConfigurationError` or `StoreUnavailable`.
    """
    dialect = Dialect(Address.parse(url))
    try:
        return await dialect.connect()
    except (*DRIVER_ERRORS, ValueError) as error:
        raise refusal(dialect.address, error) from error


async def open_dialect(address: Address) -> tuple[Dialect, Connection]:
    """Connect for the first time, and find out whether a pooler stands between.

    PgBouncer refuses settings that it does not know; where it is told to ignore them, it betrays
    itself by a process id that is not the server's. Raises `ConfigurationError` for what cannot
    work, `StoreUnavailable` for what may work later.
    """
    dialect = Dialect(address)
    try:
        try:
            connection = await dialect.connect()
        except asyncpg.PostgresError as error:
            if "unsupported startup parameter" not in str(error):
                raise
            dialect = dialect._replace(pooled=True)
            connection = await dialect.connect()
        if not dialect.pooled and await _is_pooled(connection):
            await connection.close()
            dialect = dialect._replace(pooled=True)
            connection = await dialect.connect()
    except (*DRIVER_ERRORS, ValueError) as error:
        raise refusal(address, error) from error
    version = connection.get_server_version()
    if version.major < OLDEST:
        await connection.close()
        raise ConfigurationError(
            f"{address.label} is version {version.major}; Aiki needs {OLDEST} or newer"
        )
    return dialect, connection


async def _is_pooled(connection: Connection) -> bool:
    row = await connection.fetchrow(QUERIES["where_am_i"])
    assert row is not None
    return bool(row[1] != connection.get_server_pid())


def refusal(address: Address, error: BaseException) -> ConfigurationError | StoreUnavailable:
    """What a failure to open becomes: the caller's mistake, or the database's trouble."""
    text = f"{address.label}: {error or type(error).__name__}"
    if is_unavailable(error) and not is_misconfigured(error):
        return StoreUnavailable(text)
    return ConfigurationError(f"cannot open {text}")
