"""A pool of sessions for one purpose, so that none waits behind another purpose's."""

from __future__ import annotations

import asyncio

from aiki.errors import StoreUnavailable
from aiki.store.postgres.connection import Connection, Dialect
from aiki.store.postgres.statements import Counts, Statements

_WAIT_SECONDS = 5.0


class Pool:
    """Up to `size` sessions, opened when they are needed; the one used last is used next."""

    def __init__(self, dialect: Dialect, size: int, counts: Counts) -> None:
        self._dialect = dialect
        self._counts = counts
        self._size = size
        self._free = asyncio.Semaphore(size)
        self._idle: list[Statements] = []
        self._used: set[Statements] = set()
        self._is_closed = False

    async def acquire(self) -> Statements:
        """A session that nobody else uses.

        Raises `StoreUnavailable` where all stay in use, and what the driver raises.
        """
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            raise StoreUnavailable(
                f"all {self._size} connections stay in use: the database is slow, or the pool is "
                "too small"
            ) from None
        try:
            statements = self._take_idle() or self.adopt(await self._dialect.connect())
            if self._is_closed:
                statements.connection.terminate()
                raise StoreUnavailable("the store was closed meanwhile")
        except BaseException:
            self._free.release()
            raise
        self._used.add(statements)
        return statements

    def adopt(self, connection: Connection) -> Statements:
        """Statements on a session of this pool's kind."""
        return Statements(connection, self._dialect, self._counts)

    def keep(self, statements: Statements) -> None:
        """Have this session at hand."""
        self._idle.append(statements)

    def _take_idle(self) -> Statements | None:
        while self._idle:
            statements = self._idle.pop()
            if not statements.connection.is_closed():
                return statements
        return None

    def release(self, statements: Statements, *, broken: bool = False) -> None:
        """Give a session back; one that is broken, or not at rest, is closed."""
        self._used.discard(statements)
        self._free.release()
        connection = statements.connection
        broken = broken or self._is_closed
        if broken or connection.is_closed() or connection.is_in_transaction():
            connection.terminate()
        else:
            self._idle.append(statements)

    def forget(self) -> None:
        """Close what is idle: where one session was lost, the others may be dead too."""
        for statements in self._idle:
            statements.connection.terminate()
        self._idle.clear()

    async def close(self) -> None:
        """Close every session; whoever still uses one loses it."""
        self._is_closed = True
        try:
            while self._idle:
                await close(self._idle[-1].connection)
                self._idle.pop()
        finally:
            self.forget()
            for statements in self._used:
                statements.connection.terminate()


async def close(connection: Connection) -> None:
    """Say goodbye, but not for long."""
    try:
        await connection.close(timeout=1.0)
    except BaseException as error:
        connection.terminate()
        if not isinstance(error, Exception):
            raise
