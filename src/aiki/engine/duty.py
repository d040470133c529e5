"""A duty: what one server at a time does for all that share a database.

Whoever has it holds a row of the database for a while, and says again and again that it goes on. A
server that dies is followed by another when that while is over.
"""

from __future__ import annotations

from aiki.clock import SYSTEM, Clock
from aiki.ids import new_id
from aiki.store.protocol import Store, Transaction

LEASE_MS = 10_000
_RENEWAL = 0.25
"""The part of a lease after which it is renewed."""


class Duty:
    """One server's part in it: whether it is this server's turn."""

    def __init__(self, store: Store, name: str, clock: Clock = SYSTEM) -> None:
        self._store = store
        self._name = name
        self._clock = clock
        self._holder = new_id()
        self._taken_at: float | None = None

    @property
    def is_held(self) -> bool:
        """Whether no other server can have had it since it was taken here."""
        return self._age_ms() < LEASE_MS

    async def take(self) -> bool:
        """Have it, unless another server does."""
        before = self._clock.monotonic()
        taken = await self._claim(LEASE_MS)
        self._taken_at = before if taken else None
        return taken

    async def keep(self) -> bool:
        """Go on with it. False where it was over meanwhile: what was read may be done by others."""
        if self._age_ms() < LEASE_MS * _RENEWAL:
            return True
        return self.is_held and await self.take()

    async def leave(self) -> None:
        """Let another server have it at once."""
        if self.is_held:
            self._taken_at = None
            await self._claim(0)

    def _age_ms(self) -> float:
        if self._taken_at is None:
            return LEASE_MS
        return (self._clock.monotonic() - self._taken_at) * 1000

    async def _claim(self, lease_ms: int) -> bool:
        async def claim(tx: Transaction) -> bool:
            now = await tx.now()
            return await tx.take_duty(self._name, self._holder, now, now + lease_ms)

        return await self._store.transact(claim)
