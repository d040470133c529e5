"""News: MySQL tells nobody, so every store counts what it tells, and others look at the counts.

The pauses between looks are short while somebody is busy, here or elsewhere, and grow while nobody
is. A look costs the database one small read; only what others did makes anybody here look further.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiki.store.records import ALL_NEWS, NO_NEWS, News

SHORTEST_MS = 20.0
LONGEST_WAITING_MS = 250.0
LONGEST_IDLE_MS = 1_000.0
SILENCE_MS = 2_000.0
"""After so long without news whoever waits looks for himself."""
_GROWTH = 1.4


class Heard(NamedTuple):
    """How often others told of each kind of news."""

    ready: int
    runs: int
    facts: int

    def since(self, before: Heard) -> News:
        """What differs; what expired meanwhile differs too."""
        kinds = (News.READY, News.RUNS, News.FACTS)
        news = NO_NEWS
        for kind, was, now in zip(kinds, before, self, strict=True):
            news |= kind if was != now else NO_NEWS
        return news


class Listener:
    """Looks from time to time."""

    def __init__(self, look: Callable[[], Awaitable[Heard | None]]) -> None:
        """`look` answers None while the database cannot be asked."""
        self._look = look
        self._known: Heard | None = None
        self._next_ms = SHORTEST_MS
        self._busy = asyncio.Event()

    def shorten(self) -> None:
        """This process committed something: the pause that lasts is cut short."""
        self._busy.set()

    async def wait(self, waiting: Callable[[], bool]) -> News:
        """The next news of others; all news at first, and after a silence."""
        silence_ms = 0.0
        while silence_ms < SILENCE_MS:
            silence_ms += await self._rest(waiting)
            news = self._learn(await self._look())
            if news:
                self._next_ms = SHORTEST_MS
                return news
        return ALL_NEWS

    def _learn(self, heard: Heard | None) -> News:
        if heard is None:
            return NO_NEWS
        known, self._known = self._known, heard
        return ALL_NEWS if known is None else heard.since(known)

    async def _rest(self, waiting: Callable[[], bool]) -> float:
        """One pause, limited more while anybody is `waiting`; answers how long it was meant."""
        longest_ms = LONGEST_WAITING_MS if waiting() else LONGEST_IDLE_MS
        pause_ms = min(self._next_ms, longest_ms)
        if await _pause(pause_ms, self._busy):
            self._busy.clear()
            self._next_ms = SHORTEST_MS
            await _pause(SHORTEST_MS, asyncio.Event())
        else:
            self._next_ms = min(pause_ms * _GROWTH, longest_ms)
        return pause_ms


async def _pause(milliseconds: float, cut: asyncio.Event) -> bool:
    """Whether the pause was cut."""
    try:
        async with asyncio.timeout(milliseconds / 1000):
            await cut.wait()
    except TimeoutError:
        return False
    return True
