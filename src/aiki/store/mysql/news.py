"""Pauses between looks at what others committed: MySQL tells nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SHORTEST_MS = 20.0
LONGEST_WAITING_MS = 250.0
LONGEST_IDLE_MS = 1_000.0
_GROWTH = 1.4


class Pauses:
    """Short while this process is busy, for then others may be too; growing while it is not."""

    def __init__(self) -> None:
        self._next_ms = SHORTEST_MS
        self._busy = asyncio.Event()

    def shorten(self) -> None:
        """This process committed something: the pause that lasts is cut short."""
        self._busy.set()

    async def wait(self, waiting: Callable[[], bool]) -> None:
        """One pause; it is limited more while anybody is `waiting`."""
        longest_ms = LONGEST_WAITING_MS if waiting() else LONGEST_IDLE_MS
        if not await _pause(min(self._next_ms, longest_ms), self._busy):
            self._next_ms = min(self._next_ms * _GROWTH, longest_ms)
            return
        self._busy.clear()
        self._next_ms = SHORTEST_MS
        await _pause(SHORTEST_MS, asyncio.Event())


async def _pause(milliseconds: float, cut: asyncio.Event) -> bool:
    """Whether the pause was cut."""
    try:
        async with asyncio.timeout(milliseconds / 1000):
            await cut.wait()
    except TimeoutError:
        return False
    return True
