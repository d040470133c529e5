"""A circuit breaker: what keeps failing is left alone, for longer each time, then tried again."""

from __future__ import annotations

import msgspec

from aiki.clock import SYSTEM, Clock
from aiki.queue.pacing import Pacing


class BreakerCounts(msgspec.Struct):
    """What happened so far."""

    calls: int = 0
    failures: int = 0
    openings: int = 0
    """How often it opened after it had been closed."""


class CircuitBreaker:
    """Closed: calls pass. Open: one passes after each pause, and closes it if it is answered.

    (Nygard, "Release It!", 2007, chapter 5.)
    """

    def __init__(
        self,
        *,
        tolerance: int = 1,
        first_pause_ms: int = 100,
        longest_pause_ms: int = 30_000,
        clock: Clock = SYSTEM,
    ) -> None:
        """It opens at so many failures in a row (`tolerance`)."""
        self._tolerance = tolerance
        self._in_a_row = 0
        self._pacing = Pacing(first_pause_ms, longest_pause_ms, spread=0.2)
        self._clock = clock
        self._open_until: float | None = None
        self.counts = BreakerCounts()

    @property
    def is_open(self) -> bool:
        """Whether the last calls failed."""
        return self._open_until is not None

    def allows(self) -> bool:
        """Whether a call may be tried now; who is told so while it is open tries for all."""
        if self._open_until is None:
            return True
        if self.remaining_ms() > 0:
            return False
        self._open()
        return True

    def remaining_ms(self) -> int:
        """How long to wait before the next try; 0 where one is allowed."""
        if self._open_until is None:
            return 0
        return max(0, round((self._open_until - self._clock.monotonic()) * 1000))

    def succeeded(self) -> None:
        """A call was answered: all may pass."""
        self.counts.calls += 1
        self._in_a_row = 0
        self._open_until = None
        self._pacing.found()

    def failed(self) -> None:
        """A call failed: leave it alone for a while."""
        self.counts.calls += 1
        self.counts.failures += 1
        self._in_a_row += 1
        if self._in_a_row < self._tolerance:
            return
        if self._open_until is None:
            self.counts.openings += 1
        self._open()
        self._pacing.empty()

    def _open(self) -> None:
        self._open_until = self._clock.monotonic() + self._pacing.pause_ms() / 1000
