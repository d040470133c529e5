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
        self._standing: Instant | None = None

    def learn(self, instant: Instant, *, exactly: bool = False) -> None:
        """An answer with this instant has just arrived; `exactly` forgets what was assumed."""
        if not instant:
            return
        if self._standing is not None and instant <= self._standing:
            return
        offset = instant - self.clock.monotonic() * 1000
        known = self._offset_ms
        if (
            exactly
            or known is None
            or offset > known
            or offset < known - _STEPPED_BACK_MS
            or self._standing is not None
        ):
            self._offset_ms = offset
        self._standing = None

    def distrust(self, instant: Instant) -> None:
        """The database's clock is behind what was assumed: it may stand still after a step back.

        Until an answer shows that it moves, nothing is assumed beyond this instant.
        """
        self._standing = instant

    @property
    def distrusted(self) -> bool:
        """Whether the database must be asked before a timer may fire."""
        return self._standing is not None

    def now(self) -> Instant:
        """An instant that the database's clock has reached."""
        if self._standing is not None:
            return self._standing
        offset_ms = self._offset_ms
        # A microsecond makes good what floating point may have lost.
        return 0 if offset_ms is None else int(offset_ms + self._monotonic() * 1000 + 0.001)

    def seconds_until(self, due_at: Instant) -> float:
        """How long to wait until the due is certainly reached."""
        shortest = 0.001 if self._standing is None else 0.1
        return max(0.0, (due_at - self.now()) / 1000) + shortest
