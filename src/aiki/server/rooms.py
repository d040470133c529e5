"""Rooms: how many requests of each sort may be here at the same time."""

from __future__ import annotations

from aiki.server.problems import Refusal
from aiki.server.settings import ServerSettings


class Room:
    """Counts those inside, and refuses whoever comes when it is full."""

    def __init__(self, what: str, limit: int, status: int) -> None:
        self._what = what
        self._limit = limit
        self._status = status
        self.taken = 0

    def enter(self) -> None:
        """Take a place; raises `Refusal` when there is none."""
        if self.taken >= self._limit:
            raise Refusal(
                self._status,
                f"{self._limit} {self._what} are here already, as many as this server takes; "
                "repeat the request after a moment",
            )
        self.taken += 1

    def leave(self) -> None:
        """Free the place."""
        self.taken -= 1


class Rooms:
    """The rooms of one server."""

    def __init__(self, settings: ServerSettings) -> None:
        self.running = Room("requests", settings.max_requests, 503)
        self.waiting = Room("waiting requests", settings.max_waiting, 429)
        self.streams = Room("streams of events", settings.max_streams, 429)
        self.presences = Room("workers' presences", settings.max_presences, 429)
