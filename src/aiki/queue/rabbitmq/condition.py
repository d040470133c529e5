"""The condition of a queue: one that fails is named and left alone, for longer each time."""

from __future__ import annotations

import logging

from aiki.clock import Clock
from aiki.queue.breaker import CircuitBreaker

logger = logging.getLogger("aiki.queue")
_FIRST_PAUSE_MS = 1_000


class Condition:
    """Whether a queue can be used, as far as this client knows."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._breaker = CircuitBreaker(first_pause_ms=_FIRST_PAUSE_MS, clock=clock)
        self.failure: str | None = None
        """What it said last, while it fails."""

    def allows(self) -> bool:
        """Whether to use it now; one that fails may be tried once after each pause."""
        return self._breaker.allows()

    @property
    def pause_seconds(self) -> float:
        """Until it may be tried again."""
        return self._breaker.remaining_ms() / 1000

    def failed(self, error: BaseException) -> None:
        """It refused, or did not answer although the broker did."""
        if self.failure is None:
            logger.warning(
                "the queue %s fails and is left out, others go on: %r; if it stays so, delete it:"
                " it holds only news, and is made again",
                self._name,
                error,
            )
        self.failure = repr(error)
        self._breaker.failed()

    def absent(self) -> None:
        """There is none yet, and making it is the affair of others."""
        self._breaker.failed()

    def works(self) -> None:
        """It did what it is for."""
        if self.failure is not None:
            logger.warning("the queue %s works again", self._name)
        self.failure = None
        self._breaker.succeeded()
