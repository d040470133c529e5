"""What a driver needs of its worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from aiki.clock import Clock, Instant
from aiki.operations.work import ReportOutcome
from aiki.worker.tasks import Attempts
from aiki.worker.timekeeper import Timekeeper

if TYPE_CHECKING:
    from aiki.worker.driver import Driver


class Environment(Protocol):
    """The worker, as its drivers see it."""

    loop: asyncio.AbstractEventLoop
    clock: Clock
    timekeeper: Timekeeper
    attempts: Attempts
    lease_ms: int
    replay_always: bool
    stepping: Driver | None

    def now(self) -> Instant:
        """An instant that the database has reached."""
        ...

    def soon(self, callback: Callable[[], None]) -> None:
        """Call from a plain callback of the worker's loop."""
        ...

    def report(self, driver: Driver) -> None:
        """The driver has something to report."""
        ...

    def parked(self, driver: Driver) -> None:
        """The run is parked; its memory may stay."""
        ...

    def ended(self, driver: Driver) -> None:
        """The run's claim is over."""
        ...

    def refused(self, driver: Driver, outcome: ReportOutcome) -> None:
        """A report was refused."""
        ...

    def give_back(self, driver: Driver, reason: str) -> None:
        """The worker itself failed on this run."""
        ...
