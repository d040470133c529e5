"""A pool of sessions for one purpose, so that none waits behind another purpose's."""

from __future__ import annotations

import asyncio

from aiki.clock import SYSTEM
from aiki.errors import StoreUnavailable
from aiki.store.mysql.address import Address
from aiki.store.mysql.connection import IDLE_SECONDS, Purpose, open_connection
from aiki.store.mysql.statements import Counts, Statements

_WAIT_SECONDS = 5.0
_REST_SECONDS = IDLE_SECONDS / 2
"""Who was idle for so long is closed here, before the server does it and complains."""


class Pool:
    """Up to `size` sessions, opened when they are needed; the one used last is used next."""

    def __init__(self, address: Address, purpose: Purpose, size: int, counts: Counts) -> None:
        self._address = address
        self._purpose = purpose
        self._counts = counts
        self._size = size
        self._free = asyncio.Semaphore(size)
        self._slots = set(range(size))
        self._idle: list[tuple[float, Statements]] = []
        """With the monotonic seconds since when."""
        self._used: set[Statements] = set()
        self._leaving: set[asyncio.Task[None]] = set()
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
            statements = self._take_idle() or await self._connect()
            if self._is_closed:
                statements.connection.terminate()
                raise StoreUnavailable("the store was closed meanwhile")
        except BaseException:
            self._free.release()
            raise
        self._used.add(statements)
        statements.slot = self._slots.pop()
        return statements

    async def _connect(self) -> Statements:
        connection = await open_connection(self._address, self._purpose)
        return Statements(connection, self._counts)

    def _take_idle(self) -> Statements | None:
        self._close_the_idle()
        while self._idle:
            _, statements = self._idle.pop()
            if not statements.connection.is_closed():
                return statements
        return None

    def _close_the_idle(self) -> None:
        oldest = SYSTEM.monotonic() - _REST_SECONDS
        while self._idle and self._idle[0][0] < oldest:
            _, statements = self._idle.pop(0)
            task = asyncio.create_task(statements.connection.close())
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    def release(self, statements: Statements, *, broken: bool = False) -> None:
        """Give a session back; one that is broken, or not at rest, is closed."""
        self._used.discard(statements)
        self._slots.add(statements.slot)
        self._free.release()
        if broken or self._is_closed:
            statements.connection.terminate()
        else:
            self._idle.append((SYSTEM.monotonic(), statements))
            self._close_the_idle()

    def forget(self) -> None:
        """Close what is idle: where one session was lost, the others may be dead too."""
        for _, statements in self._idle:
            statements.connection.terminate()
        self._idle.clear()

    async def close(self) -> None:
        """Close every session; whoever still uses one loses it."""
        self._is_closed = True
        try:
            while self._idle:
                await self._idle[-1][1].connection.close()
                self._idle.pop()
            await asyncio.gather(*self._leaving)
        finally:
            self.forget()
            for statements in self._used:
                statements.connection.terminate()
