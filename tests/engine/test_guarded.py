"""Laws of the breaker before the database: who asks a database that is away is told at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aiki.engine.guarded import GuardedStore
from aiki.errors import StoreUnavailable
from aiki.store.sqlite.store import SqliteStore


class HandClock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def wall(self) -> int:
        return int(self.seconds * 1000)


class Cable:
    """What stands between us and a real store, and can be pulled out."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.out = False
        self.asked = 0
        self.slack = asyncio.Event()
        self.slack.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def read(self, work: Any) -> Any:
        self.asked += 1
        await self.slack.wait()
        if self.out:
            raise StoreUnavailable("the cable is out")
        return await self._store.read(work)


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[tuple[GuardedStore, Cable, HandClock]]:
    store = SqliteStore(tmp_path / "a.db")
    cable, clock = Cable(store), HandClock()
    await store.open()
    yield GuardedStore(cable, clock), cable, clock
    await store.close()


async def look(store: GuardedStore) -> int:
    return await store.read(lambda tx: tx.now())


async def test_a_few_failures_close_nothing(parts: Any) -> None:
    store, cable, _ = parts
    for _ in range(3):
        cable.out = True
        for _ in range(4):
            with pytest.raises(StoreUnavailable, match="cable"):
                await look(store)
        cable.out = False
        assert await look(store) > 0
    assert store.breaker.counts.openings == 0
    assert (store.breaker.counts.calls, store.breaker.counts.failures) == (15, 12)


async def test_a_database_that_is_away_is_left_alone_and_tried_again(parts: Any) -> None:
    store, cable, clock = parts
    cable.out = True
    for _ in range(5):
        with pytest.raises(StoreUnavailable, match="cable"):
            await look(store)
    asked = cable.asked
    with pytest.raises(StoreUnavailable, match="has not answered for a while"):
        await look(store)
    assert cable.asked == asked
    # One try after each pause, and no pause is long.
    for _ in range(10):
        clock.seconds += 1.2
        with pytest.raises(StoreUnavailable, match="cable"):
            await look(store)
    cable.out = False
    clock.seconds += 1.2
    assert await look(store) > 0
    assert await look(store) > 0
    assert store.breaker.counts.openings == 1


async def test_one_tries_for_all(parts: Any) -> None:
    """A database that comes back is not met by all who waited."""
    store, cable, clock = parts
    cable.out = True
    for _ in range(5):
        with pytest.raises(StoreUnavailable, match="cable"):
            await look(store)
    cable.out = False
    cable.slack.clear()
    clock.seconds += 1.2
    trying = asyncio.create_task(look(store))
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="has not answered for a while"):
        await look(store)
    cable.slack.set()
    assert await trying > 0
    assert await look(store) > 0


async def test_an_error_of_the_work_is_no_failure_of_the_database(parts: Any) -> None:
    store, _, _ = parts

    async def fail(tx: object) -> None:
        raise LookupError

    for _ in range(9):
        with pytest.raises(LookupError):
            await store.read(fail)
    assert store.breaker.counts.openings == 0
