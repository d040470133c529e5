"""One session's statements: those that only write wait, and travel with the next that answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aiki.store.mysql.connection import TEMPLATES, Connection, Row
from aiki.store.mysql.template import Value, Values
from aiki.store.mysql.trouble import DRIVER_ERRORS

_FULL_BYTES = 4 * 1024 * 1024
"""What waits is sent before it becomes longer."""


class Counts:
    """What a store has sent so far."""

    def __init__(self) -> None:
        self.statements = 0
        self.round_trips = 0


class Statements:
    """Runs named statements on a connection, in the order in which they are given.

    The server executes a packet of statements up to the first that fails. After a failure nothing
    more is sent but `roll_back`: the server may have ended the transaction, and what followed would
    be committed by itself.
    """

    def __init__(self, connection: Connection, counts: Counts) -> None:
        self.connection = connection
        self.failure: BaseException | None = None
        """What the driver raised: whatever else comes out of a transaction is its work's."""
        self.is_open = False
        """The server was told to begin a transaction, and not yet to end it."""
        self.slot = 0
        """A number that no other session of the pool has, while this one is used."""
        self._counts = counts
        self._held: list[bytes] = []
        self._size = 0

    def begin(self, name: str | None) -> None:
        """Begin a transaction with the first statement that is sent; None: each by itself."""
        self._forget()
        self.failure = None
        self.is_open = False
        if name is not None:
            self._hold(TEMPLATES[name].fill())

    def _forget(self) -> None:
        self._held, self._size = [], 0

    async def put(self, name: str, *values: Value) -> None:
        """A statement that answers nothing: sent with the next one that does."""
        await self._keep([TEMPLATES[name].fill(*values)])

    async def put_rows(self, name: str, rows: Sequence[Values]) -> None:
        """The same, with rows."""
        await self._keep(TEMPLATES[name].fill_rows(rows))

    async def _keep(self, statements: Iterable[bytes]) -> None:
        for statement in statements:
            if self._size + len(statement) > _FULL_BYTES:
                await self.flush()
            self._hold(statement)

    def _hold(self, statement: bytes) -> None:
        self._held.append(statement)
        self._size += len(statement)

    async def flush(self) -> None:
        """Send what waits."""
        if self._held:
            await self._send([])

    async def rows(self, name: str, *values: Value) -> list[Row]:
        """All rows of one statement."""
        return (await self._send([TEMPLATES[name].fill(*values)]))[0]

    async def all_rows(self, *wanted: tuple[str, Values]) -> list[list[Row]]:
        """The rows of each of these statements, which travel together."""
        return await self._send([TEMPLATES[name].fill(*values) for name, values in wanted])

    async def commit(self) -> None:
        """Send what waits and end the transaction, unless nothing was ever sent."""
        if self.is_open or len(self._held) > 1:
            await self._send([TEMPLATES["commit"].fill()])
        self._forget()
        self.is_open = False

    async def roll_back(self) -> None:
        """End the transaction as if nothing was."""
        self._forget()
        failure, self.failure = self.failure, None
        try:
            if self.is_open:
                await self._send([TEMPLATES["rollback"].fill()])
                self.is_open = False
        finally:
            self.failure = failure

    async def _send(self, statements: Sequence[bytes]) -> list[list[Row]]:
        """What these statements answer, after what waited."""
        if self.failure is not None:
            raise self.failure
        packet = [*self._held, *statements]
        self._forget()
        self._counts.statements += len(packet)
        self._counts.round_trips += 1
        self.is_open = True
        try:
            answers = await self.connection.send(b";".join(packet))
        except DRIVER_ERRORS as error:
            self.failure = error
            raise
        return answers[len(packet) - len(statements) :]
