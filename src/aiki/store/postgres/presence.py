"""Presence: a session's advisory locks prove which workers live, and which are gone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aiki.clock import SYSTEM, Clock
from aiki.store.postgres.session import Session

BETWEEN_LOOKS_SECONDS = 0.5
"""A lock must be free twice, so far apart: a living process takes it again sooner."""
AFTER_RECONNECT_SECONDS = 5.0
"""What broke this process's session may have broken the others': nobody is judged so long."""


class Presence:
    """What this process knows of the locks of others."""

    def __init__(self, session: Session, clock: Clock = SYSTEM) -> None:
        self._session = session
        self._clock = clock
        self._begun = session.since
        self._free_since: dict[str, float] = {}

    def suspects(self, incarnations: Iterable[str]) -> list[str]:
        """Those whose locks are worth a look: not this process's own."""
        if self._session.since != self._begun:
            if self._clock.monotonic() < self._session.since + AFTER_RECONNECT_SECONDS:
                self._free_since.clear()
                return []
            self._begun = self._session.since
        return [one for one in incarnations if one not in self._session.holding]

    def judge(self, free: Sequence[str]) -> list[str]:
        """Of those whose locks are free now, those that were free long enough ago too."""
        now = self._clock.monotonic()
        self._free_since = {one: self._free_since.get(one, now) for one in free}
        return [
            one for one, since in self._free_since.items() if now >= since + BETWEEN_LOOKS_SECONDS
        ]
