"""A store that does what it is asked and then says, now and then, that it does not know.

It stands for a database whose answer to COMMIT is lost: the work is done, and whoever asked is told
of a time-out. Whatever Aiki promises must hold with it: nothing lost, nothing done twice.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, TypeVar

from aiki.engine.batch import Batch
from aiki.errors import StoreUnavailable
from aiki.store.protocol import Store, Work

if TYPE_CHECKING:
    import pytest

R = TypeVar("R")


class FaultyStore:
    """Wraps a store; everything but `transact` is passed through."""

    def __init__(self, store: Store, share: float, seed: int = 1) -> None:
        self._store = store
        self._share = share
        self._chance = random.Random(seed)
        self.faults = 0
        self._paused = 0

    def pause(self, transactions: int) -> None:
        """No faults for so many transactions: a test looks at exactly these."""
        self._paused = transactions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def transact(self, work: Work[R]) -> R:
        """The work is committed, and yet it may be reported as timed out."""
        answer = await self._store.transact(work)
        if self._paused:
            self._paused -= 1
        elif self._chance.random() < self._share:
            self.faults += 1
            raise StoreUnavailable("the database did not answer in time (a fault of the test)")
        return answer


def cannot_save(run_id: str, error: Exception, patch: pytest.MonkeyPatch) -> None:
    """Let every transaction fail that saves an entry of this run."""
    flush = Batch.flush

    async def fail(batch: Batch) -> None:
        if any(row.run_id == run_id for row in batch.entries):
            raise error
        await flush(batch)

    patch.setattr(Batch, "flush", fail)
