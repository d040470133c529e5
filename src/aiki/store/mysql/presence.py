"""Presence: named locks that end with this process's session prove which workers live.

The holder keeps one session open as long as the store; looks for news travel on it too. When it
breaks, another is opened and the locks are taken again. Whoever finds a lock free at two looks,
some time apart, knows that its process is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

from aiki.clock import SYSTEM, Clock, jitter
from aiki.store.mysql.address import Address
from aiki.store.mysql.connection import Connection, Purpose, Row, open_connection
from aiki.store.mysql.trouble import DRIVER_ERRORS, describe

logger = logging.getLogger("aiki.store")
PING_SECONDS = 2.0
BETWEEN_LOOKS_SECONDS = 0.5
"""A lock must be free twice, so far apart: a living process takes it again sooner."""
AFTER_RECONNECT_SECONDS = 5.0
"""What broke this process's session may have broken the others': nobody is judged so long."""
_LONGEST_PAUSE_SECONDS = 5.0


class Holder:
    """Holds the locks of this process's workers."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection: Connection | None = None
        self._busy = asyncio.Lock()
        self._gone: asyncio.Task[None] | None = None
        """Ends with the connection."""
        self._keeper: asyncio.Task[None] | None = None
        self._closing = False
        self.holding: set[str] = set()
        """Incarnations whose locks are held, or will be when the session is back."""
        self.since = 0.0
        """Monotonic seconds at which the present session began."""

    async def open(self) -> None:
        """Begin the session; raises what the driver raises."""
        await self._connect()
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """End the session, and with it the locks."""
        self._closing = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._connection is not None:
            await self._connection.close()
        if self._gone is not None:
            await self._gone

    async def hold(self, incarnation: str) -> None:
        """Take its lock, and take it again whenever the session was lost."""
        self.holding.add(incarnation)
        await self.ask("hold_presence", incarnation)
        await self.ask("announce", incarnation)

    async def let_go(self, incarnation: str) -> None:
        """Give up its lock; it is forgotten first, so that nobody takes it for dead."""
        held = incarnation in self.holding
        self.holding.discard(incarnation)
        await self.ask("withdraw", incarnation)
        if held:
            await self.ask("leave_presence", incarnation)

    async def _connect(self) -> None:
        connection = await open_connection(self._address, Purpose.HOLD)
        try:
            taken: set[str] = set()
            # Others may be added while these are taken.
            while missing := self.holding - taken:
                incarnation = missing.pop()
                await _take(connection, incarnation)
                taken.add(incarnation)
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        self._gone = asyncio.create_task(connection.wait_closed())
        self.since = SYSTEM.monotonic()

    async def _keep(self) -> None:
        pause = 0.0
        while not self._closing:
            assert self._gone is not None
            # A line that is cut is noticed at once, one that leads nowhere by a ping.
            await asyncio.wait({self._gone}, timeout=PING_SECONDS)
            if not self._gone.done():
                await self.ask("ping")
                continue
            try:
                await self._connect()
            except Exception as error:
                pause = min(pause * 2 + 0.05, _LONGEST_PAUSE_SECONDS)
                logger.warning(
                    "%s: no session for proofs of life, trying again: %s",
                    self._address.label,
                    describe(error),
                )
                await asyncio.sleep(pause * jitter(0.5))
            else:
                pause = 0.0

    async def ask(self, name: str, *values: str) -> list[Row] | None:
        """Run a statement; None where there is no session now.

        Where it fails, the session is given up, and the keeper makes another. Raises nothing: what
        it was for is done again on the next session, or ends with this one.
        """
        connection = self._connection
        if connection is None or connection.is_closed():
            return None
        try:
            async with self._busy:
                return await connection.run(name, *values)
        except DRIVER_ERRORS as error:
            logger.warning(
                "%s: the session for proofs of life is given up: %s",
                self._address.label,
                describe(error),
            )
            connection.terminate()
            return None


async def _take(connection: Connection, incarnation: str) -> None:
    ((held,),) = await connection.run("hold_presence", incarnation)
    if not held:
        raise TimeoutError(f"the lock of {incarnation} is still held by the session before")
    await connection.run("announce", incarnation)


class Judge:
    """Decides by others' locks which of them are dead."""

    def __init__(self, holder: Holder, clock: Clock = SYSTEM) -> None:
        self._holder = holder
        self._clock = clock
        self._begun = holder.since
        self._free_since: dict[str, float] = {}

    def suspects(self, incarnations: Iterable[str]) -> list[str]:
        """Those whose locks are worth a look: not this process's own."""
        if self._holder.since != self._begun:
            if self._clock.monotonic() < self._holder.since + AFTER_RECONNECT_SECONDS:
                self._free_since.clear()
                return []
            self._begun = self._holder.since
        return [one for one in incarnations if one not in self._holder.holding]

    def judge(self, free: Sequence[str]) -> list[str]:
        """Of those whose locks are free now, those that were free long enough ago too."""
        now = self._clock.monotonic()
        self._free_since = {one: self._free_since.get(one, now) for one in free}
        return [
            one for one, since in self._free_since.items() if now >= since + BETWEEN_LOOKS_SECONDS
        ]
