"""A session with the database: how it is opened, what it is set to, and how statements pass."""

from __future__ import annotations

import asyncio
import enum
import re
from typing import Any, cast

import asyncmy
from asyncmy.constants.CLIENT import FOUND_ROWS
from asyncmy.constants.FIELD_TYPE import VAR_STRING
from asyncmy.converters import conversions  # pyright: ignore[reportUnknownVariableType]
from asyncmy.cursors import Cursor

from aiki.errors import ConfigurationError, StoreUnavailable
from aiki.store.mysql.address import Address
from aiki.store.mysql.template import Template
from aiki.store.mysql.trouble import DRIVER_ERRORS, describe, is_misconfigured, is_unavailable
from aiki.store.named_sql import load_sql

Row = tuple[Any, ...]
TEMPLATES = {
    name: Template(sql)
    for file in ("queries.sql", "lists.sql", "session.sql")
    for name, sql in load_sql("aiki.store.mysql", file).items()
}
CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 6.0
"""A little longer than the server's own limit, which tells more."""
STATEMENT_SECONDS = 5
LOCK_WAIT_SECONDS = 2
IDLE_SECONDS = 10
"""A server process that froze inside a transaction must not hold its locks for longer."""
OLDEST_MARIADB = (10, 6, 0)
OLDEST_MYSQL = (8, 0, 21)
LEAST_PACKET_BYTES = 16 * 1024 * 1024
"""What the largest row may need: a value and its arguments, each byte of them escaped."""

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(-MariaDB)?")


class Purpose(enum.Enum):
    """What a session is for; the name of the section that sets it."""

    WRITE = "settle_writer"
    READ = "settle_reader"
    HOLD = "settle_holder"


def _decoded(value: bytes | str) -> str:
    """Texts are kept as VARBINARY, payloads as BLOB: so the type of a column tells them apart."""
    return value.decode() if isinstance(value, bytes) else value


# The driver's own annotations say little.
_connect: Any = cast("Any", asyncmy).connect
_conversions: dict[Any, Any] = {**conversions, VAR_STRING: _decoded}


class _SilentCursor(Cursor):
    """A cursor that does not ask for warnings: that would be a round trip each time."""

    async def _show_warnings(self, conn: object) -> None:
        return None


class Connection:
    """One session. After a deadline, a cancellation or a broken line it is closed for good."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._cursor: Any = driver.cursor(_SilentCursor)

    @property
    def version(self) -> str:
        """The server's, in its own words."""
        return str(self._driver.get_server_info())

    @property
    def id(self) -> int:
        """The server's number of the session."""
        return int(self._driver.thread_id())

    def is_closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return not self._driver.connected

    async def wait_closed(self) -> None:
        """Return when the line is gone, whoever ended it; nothing has to be sent to learn it."""
        await self._driver._proto.wait_closed()

    async def send(self, packet: bytes, seconds: float | None = None) -> list[list[Row]]:
        """Send statements in one packet; answers the rows of each.

        After one that fails, the server does not begin the next. Raises what the driver raises, or
        `TimeoutError`.
        """
        results: list[list[Row]] = []
        try:
            async with asyncio.timeout(COMMAND_SECONDS if seconds is None else seconds):
                await self._cursor.execute(packet)
                results.append(await self._cursor.fetchall())
                while await self._cursor.nextset():
                    results.append(await self._cursor.fetchall())
        except (asyncio.CancelledError, OSError):
            # What is still to come on this line answers nobody's question.
            self.terminate()
            raise
        return results

    @property
    def changed(self) -> int:
        """How many rows the last statement found to change."""
        return int(self._cursor.rowcount)

    async def run(self, name: str, *values: Any, seconds: float | None = None) -> list[Row]:
        """The rows of one named statement."""
        return (await self.send(TEMPLATES[name].fill(*values), seconds))[0]

    async def close(self) -> None:
        """Say goodbye, but not for long."""
        try:
            async with asyncio.timeout(1.0):
                await self._driver.ensure_closed()
        except DRIVER_ERRORS:
            self.terminate()
        except asyncio.CancelledError:
            self.terminate()
            raise

    def terminate(self) -> None:
        """Close without a word, and without waiting until what was written has left."""
        transport = self._driver._transport
        if transport is not None:
            transport.abort()
        self._driver.close()


async def open_connection(
    address: Address, purpose: Purpose, *, statement_seconds: int = STATEMENT_SECONDS
) -> Connection:
    """A new session, set for its purpose; `statement_seconds` of 0 are no limit.

    Raises what the driver raises, and `ConfigurationError` for a server that is too old.
    """
    async with asyncio.timeout(CONNECT_SECONDS):
        connection = Connection(await _driver(address))
        try:
            await connection.send(_settings(address, connection, purpose, statement_seconds))
        except BaseException:
            connection.terminate()
            raise
    return connection


async def _driver(address: Address) -> Any:
    task = asyncio.current_task()
    cancelled = 0 if task is None else task.cancelling()
    driver = await _connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password.encode(),
        database=address.database,
        unix_socket=address.unix_socket,
        ssl=address.ssl_context(),
        charset="utf8mb4",
        autocommit=True,
        client_flag=FOUND_ROWS,
        conv=_conversions,
        program_name="aiki",
    )
    if task is not None and task.cancelling() > cancelled:
        # The driver waits by `asyncio.wait_for`, which before Python 3.12 swallows a cancellation
        # that comes together with the connection (python/cpython#86296).
        driver.close()
        raise asyncio.CancelledError
    return driver


def _settings(
    address: Address, connection: Connection, purpose: Purpose, statement_seconds: int
) -> bytes:
    kind = "mariadb" if _is_mariadb(address, connection.version) else "mysql"
    parts = (
        TEMPLATES["settle"].fill(IDLE_SECONDS, LOCK_WAIT_SECONDS),
        TEMPLATES[purpose.value].fill(),
        TEMPLATES[f"settle_{kind}"].fill(statement_seconds),
    )
    return b";".join(parts)


def _is_mariadb(address: Address, version: str) -> bool:
    # MariaDB says that it is 5.5.5 first, for the sake of old replicas.
    found = _VERSION.search(version.removeprefix("5.5.5-"))
    if found is None:
        raise ConfigurationError(f"{address.label} says that its version is {version!r}")
    mariadb = "MariaDB" in version
    number = tuple(int(part) for part in found.groups()[:3])
    oldest = OLDEST_MARIADB if mariadb else OLDEST_MYSQL
    if number < oldest:
        kind = "MariaDB" if mariadb else "MySQL"
        needed = ".".join(map(str, oldest))
        raise ConfigurationError(
            f"{address.label} is {kind} {version}; Aiki needs {needed} or newer"
        )
    return mariadb


async def connect(url: str) -> Connection:
    """A session of one's own, to look at the tables.

    Raises `ConfigurationError` or `StoreUnavailable`.
    """
    address = Address.parse(url)
    try:
        return await open_connection(address, Purpose.WRITE)
    except DRIVER_ERRORS as error:
        raise refusal(address, error) from error


async def check_server(address: Address, connection: Connection) -> None:
    """Raise `ConfigurationError` for a server that could not take the largest row."""
    ((packet_bytes,),) = await connection.run("packet_bytes")
    if packet_bytes < LEAST_PACKET_BYTES:
        raise ConfigurationError(
            f"{address.label} takes packets of {packet_bytes} bytes; set max_allowed_packet to "
            f"{LEAST_PACKET_BYTES} or more"
        )


def refusal(address: Address, error: BaseException) -> ConfigurationError | StoreUnavailable:
    """What a failure to open becomes: the caller's mistake, or the database's trouble."""
    text = f"{address.label}: {describe(error)}"
    if is_unavailable(error) and not is_misconfigured(error):
        return StoreUnavailable(text)
    return ConfigurationError(f"cannot open {text}")
