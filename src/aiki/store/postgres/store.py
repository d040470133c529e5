"""The PostgreSQL store: sessions for writing, reading and browsing, and one for news."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, TypeVar

from aiki import ids
from aiki.clock import SYSTEM
from aiki.errors import ConfigurationError
from aiki.store.postgres import migrations
from aiki.store.postgres.address import Address, channel_of
from aiki.store.postgres.connection import QUERIES, Connection, Dialect, open_dialect, refusal
from aiki.store.postgres.pool import Pool, close
from aiki.store.postgres.presence import Presence
from aiki.store.postgres.run_verbs import Latest
from aiki.store.postgres.session import Session
from aiki.store.postgres.statements import Counts, Statements
from aiki.store.postgres.trouble import DRIVER_ERRORS, Retries, Trouble, check_values, trouble_of
from aiki.store.postgres.work_verbs import PostgresTransaction
from aiki.store.records import ALL_NEWS, News

logger = logging.getLogger("aiki.store")
R = TypeVar("R")
_Work = Callable[[PostgresTransaction], Awaitable[R]]
_WRITERS = 4
"""The engine writes in two lanes; each has a session that no read can take from it."""
_BROWSERS = 4
_REST_SECONDS = 5.0
"""How long a replica is left alone after it failed."""


class _Opened(NamedTuple):
    """What an open store has."""

    pooled: bool
    """A pooler stands between: it has to be told where one work begins and ends."""
    channel: str
    writers: Pool
    readers: Pool
    browsers: Pool | None
    session: Session | None
    presence: Presence | None


class PostgresStore:
    """Implements `aiki.store.protocol.Store`; driven by the loop that opened it."""

    name = "postgresql"
    schema_version = migrations.SCHEMA_VERSION
    shared = True

    POLL_MS = (250, 2_000)
    """Where nothing tells: the pauses between looks, while anybody waits and otherwise."""

    def __init__(
        self,
        url: str,
        *,
        read_url: str | None = None,
        listen_url: str | None = None,
        pool_size: int = 10,
        migrate: bool = True,
    ) -> None:
        """`read_url` is a replica for lists; `listen_url` goes past a pooler, for news.

        `pool_size` bounds the sessions for reads. Without `migrate` an older schema is refused.
        """
        self._url = url
        self._address = Address.parse(url)
        self._read_address = None if read_url is None else self._beside(read_url)
        self._listen_address = None if listen_url is None else self._beside(listen_url)
        self._pool_size = pool_size
        self._migrate = migrate
        self._counts = Counts()
        self._latest = Latest()
        self._sender = ids.new_id()[-12:]
        self._resting_until = 0.0
        self._opened: _Opened | None = None

    def _beside(self, url: str) -> Address:
        """Another way to the same tables: the schema is the same unless it says otherwise."""
        address = Address.parse(url)
        return address if address.schema else address._replace(schema=self._address.schema)

    @property
    def statements_executed(self) -> int:
        """Statements so far on all sessions, transaction brackets included."""
        return self._counts.statements

    @property
    def round_trips(self) -> int:
        """How often the database was waited for; a statement's first use on a session is two."""
        return self._counts.round_trips

    # Life

    async def open(self) -> None:
        """Connect, and bring the schema up to date, or refuse it."""
        dialect, connection = await open_dialect(self._address)
        try:
            schema = await self._check_schema(connection)
        except DRIVER_ERRORS as error:
            raise refusal(self._address, error) from error
        finally:
            await close(connection)
        browsers = None
        if self._read_address is not None:
            browsers = Pool(dialect._replace(address=self._read_address), _BROWSERS, self._counts)
        session = await self._open_session(dialect, schema)
        self._opened = _Opened(
            dialect.pooled,
            channel_of(schema),
            Pool(dialect, _WRITERS, self._counts),
            Pool(dialect, self._pool_size, self._counts),
            browsers,
            session,
            None if session is None else Presence(session),
        )

    async def _check_schema(self, connection: Connection) -> str:
        """The name of the schema, whose version is this Aiki's."""
        async with connection.transaction():
            await migrations.choose(connection, self._address.schema)
            version = await migrations.schema_version(connection)
        migrations.check_not_newer(version)
        if version < self.schema_version:
            if not self._migrate:
                migrations.check_not_older(version)
            await migrations.migrate(self._url)
        async with connection.transaction():
            await migrations.choose(connection, self._address.schema)
            schema = await connection.fetchval(QUERIES["where_am_i"])
        return str(schema)

    async def _open_session(self, dialect: Dialect, schema: str) -> Session | None:
        """Where a pooler stands between, sessions do not last: then others are asked, not heard."""
        if self._listen_address is not None:
            dialect, connection = await open_dialect(self._listen_address)
            await close(connection)
        address = dialect.address
        if dialect.pooled:
            logger.warning(
                "%s is reached through a pooler, where nothing can be listened to and no lock "
                "proves that a worker lives: others' news is polled for, and leases alone apply; "
                "give the store a direct listen_url",
                address.label,
            )
            return None
        session = Session(dialect, schema, self._sender)
        try:
            await session.open()
        except DRIVER_ERRORS as error:
            raise refusal(address, error) from error
        return session

    async def close(self) -> None:
        """Close all sessions."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        if opened.session is not None:
            await opened.session.close()
        for pool in (opened.writers, opened.readers, opened.browsers):
            if pool is not None:
                await pool.close()

    def _open(self) -> _Opened:
        if self._opened is None:
            raise ConfigurationError(f"the store {self._address.label} is not open")
        return self._opened

    # Transactions

    async def transact(self, work: _Work[R]) -> R:
        """Run `work` in one write transaction; the whole of it is repeated on transient errors."""
        opened = self._open()
        retries = Retries(self._address.label)
        repeated = False
        while True:
            statements: Statements | None = None
            committing: list[None] = []
            try:
                statements = await opened.writers.acquire()
                # Whoever stood in another's way takes locks from the beginning.
                begun = opened.pooled or retries.tries > 0
                if begun:
                    await statements.begin("begin")
                tx = PostgresTransaction(
                    statements,
                    self._latest,
                    writing=True,
                    repeated=repeated,
                    sender=(opened.channel, self._sender),
                    begun=begun,
                )
                result = await _write(tx, work, statements, committing)
            except BaseException as error:
                trouble = await self._give_back(opened.writers, statements, error)
                if trouble is None:
                    raise
                check_values(error)
                # Nobody knows whether a COMMIT was obeyed whose answer did not come.
                repeated = repeated or bool(committing and trouble is Trouble.LOST)
                await retries.pause(error)
            else:
                opened.writers.release(statements)
                return result

    async def read(self, work: _Work[R]) -> R:
        """Run `work` on one consistent snapshot; it must not write."""
        return await self._read(self._open().readers, work, Retries(self._address.label))

    async def glance(self, work: _Work[R]) -> R:
        """Each statement by itself."""
        opened = self._open()
        retries = Retries(self._address.label)
        return await self._read(opened.readers, work, retries, opened.pooled)

    async def browse(self, work: _Work[R]) -> R:
        """Like `read`, on the replica, while there is one that answers."""
        browsers = self._open().browsers
        if browsers is None or SYSTEM.monotonic() < self._resting_until:
            return await self.read(work)
        try:
            return await self._read(browsers, work, None)
        except DRIVER_ERRORS as error:
            self._resting_until = SYSTEM.monotonic() + _REST_SECONDS
            logger.warning("the replica cannot answer, the primary is asked: %r", error)
            return await self.read(work)

    async def _read(
        self, pool: Pool, work: _Work[R], retries: Retries | None, bracketed: bool = True
    ) -> R:
        while True:
            statements: Statements | None = None
            try:
                statements = await pool.acquire()
                if bracketed:
                    await statements.begin("begin_read")
                statements.failure = None
                tx = PostgresTransaction(statements, self._latest, writing=False)
                result = await work(tx)
                if bracketed:
                    await statements.run("commit")
            except BaseException as error:
                trouble = await self._give_back(pool, statements, error)
                if trouble is None or retries is None:
                    raise
                check_values(error)
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
        ours = error is not statements.failure
        trouble = None if ours else trouble_of(error)
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
        """What other stores told; all news after a silence, or where nothing can be told."""
        session = self._open().session
        if session is not None:
            return await session.wait()
        busy, idle = self.POLL_MS
        await asyncio.sleep((busy if waiting() else idle) / 1000)
        return ALL_NEWS

    async def announce(self, incarnation: str) -> None:
        """Hold a lock that ends with this process's session."""
        session = self._open().session
        if session is not None:
            await session.hold(incarnation)

    async def withdraw(self, incarnation: str) -> None:
        """Let go of the lock; of a dead incarnation, forget it."""
        session = self._open().session
        if session is not None:
            await session.let_go(incarnation)

    async def dead(self, incarnations: Iterable[str]) -> list[str]:
        """Those that were announced, and whose lock nobody held at two looks."""
        presence = self._open().presence
        suspects = [] if presence is None else presence.suspects(incarnations)
        if presence is None or not suspects:
            return []
        free = await self.read(lambda tx: tx.free_presences(suspects))
        return presence.judge(free)


async def _write(
    tx: PostgresTransaction, work: _Work[R], statements: Statements, committing: list[None]
) -> R:
    statements.failure = None
    result = await work(tx)
    await tx.finish(lambda: committing.append(None))
    return result


async def _roll_back(statements: Statements, error: BaseException) -> bool:
    """Whether the session is at rest again."""
    if isinstance(error, asyncio.CancelledError) or statements.connection.is_closed():
        return False
    failure = statements.failure
    try:
        await statements.run("rollback")
    except DRIVER_ERRORS:
        return False
    finally:
        statements.failure = failure
    return True
