"""Pacing: how long to pause between looks, by what the looks found."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from aiki.clock import jitter as draw_jitter
from aiki.errors import ConfigurationError

T = TypeVar("T")


class Pacing:
    """An interval that grows while nothing is found, and shrinks at once when something is."""

    def __init__(
        self,
        minimum_ms: int,
        maximum_ms: int,
        factor: float = 2.0,
        spread: float = 0.0,
        draw: Callable[[float], float] = draw_jitter,
    ) -> None:
        if minimum_ms < 1 or maximum_ms < minimum_ms:
            raise ConfigurationError(
                f"intervals {minimum_ms} to {maximum_ms} ms: 1 or more, and in this order"
            )
        if factor < 1.0:
            raise ConfigurationError(f"backoff_factor={factor}: at least 1.0")
        if not 0.0 <= spread < 1.0:
            raise ConfigurationError(f"jitter={spread}: from 0.0 to below 1.0")
        self._minimum_ms = minimum_ms
        self._maximum_ms = maximum_ms
        self._factor = factor
        self._spread = spread
        self._draw = draw
        self._interval_ms = float(minimum_ms)

    @property
    def interval_ms(self) -> float:
        """The interval before jitter."""
        return self._interval_ms

    def found(self) -> None:
        """Something was there: look again soon."""
        self._interval_ms = float(self._minimum_ms)

    def empty(self) -> None:
        """Nothing was there: look less often."""
        self._interval_ms = min(self._interval_ms * self._factor, float(self._maximum_ms))

    def pause_ms(self) -> int:
        """The next pause, with its jitter."""
        if self._spread == 0.0:
            return round(self._interval_ms)
        return max(1, round(self._interval_ms * self._draw(self._spread)))


def divide(capacity: int, shares: list[T]) -> list[tuple[T, int]]:
    """Divide a capacity round-robin: 10 over three is 4, 3, 3; shares of none are left out."""
    if not shares:
        return []
    base, rest = divmod(capacity, len(shares))
    counted = [(share, base + (place < rest)) for place, share in enumerate(shares)]
    return [(share, count) for share, count in counted if count]
