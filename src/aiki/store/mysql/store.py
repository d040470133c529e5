"""The MySQL store: sessions for writing and for reading, and one that proves who lives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, TypeVar

from aiki import ids
from aiki.errors import ConfigurationError
from aiki.store.mysql import migrations
from aiki.store.mysql.address import Address
from aiki.store.mysql.connection import Purpose, check_server, open_connection, refusal
from aiki.store.mysql.news import Heard, Listener
from aiki.store.mysql.pool import Pool
from aiki.store.mysql.presence import Holder, Judge
from aiki.store.mysql.run_verbs import Latest
from aiki.store.mysql.statements import Counts, Statements
from aiki.store.mysql.trouble import DRIVER_ERRORS, Retries, Trouble, check_values, trouble_of
from aiki.store.mysql.work_verbs import MySqlTransaction
from aiki.store.records import News

R = TypeVar("R")
_Work = Callable[[MySqlTransaction], Awaitable[R]]
_WRITERS = 4
"""The engine writes in two lanes; each has a session that no read can take from it."""


class _Opened(NamedTuple):
    """What an open store has."""

    writers: Pool
    readers: Pool
    holder: Holder
    judge: Judge


class MySqlStore:
    """Implements `aiki.store.protocol.Store`; driven by the loop that opened it."""

    name = "mysql"
    schema_version = migrations.SCHEMA_VERSION
    shared = True

    def __init__(self, url: str, *, pool_size: int = 10, migrate: bool = True) -> None:
        """`pool_size` bounds the sessions for reads. Without `migrate` an older schema is refused.

        Raises `ConfigurationError` for a URL that names no database of MySQL.
        """
        self._url = url
        self._address = Address.parse(url)
        self._pool_size = pool_size
        self._migrate = migrate
        self._counts = Counts()
        self._latest = Latest()
        self._sender = ids.new_id()[-12:]
        self._listener = Listener(self._hear)
        self._opened: _Opened | None = None

    @property
    def statements_executed(self) -> int:
        """Statements so far on all sessions, transaction brackets included."""
        return self._counts.statements

    @property
    def round_trips(self) -> int:
        """How often the database was waited for: statements that follow each other share one."""
        return self._counts.round_trips

    # Life

    async def open(self) -> None:
        """Connect, and bring the schema up to date, or refuse it."""
        holder = Holder(self._address)
        try:
            await self._check()
            await holder.open()
        except DRIVER_ERRORS as error:
            raise refusal(self._address, error) from error
        self._opened = _Opened(
            Pool(self._address, Purpose.WRITE, _WRITERS, self._counts),
            Pool(self._address, Purpose.READ, self._pool_size, self._counts),
            holder,
            Judge(holder),
        )

    async def _check(self) -> None:
        """The server can serve, and the schema is this Aiki's."""
        connection = await open_connection(self._address, Purpose.WRITE)
        try:
            await check_server(self._address, connection)
            version = await migrations.schema_version(connection)
        finally:
            await connection.close()
        migrations.check_not_newer(version)
        if version < self.schema_version:
            if not self._migrate:
                migrations.check_not_older(version)
            await migrations.migrate(self._url)

    async def close(self) -> None:
        """Close all sessions."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        await opened.holder.close()
        await opened.writers.close()
        await opened.readers.close()

    def _open(self) -> _Opened:
        if self._opened is None:
            raise ConfigurationError(f"the store {self._address.label} is not open")
        return self._opened

    # Transactions

    async def transact(self, work: _Work[R]) -> R:
        """Run `work` in one write transaction; the whole of it is repeated on transient errors."""
        pool = self._open().writers
        retries = Retries(self._address.label)
        repeated = False
        while True:
            statements: Statements | None = None
            committing = False
            try:
                statements = await pool.acquire()
                statements.begin("begin")
                tx = MySqlTransaction(
                    statements,
                    self._latest,
                    writing=True,
                    repeated=repeated,
                    sender=self._sender,
                )
                result = await work(tx)
                committing = True
                await tx.finish()
            except BaseException as error:
                trouble = await self._give_back(pool, statements, error)
                check_values(error)
                if trouble is None:
                    raise
                # Nobody knows whether a COMMIT was obeyed whose answer did not come.
                repeated = repeated or (committing and trouble is Trouble.LOST)
                await retries.pause(error)
            else:
                pool.release(statements)
                self._listener.shorten()
                return result

    async def read(self, work: _Work[R]) -> R:
        """Run `work` on one consistent snapshot; it must not write."""
        return await self._read(work, "begin_read")

    async def glance(self, work: _Work[R]) -> R:
        """Each statement by itself."""
        return await self._read(work, None)

    async def browse(self, work: _Work[R]) -> R:
        """As `read`: there are no replicas."""
        return await self.read(work)

    async def _read(self, work: _Work[R], begin: str | None) -> R:
        pool = self._open().readers
        retries = Retries(self._address.label)
        while True:
            statements: Statements | None = None
            try:
                statements = await pool.acquire()
                statements.begin(begin)
                result = await work(MySqlTransaction(statements, self._latest, writing=False))
                if begin is not None:
                    await statements.commit()
            except BaseException as error:
                trouble = await self._give_back(pool, statements, error)
                check_values(error)
                if trouble is None:
                    raise
                await retries.pause(error)
            else:
                pool.release(statements)
                return result

    async def _give_back(
        self, pool: Pool, statements: Statements | None, error: BaseException
    ) -> Trouble | None:
        """After an error: let the session go; answers the trouble, if it is the database's."""
        if statements is None:
            if not isinstance(error, DRIVER_ERRORS):
                return None
            pool.forget()
            return trouble_of(error)
        trouble = trouble_of(error) if error is statements.failure else None
        lost = trouble in (Trouble.LOST, Trouble.REFUSED)
        broken = True
        try:
            broken = lost or not await _roll_back(statements, error)
        finally:
            pool.release(statements, broken=broken)
        if lost:
            # Where one session was lost, or the server cannot write, the others are no better.
            pool.forget()
        return trouble

    async def shift_clock(self, milliseconds: int) -> None:
        """Move the database's clock; only tests may."""

        await self.transact(lambda tx: tx.shift_clock(milliseconds))

    # News and presence

    async def wait_for_news(self, waiting: Callable[[], bool]) -> News:
        """What other stores told, found by looking after pauses; all news after a silence."""
        return await self._listener.wait(waiting)

    async def _hear(self) -> Heard | None:
        """Asked on the holder's session: looks are in nobody's way, and count as no work."""
        found = await self._open().holder.ask("hear", self._sender)
        return Heard(*found[0]) if found else None

    async def announce(self, incarnation: str) -> None:
        """Hold a lock that ends with this process's session."""
        await self._open().holder.hold(incarnation)

    async def withdraw(self, incarnation: str) -> None:
        """Let go of the lock; of a dead incarnation, forget it."""
        await self._open().holder.let_go(incarnation)

    async def dead(self, incarnations: Iterable[str]) -> list[str]:
        """Those that were announced, and whose lock nobody held at two looks."""
        judge = self._open().judge
        suspects = judge.suspects(incarnations)
        if not suspects:
            return []
        free = await self.glance(lambda tx: tx.free_presences(suspects))
        return judge.judge(free)


async def _roll_back(statements: Statements, error: BaseException) -> bool:
    """Whether the session is at rest again."""
    if isinstance(error, asyncio.CancelledError) or statements.connection.is_closed():
        return False
    try:
        await statements.roll_back()
    except DRIVER_ERRORS:
        return False
    return True
