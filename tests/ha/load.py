"""Runs that are started while something breaks, and what each of them must return."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import aiki

_AT_ONCE = 5
_LIMIT = timedelta(seconds=60)


class Load:
    """Numbered runs; those whose starts were acknowledged are followed to their ends."""

    def __init__(
        self,
        start_one: Callable[[int], Awaitable[aiki.RunHandle[Any]]],
        expected: Callable[[int], object],
    ) -> None:
        self._start_one = start_one
        self._expected = expected
        self._started = 0
        self._following: list[asyncio.Task[Any]] = []
        self.accepted: dict[str, int] = {}
        """Numbers by the ids of runs."""

    @property
    def ended(self) -> int:
        """How many of them have ended."""
        return sum(task.done() for task in self._following)

    async def start(self, count: int) -> None:
        """Start so many more, a few at a time; an error of any is raised."""
        room = asyncio.Semaphore(_AT_ONCE)

        async def start(number: int) -> None:
            async with room:
                handle = await self._start_one(number)
            self.accepted[handle.id] = number
            self._following.append(asyncio.create_task(handle.result(timeout=_LIMIT)))

        first, self._started = self._started, self._started + count
        await asyncio.gather(*(start(number) for number in range(first, self._started)))

    def adopt(self, other: Load) -> None:
        """Count the runs of another load among these."""
        self.accepted.update(other.accepted)
        self._following.extend(other._following)

    async def finish(self) -> None:
        """All end, each with its result."""
        results = await asyncio.gather(*self._following)
        numbers = sorted(self.accepted.values())
        assert sorted(results) == sorted(self._expected(number) for number in numbers)  # type: ignore[type-var]
