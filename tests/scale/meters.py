"""How much a database did: counted in its own units of work, never in time.

SQLite counts the instructions of its virtual machine, PostgreSQL the blocks that were touched, and
MySQL the rows that were read, by a session that measures nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import pytest

from aiki.model.audit import Principal
from tests.engine.support import Ring
from tests.support import databases

Question = Callable[[Ring], Coroutine[Any, Any, object]]
CALLER = Principal(remote=True)


class Meter(Protocol):
    """Asks questions of an engine on a filled database, and tells what each of them cost."""

    async def measure(self, question: Question) -> int: ...

    async def execute(self, sql: str) -> None:
        """Run a statement behind everybody's back."""
        ...

    async def settle(self) -> None:
        """The database was filled: let it look at what it holds."""
        ...

    async def close(self) -> None: ...


async def open_ring(path: Path) -> Ring:
    """An engine whose workers are elsewhere."""
    ring = Ring(path)
    ring.api = ring.engine.session(CALLER)
    await ring.engine.start()
    return ring


class SqliteMeter:
    """Counts instructions, a hundred at a time."""

    GRAIN = 100

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._count = 0
        store: Any = ring.store
        self._write = store._write.connection
        for connection in (self._write, store._read.connection):
            connection.set_progress_handler(self._tick, self.GRAIN)

    def _tick(self) -> int:
        self._count += 1
        return 0

    async def measure(self, question: Question) -> int:
        before = self._count
        await question(self._ring)
        return (self._count - before) * self.GRAIN

    async def execute(self, sql: str) -> None:
        self._write.execute(sql)

    async def settle(self) -> None:
        """SQLite plans without statistics, as Aiki never gathers any."""

    async def close(self) -> None:
        await self._ring.engine.stop()


class PostgresMeter:
    """Counts blocks, which sessions tell when they end: each question has an engine of its own."""

    def __init__(self, path: Path, connection: Any) -> None:
        self._path = path
        self._connection = connection

    async def measure(self, question: Question) -> int:
        ring = await open_ring(self._path)
        before = await self._blocks()
        await question(ring)
        await ring.engine.stop()
        return await self._blocks() - before

    async def _blocks(self) -> int:
        await self._connection.execute("SELECT pg_stat_clear_snapshot()")
        found = await self._connection.fetchval(
            "SELECT sum(coalesce(heap_blks_read, 0) + coalesce(heap_blks_hit, 0)"
            " + coalesce(idx_blks_read, 0) + coalesce(idx_blks_hit, 0))::bigint"
            " FROM pg_statio_user_tables WHERE schemaname = current_schema"
        )
        return int(found)

    async def execute(self, sql: str) -> None:
        await self._connection.execute(sql, timeout=600)

    async def settle(self) -> None:
        tables = await self._connection.fetch(
            "SELECT relname FROM pg_stat_user_tables WHERE schemaname = current_schema"
        )
        for (table,) in tables:
            # What the vacuum daemon touches would be counted too.
            await self._connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
            await self._connection.execute(f"VACUUM ANALYZE {table}", timeout=600)
        await self._connection.execute("SELECT pg_stat_force_next_flush()")

    async def close(self) -> None:
        await self._connection.close()


class MySqlMeter:
    """Counts rows that were read, as sessions tell it before they end."""

    def __init__(self, path: Path, connection: Any) -> None:
        from aiki.store.mysql.connection import Connection
        from aiki.store.mysql.trouble import DRIVER_ERRORS

        self._path = path
        self._connection = connection
        self._rows = 0
        self._patch = pytest.MonkeyPatch()
        close = Connection.close

        async def told(session: Connection) -> None:
            if session is not connection:
                # Of one that was idle for so long that the server closed it, nothing was asked.
                with suppress(*DRIVER_ERRORS):
                    self._rows += await _rows_read(session)
            await close(session)

        self._patch.setattr(Connection, "close", told)

    async def measure(self, question: Question) -> int:
        ring = await open_ring(self._path)
        self._rows = 0
        await question(ring)
        await ring.engine.stop()
        return self._rows

    async def execute(self, sql: str) -> None:
        await self._connection.send(sql.encode(), 600)

    async def settle(self) -> None:
        for (table,) in (await self._connection.send(b"SHOW TABLES"))[0]:
            await self._connection.send(f"ANALYZE TABLE {table}".encode(), 600)

    async def close(self) -> None:
        self._patch.undo()
        await self._connection.close()


async def _rows_read(session: Any) -> int:
    found = await session.send(
        b"SHOW SESSION STATUS WHERE Variable_name LIKE 'Handler_read%'"
        b" OR Variable_name = 'Handler_icp_attempts'"
    )
    return sum(int(value) for _, value in found[0])


async def open_meter(path: Path) -> Meter:
    """The meter of the database that stands for this path."""
    ring = await open_ring(path)
    if databases.KIND == "sqlite":
        return SqliteMeter(ring)
    await ring.engine.stop()
    url = databases.url_of(path)
    if databases.KIND == "postgresql":
        from aiki.store.postgres.connection import connect

        connection = await connect(url)
        await connection.execute("SET statement_timeout = 0")
        return PostgresMeter(path, connection)
    return MySqlMeter(path, await mysql_filler(url))


async def mysql_filler(url: str) -> Any:
    """A session that may take its time."""
    from aiki.store.mysql.address import Address
    from aiki.store.mysql.connection import Purpose, open_connection

    return await open_connection(Address.parse(url), Purpose.WRITE, statement_seconds=0)


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run to the end on a loop of its own."""
    asyncio.run(work())
