"""A broker in memory, and engines that announce their ready runs there."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from aiki.engine.engine import Engine, EngineSettings
from aiki.engine.publishing import Publishing
from aiki.errors import QueueUnavailable
from aiki.model.audit import Principal
from aiki.queue.message import Message
from aiki.queue.publisher import LiveRuns, Publication, Published
from tests.engine.support import Ring
from tests.support.databases import store_at
from tests.support.faults import FaultyStore

RARELY_MS = 10_000_000
BY_HAND = EngineSettings(
    daemons=False, republish_interval_ms=RARELY_MS, sweep_interval_ms=RARELY_MS
)
"""What happens at intervals happens when the test says so."""


class Board:
    """A broker in memory: what it holds, and whether it answers."""

    name = "board"
    one_look_proves = True

    def __init__(self) -> None:
        self.held: dict[str, Message] = {}
        self.away = False
        self.told = asyncio.Event()
        self.answering = asyncio.Event()
        """While it is not set, whoever asks waits for an answer."""
        self.answering.set()
        self.calls = 0
        self.asking = 0
        """How many wait for an answer now."""
        self.looks = 0
        """How often it was asked what is gone."""
        self._next = 0

    async def open(self) -> None:
        await self._answer()

    async def publish(self, messages: Sequence[Message]) -> list[Publication]:
        await self._answer()
        places = []
        for message in messages:
            self._next += 1
            self.held[str(self._next)] = message
            places.append(Publication(str(self._next), "first"))
        self.told.set()
        return places

    async def missing(self, published: Sequence[Published]) -> list[Message]:
        self.looks += 1
        await self._answer()
        return [each.message for each in published if each.publication.entry not in self.held]

    async def sweep(self, live: LiveRuns) -> int:
        await self._answer()
        held = dict(self.held)
        known = await live([message.run_id for message in held.values()])
        dead = [entry for entry, message in held.items() if message.run_id not in known]
        for entry in dead:
            del self.held[entry]
        return len(dead)

    async def ping(self) -> None:
        await self._answer()

    async def close(self) -> None:
        """Nothing is held open."""

    async def _answer(self) -> None:
        self.calls += 1
        self.asking += 1
        await self.answering.wait()
        self.asking -= 1
        if self.away:
            raise QueueUnavailable("the board is away")

    @property
    def runs(self) -> list[str]:
        return [message.run_id for message in self.held.values()]

    def lose(self, run_id: str) -> None:
        entry = next(entry for entry, message in self.held.items() if message.run_id == run_id)
        del self.held[entry]


@asynccontextmanager
async def announced(
    path: Path, settings: EngineSettings = BY_HAND
) -> AsyncIterator[tuple[Ring, Board, Publishing]]:
    """An engine with a broker."""
    ring, board = Ring(path), Board()
    ring.engine = Engine(ring.store, settings, board)
    ring.api = ring.engine.session(Principal())
    if isinstance(ring.store, FaultyStore):
        # A duty whose answer was lost is done again later, and the tests count each one.
        ring.store.pause(sys.maxsize)
    await ring.engine.start()
    try:
        yield ring, board, publishing_of(ring.engine)
    finally:
        await ring.engine.stop()
        await ring.store.close()


@asynccontextmanager
async def beside(
    path: Path, board: Board, settings: EngineSettings = BY_HAND
) -> AsyncIterator[Publishing]:
    """Another engine on the same database, with the same broker."""
    engine = Engine(store_at(path), settings, board)
    await engine.start()
    try:
        yield publishing_of(engine)
    finally:
        await engine.stop()


def publishing_of(engine: Engine) -> Publishing:
    assert engine.publishing is not None
    return engine.publishing


async def turns_until(condition: Callable[[], object]) -> None:
    """Let the loop turn until it is so."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
