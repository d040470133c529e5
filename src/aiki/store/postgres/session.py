"""The session: one connection that lives as long as the store, for news and proofs of life.

PostgreSQL ends a session's listening and its advisory locks with the session. When it breaks, the
keeper opens another, takes the locks again, and reports all news: what was told in between is
unknown.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiki.clock import SYSTEM, jitter
from aiki.store.postgres.address import channel_of
from aiki.store.postgres.connection import QUERIES, Connection, Dialect
from aiki.store.postgres.pool import close
from aiki.store.postgres.trouble import DRIVER_ERRORS
from aiki.store.records import ALL_NEWS, NO_NEWS, News

logger = logging.getLogger("aiki.store")
SILENCE_SECONDS = 2.0
"""After so long without news the session is probed, and whoever waits looks for himself."""
_LONGEST_PAUSE_SECONDS = 5.0


class Session:
    """Hears what other stores tell, and holds the locks of this process's workers."""

    def __init__(self, dialect: Dialect, schema: str, sender: str) -> None:
        self._dialect = dialect
        self._channel = channel_of(schema)
        self._sender = sender
        self._connection: Connection | None = None
        self._busy = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None
        self._broken = asyncio.Event()
        self._heard = asyncio.Event()
        self._news = NO_NEWS
        self.holding: set[str] = set()
        """Incarnations whose locks are held, or will be when the session is back."""
        self.since = 0.0
        """Monotonic seconds at which the present session began."""

    async def open(self) -> None:
        """Begin to listen; raises what the driver raises."""
        await self._connect()
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """End the session, and with it the locks."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._connection is not None:
            await close(self._connection)

    async def wait(self) -> News:
        """The next news of others; all news after a silence."""
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                await self._heard.wait()
        except TimeoutError:
            return ALL_NEWS
        self._heard.clear()
        news, self._news = self._news, NO_NEWS
        return news

    async def hold(self, incarnation: str) -> None:
        """Take its lock, and take it again whenever the session was lost."""
        self.holding.add(incarnation)
        await self._try("hold_presence", incarnation)
        await self._try("announce", incarnation)

    async def let_go(self, incarnation: str) -> None:
        """Give up its lock; it is forgotten first, so that nobody takes it for dead."""
        held = incarnation in self.holding
        self.holding.discard(incarnation)
        await self._try("withdraw", incarnation)
        if held:
            await self._try("leave_presence", incarnation)

    # The keeper

    async def _connect(self) -> None:
        connection = await self._dialect.connect()
        try:
            await connection.add_listener(self._channel, self._hear)
            taken: set[str] = set()
            # Others may be added while these are taken.
            while missing := self.holding - taken:
                incarnation = missing.pop()
                await connection.fetch(QUERIES["hold_presence"], incarnation)
                await connection.fetch(QUERIES["announce"], incarnation)
                taken.add(incarnation)
        except BaseException:
            connection.terminate()
            raise
        connection.add_termination_listener(self._lose)
        self._connection = connection
        self.since = SYSTEM.monotonic()
        self._broken.clear()
        if connection.is_closed():
            self._broken.set()

    async def _keep(self) -> None:
        pause = 0.0
        while True:
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    await self._broken.wait()
            except TimeoutError:
                await self._try("ping")
                continue
            try:
                await self._connect()
            except Exception as error:
                pause = min(pause * 2 + 0.05, _LONGEST_PAUSE_SECONDS)
                logger.warning(
                    "%s: no session for news, trying again: %s",
                    self._dialect.address.label,
                    error or type(error).__name__,
                )
                await asyncio.sleep(pause * jitter(0.5))
            else:
                pause = 0.0
                self._tell(ALL_NEWS)

    async def _try(self, name: str, *values: str) -> None:
        """Run a statement; where it fails, the session is given up, and the keeper makes another.

        Raises nothing: what it was for is done again on the next session, or ends with this one.
        """
        connection = self._connection
        if connection is None or connection.is_closed():
            return
        try:
            async with self._busy:
                await connection.fetch(QUERIES[name], *values)
        except DRIVER_ERRORS as error:
            logger.warning("%s: the session is given up: %r", self._dialect.address.label, error)
            connection.terminate()

    # What the driver calls

    def _lose(self, connection: Any) -> None:
        if connection is self._connection or self._connection is None:
            self._broken.set()

    def _hear(self, _connection: Any, _process: int, _channel: str, message: object) -> None:
        sender, _, flags = str(message).partition(" ")
        if sender == self._sender:
            return
        # Other servers may be of another version, and tell what is not known here.
        known = int(flags) & ALL_NEWS.value if flags.isdigit() else ALL_NEWS.value
        self._tell(News(known))

    def _tell(self, news: News) -> None:
        self._news |= news
        self._heard.set()
