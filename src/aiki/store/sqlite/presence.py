"""Presence: an operating-system lock on a file of one's own, which ends with the process.

Whoever can take the lock of another incarnation has proved that its process is gone, and may free
its claims at once instead of waiting for the lease.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: leases alone apply.
    fcntl = None  # type: ignore[assignment]


class Presence:
    """The lock files beside one database."""

    def __init__(self, database: Path) -> None:
        self._folder = database.with_name(database.name + ".workers")
        self._held: dict[str, int] = {}

    def _file(self, incarnation: str) -> Path:
        return self._folder / f"{incarnation}.lock"

    def announce(self, incarnation: str) -> None:
        """Hold the lock of this incarnation until the process ends."""
        if fcntl is None or incarnation in self._held:
            return
        self._folder.mkdir(exist_ok=True)
        descriptor = os.open(self._file(incarnation), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._held[incarnation] = descriptor

    def withdraw(self, incarnation: str) -> None:
        """Let go of the lock, and remove its file; that of a dead process too."""
        if self._is_dead(incarnation):
            with suppress(OSError):
                self._file(incarnation).unlink()
        descriptor = self._held.pop(incarnation, None)
        if descriptor is not None:
            with suppress(FileNotFoundError):
                self._file(incarnation).unlink()
            os.close(descriptor)

    def withdraw_all(self) -> None:
        """Let go of every lock; the folder goes with the last."""
        for incarnation in list(self._held):
            self.withdraw(incarnation)
        with suppress(OSError):
            self._folder.rmdir()

    def dead(self, incarnations: Iterable[str]) -> list[str]:
        """Those whose file is there and whose lock nobody holds; a missing file proves nothing."""
        return [incarnation for incarnation in incarnations if self._is_dead(incarnation)]

    def _is_dead(self, incarnation: str) -> bool:
        if fcntl is None or incarnation in self._held:
            return False
        try:
            descriptor = os.open(self._file(incarnation), os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True
