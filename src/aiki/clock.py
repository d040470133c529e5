"""Time and chance: the only module that reads a clock, sleeps on one, or draws a random number."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from typing import Protocol

Instant = int
"""Milliseconds since 1970-01-01T00:00Z, on the database's clock unless said otherwise."""


class Clock(Protocol):
    """A process's own clocks: durations by `monotonic`, never dates."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""
        ...

    def wall(self) -> Instant:
        """This machine's date; only a store may turn it into an instant that decides anything."""
        ...


class SystemClock:
    """The operating system's clocks."""

    monotonic = staticmethod(time.monotonic)

    def wall(self) -> Instant:
        return time.time_ns() // 1_000_000


SYSTEM = SystemClock()


def jitter(spread: float) -> float:
    """A factor drawn evenly from [1 - spread, 1 + spread]."""
    return 1.0 + spread * (2.0 * random.random() - 1.0)


def to_datetime(instant: Instant) -> datetime:
    """The instant as an aware datetime in UTC."""
    return datetime.fromtimestamp(instant // 1000, UTC).replace(microsecond=instant % 1000 * 1000)


def from_datetime(when: datetime) -> Instant:
    """An aware datetime as an instant, rounded up: what waits for it is never early."""
    if when.tzinfo is None:
        raise ValueError(f"{when!r} has no time zone; use datetime(..., tzinfo=UTC)")
    delta = when - datetime(1970, 1, 1, tzinfo=UTC)
    micros = (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
    return -(-micros // 1000)
