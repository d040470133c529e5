"""A store behind a circuit breaker: while the database is away, callers are told at once."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

from aiki.clock import SYSTEM, Clock
from aiki.errors import StoreUnavailable
from aiki.queue.breaker import CircuitBreaker
from aiki.store.protocol import Store, Work

R = TypeVar("R")
_TOLERANCE = 5
"""Failures in a row that may have been chance."""
_LONGEST_PAUSE_MS = 1_000
"""A database that is back is noticed within this."""


class GuardedStore:
    """Passes everything on to a store; its transactions only while the database answers.

    Whoever asked is told by `StoreUnavailable` and repeats, so that nobody waits for connections
    that nobody gets, and a database that comes back is not met by all who waited.
    """

    def __init__(self, store: Store, clock: Clock = SYSTEM) -> None:
        self.breaker = CircuitBreaker(
            tolerance=_TOLERANCE, longest_pause_ms=_LONGEST_PAUSE_MS, clock=clock
        )
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def transact(self, work: Work[R]) -> R:
        return await self._guard(self._store.transact, work)

    async def read(self, work: Work[R]) -> R:
        return await self._guard(self._store.read, work)

    async def glance(self, work: Work[R]) -> R:
        return await self._guard(self._store.glance, work)

    async def browse(self, work: Work[R]) -> R:
        return await self._guard(self._store.browse, work)

    async def _guard(self, run: Any, work: Work[R]) -> R:
        if not self.breaker.allows():
            raise StoreUnavailable(
                f"the database {self._store.name} has not answered for a while; it is tried again "
                f"in {self.breaker.remaining_ms()} ms"
            )
        running: Awaitable[R] = run(work)
        try:
            answer = await running
        except StoreUnavailable:
            self.breaker.failed()
            raise
        self.breaker.succeeded()
        return answer
