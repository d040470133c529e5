"""The database's instant, as a worker may assume it: never ahead of the truth."""

from __future__ import annotations

from aiki.clock import Clock, Instant

_STEPPED_BACK_MS = 1_000
"""An answer so far behind means that the database's clock went another way than ours."""


class Timekeeper:
    """A lower bound of the database's clock, from the instants in answers.

    An answer's instant was read before the answer arrived; so that instant plus the time since the
    arrival is never later than the database's clock.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._monotonic = clock.monotonic
        self._offset_ms: float | None = None

    def learn(self, instant: Instant, *, exactly: bool = False) -> None:
        """An answer with this instant has just arrived; `exactly` forgets what was assumed."""
        if not instant:
            return
        offset = instant - self.clock.monotonic() * 1000
        known = self._offset_ms
        if exactly or known is None or offset > known or offset < known - _STEPPED_BACK_MS:
            self._offset_ms = offset

    def now(self) -> Instant:
        """An instant that the database's clock has reached."""
        offset_ms = self._offset_ms
        # A microsecond makes good what floating point may have lost.
        return 0 if offset_ms is None else int(offset_ms + self._monotonic() * 1000 + 0.001)

    def seconds_until(self, due_at: Instant) -> float:
        """How long to wait until the due is certainly reached."""
        return max(0.0, (due_at - self.now()) / 1000) + 0.001
