"""A retry policy: how often, how long apart, and for which errors."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from aiki.errors import DefinitionError, NonRetryable


def _names(classes: Sequence[type[Exception]]) -> tuple[str, ...]:
    return tuple(f"{cls.__module__}.{cls.__qualname__}" for cls in classes)


def _milliseconds(what: str, span: timedelta) -> int:
    if span < timedelta(0):
        raise DefinitionError(f"{what} is negative: {span!r}; give a timedelta of zero or more")
    return -(-(span // timedelta(microseconds=1)) // 1000)


class Retry(msgspec.Struct, frozen=True):
    """How a failed attempt is repeated. Errors are kept by qualified name: the policy travels."""

    attempts: int = 1
    base_ms: int = 0
    factor: float = 1.0
    cap_ms: int | None = None
    jitter: float = 0.0
    only: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise DefinitionError(f"attempts={self.attempts}: at least 1, the first try counts")
        if self.factor < 1.0:
            raise DefinitionError(f"factor={self.factor}: at least 1.0, delays do not shrink")
        if not 0.0 <= self.jitter <= 1.0:
            raise DefinitionError(f"jitter={self.jitter}: a share of the delay, 0.0 to 1.0")

    @staticmethod
    def never() -> Retry:
        """One attempt."""
        return Retry()

    @staticmethod
    def fixed(
        attempts: int,
        delay: timedelta,
        *,
        on: Sequence[type[Exception]] = (),
        stop_on: Sequence[type[Exception]] = (),
    ) -> Retry:
        """Up to `attempts` in all, `delay` apart; `on` limits it to some errors, `stop_on` wins."""
        base_ms = _milliseconds("delay", delay)
        return Retry(attempts, base_ms, only=_names(on), stop=_names(stop_on))

    @staticmethod
    def exponential(
        attempts: int,
        base: timedelta,
        *,
        factor: float = 2.0,
        cap: timedelta | None = None,
        jitter: float = 0.0,
        on: Sequence[type[Exception]] = (),
        stop_on: Sequence[type[Exception]] = (),
    ) -> Retry:
        """Up to `attempts` in all; the n-th pause is `base * factor ** (n - 1)`, at most `cap`.

        `jitter` spreads each pause evenly over its share: 0.5 means 50 % to 150 %.
        """
        cap_ms = None if cap is None else _milliseconds("cap", cap)
        base_ms = _milliseconds("base", base)
        return Retry(attempts, base_ms, factor, cap_ms, jitter, _names(on), _names(stop_on))

    def covers(self, error: BaseException) -> bool:
        """Whether this error may be tried again at all."""
        if isinstance(error, NonRetryable) or not isinstance(error, Exception):
            return False
        names = {f"{cls.__module__}.{cls.__qualname__}" for cls in type(error).__mro__}
        return names.isdisjoint(self.stop) and (not self.only or not names.isdisjoint(self.only))

    def delay_ms(self, failed_attempts: int, spread: float = 1.0) -> int | None:
        """The pause after so many failed attempts, or None when they are used up.

        `spread` is the drawn factor for jitter, from [1 - jitter, 1 + jitter].
        """
        if failed_attempts >= self.attempts:
            return None
        return round(self._pause_ms(failed_attempts) * spread)

    def _pause_ms(self, failed_attempts: int) -> float:
        limit = float(self.cap_ms if self.cap_ms is not None else 2**53)
        try:
            return min(self.base_ms * self.factor ** (failed_attempts - 1), limit)
        except OverflowError:
            return limit
