"""The SQLite store: a write connection, a read connection, and the proof of who is alive."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from aiki.clock import jitter
from aiki.errors import ConfigurationError, InvalidRequest, StoreUnavailable
from aiki.store.protocol import Work
from aiki.store.records import ALL_NEWS, News
from aiki.store.sqlite.connection import open_connection, refuse_network_file_system
from aiki.store.sqlite.migrations import SCHEMA_VERSION, migrate
from aiki.store.sqlite.presence import Presence
from aiki.store.sqlite.statements import Statements
from aiki.store.sqlite.work_verbs import SqliteTransaction

R = TypeVar("R")
_ATTEMPTS = 8
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class SqliteStore:
    """Implements `aiki.store.protocol.Store`.

    It is driven by one thread only, the engine's: its verbs never suspend, so that a transaction
    is one uninterrupted run of that thread, and what arrives meanwhile forms the next batch.
    """

    name = "sqlite"
    schema_version = SCHEMA_VERSION
    shared = False

    SIGNAL_MS = (20, 250)
    """The pauses between looks at what other processes did."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.presence = Presence(path)
        self._write: Statements | None = None
        self._read: Statements | None = None
        self._seen_version = 0

    async def open(self) -> None:
        refuse_network_file_system(self.path)
        connection = open_connection(self.path)
        try:
            migrate(connection)
            self._read = Statements(open_connection(self.path, read_only=True))
        except BaseException:
            connection.close()
            raise
        self._write = Statements(connection)
        self._seen_version = self._write.one("data_version")

    async def close(self) -> None:
        for statements in (self._read, self._write):
            if statements is not None:
                statements.connection.close()
        self._read = self._write = None
        self.presence.withdraw_all()

    @property
    def statements_executed(self) -> int:
        """Statements so far on both connections, transaction brackets included."""
        return sum(s.executed for s in (self._read, self._write) if s is not None)

    async def transact(self, work: Work[R]) -> R:
        for attempt in range(_ATTEMPTS):
            try:
                return await self._transact_once(work)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in _BUSY:
                    raise self._unavailable(error) from error
                await asyncio.sleep(0.02 * 2**attempt * jitter(0.5))
        raise StoreUnavailable(f"{self.path} stays locked by another process; who holds it open?")

    async def _transact_once(self, work: Work[R]) -> R:
        statements = self._opened(self._write)
        statements.run("begin")
        try:
            result = await work(SqliteTransaction(statements, writing=True))
            statements.run("commit")
        except BaseException as error:
            if statements.connection.in_transaction:
                statements.run("rollback")
            _check_values(error)
            raise
        return result

    async def read(self, work: Work[R]) -> R:
        statements = self._opened(self._read)
        statements.connection.execute("BEGIN")
        try:
            return await work(SqliteTransaction(statements, writing=False))
        except sqlite3.OperationalError as error:
            raise self._unavailable(error) from error
        except (OverflowError, UnicodeEncodeError) as error:
            _check_values(error)
            raise
        finally:
            statements.connection.execute("COMMIT")

    async def glance(self, work: Work[R]) -> R:
        return await self.read(work)

    async def browse(self, work: Work[R]) -> R:
        return await self.read(work)

    def changed(self) -> bool:
        """Whether another process committed since the last time this was asked."""
        version: int = self._opened(self._write).one("data_version")
        changed, self._seen_version = version != self._seen_version, version
        return changed

    async def wait_for_news(self, waiting: Callable[[], bool]) -> News:
        shortest, longest = self.SIGNAL_MS
        pause = float(shortest)
        while True:
            await asyncio.sleep(pause / 1000)
            if self.changed():
                return ALL_NEWS
            pause = min(pause * (1.1 if waiting() else 2) + 1, longest)

    async def announce(self, incarnation: str) -> None:
        self.presence.announce(incarnation)

    async def withdraw(self, incarnation: str) -> None:
        self.presence.withdraw(incarnation)

    async def dead(self, incarnations: Iterable[str]) -> list[str]:
        return self.presence.dead(incarnations)

    async def shift_clock(self, milliseconds: int) -> None:
        """Move the database's clock; only tests may."""
        self._opened(self._write).run("shift_clock", milliseconds)

    def _unavailable(self, error: sqlite3.Error) -> StoreUnavailable:
        return StoreUnavailable(f"{self.path}: {error}")

    def _opened(self, statements: Statements | None) -> Statements:
        if statements is None:
            raise ConfigurationError(f"the store {self.path} is not open")
        return statements


def _check_values(error: BaseException) -> None:
    """Raise `InvalidRequest` for what SQLite cannot keep: a number too large, a surrogate."""
    if isinstance(error, OverflowError | UnicodeEncodeError | sqlite3.DataError):
        raise InvalidRequest(f"a value of the request cannot be stored: {error}") from error
