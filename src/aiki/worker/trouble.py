"""Trouble between a worker and its server: told once a minute, and when it is over."""

from __future__ import annotations

import logging

from aiki.clock import Clock

logger = logging.getLogger("aiki.worker")
_QUIET_SECONDS = 60.0


class Trouble:
    """What the loops of one worker meet, so that an outage is one line and not one for each."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told_at: float | None = None
        self._is_open = False

    def meet(self, what: str, error: Exception) -> None:
        """Something failed that will be repeated; safe from any thread."""
        now = self._clock.monotonic()
        quiet = self._told_at is not None and now - self._told_at < _QUIET_SECONDS
        if quiet:
            logger.debug("%s failed: %s", what, error)
            return
        self._told_at = now
        self._is_open = True
        logger.warning("%s failed and is repeated until it succeeds: %s", what, error)

    def end(self) -> None:
        """The server answered."""
        if self._is_open:
            self._is_open = False
            logger.info("the server answers again")
