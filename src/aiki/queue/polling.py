"""Polling: the server is asked at intervals, and answers early what becomes ready meanwhile.

A request is held by the server for the length of the pause. Inside one process, and over a
connection that can wait, no run waits for the next poll; polling is what remains when news is lost.
"""

from __future__ import annotations

import asyncio

from aiki.operations.work import Claims
from aiki.queue.pacing import Pacing
from aiki.queue.subscriber import Ask, Interest


class _Polling:
    def __init__(self, pacing: Pacing, retry: Pacing) -> None:
        self._pacing = pacing
        self._retry = retry
        self._pause_ms = 0

    async def open(self, interest: Interest) -> None:
        """Polling needs no preparation."""

    async def next(self, capacity: int) -> Ask:
        if self._pause_ms:
            await asyncio.sleep(self._pause_ms / 1000)
            self._pause_ms = 0
        return Ask(capacity, self._pacing.pause_ms())

    def learn(self, claims: Claims) -> None:
        self._retry.found()
        if claims.runs:
            self._pacing.found()
        else:
            self._pacing.empty()

    def ended(self, run_id: str) -> None:
        """Polling holds nothing for a run."""

    def failed(self, error: Exception) -> None:
        self._pause_ms = self._retry.pause_ms()
        self._retry.empty()

    def note_announcing(self, announcing: bool) -> None:
        """Polling needs no announcements."""

    async def close(self) -> None:
        """Nothing is held."""


class SimplePolling(_Polling):
    """Polls at a fixed interval: the default for development."""

    def __init__(self, *, poll_interval_ms: int = 1_000) -> None:
        super().__init__(
            Pacing(poll_interval_ms, poll_interval_ms),
            Pacing(100, 5_000, spread=0.5),
        )


class AdaptivePolling(_Polling):
    """Polls often while there is work, and backs off while there is none; spread by jitter."""

    def __init__(
        self,
        *,
        min_poll_interval_ms: int = 50,
        max_poll_interval_ms: int = 5_000,
        backoff_factor: float = 2.0,
        jitter: float = 0.2,
    ) -> None:
        super().__init__(
            Pacing(min_poll_interval_ms, max_poll_interval_ms, backoff_factor, jitter),
            Pacing(100, 5_000, spread=0.5),
        )
