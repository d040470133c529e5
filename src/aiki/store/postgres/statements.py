"""One session, and the statements that it runs by their names."""

from __future__ import annotations

from typing import Any

import asyncpg

from aiki.store.postgres.connection import QUERIES, Connection, Dialect

Row = asyncpg.Record


class Counts:
    """What a store has sent so far."""

    def __init__(self) -> None:
        self.statements = 0
        self.round_trips = 0


class Statements:
    """Runs named statements on a connection, and keeps the error that the driver raised."""

    def __init__(self, connection: Connection, dialect: Dialect, counts: Counts) -> None:
        self.connection = connection
        self.failure: BaseException | None = None
        """What the driver raised last: whatever else comes out of a transaction is its work's."""
        self._dialect = dialect
        self._counts = counts
        self._prepared: set[str] = set()

    async def begin(self, name: str) -> None:
        """Begin a transaction."""
        self.failure = None
        await self.run(name)
        if self._dialect.pooled:
            settings = self._dialect.settings
            await self.rows("settle", list(settings), list(settings.values()))

    async def one(self, name: str, *values: Any) -> Any:
        """The first column of the first row, or None."""
        rows = await self.rows(name, *values)
        return rows[0][0] if rows else None

    async def rows(self, name: str, *values: Any) -> list[Row]:
        """All rows."""
        self._counts.statements += 1
        self._counts.round_trips += 1 if name in self._prepared else 2
        if not self._dialect.pooled:
            self._prepared.add(name)
        try:
            return await self.connection.fetch(QUERIES[name], *values)
        except Exception as error:
            self.failure = error
            raise

    async def commit(self) -> None:
        """Commit; raises the error of the statement that made the server undo everything."""
        if await self.run("commit") != "COMMIT":
            assert self.failure is not None
            raise self.failure

    async def run(self, name: str) -> str:
        """A statement without values; answers what the server says it did."""
        self._counts.statements += 1
        self._counts.round_trips += 1
        try:
            return await self.connection.execute(QUERIES[name])
        except Exception as error:
            self.failure = error
            raise
