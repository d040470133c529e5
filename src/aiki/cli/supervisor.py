"""The supervisor: a parent that keeps equal processes alive, and ends with them."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from aiki.cli.signals import STOPPING
from aiki.clock import SYSTEM, jitter

logger = logging.getLogger("aiki.cli")
FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 30.0
_SETTLED_SECONDS = 60.0
"""Who lived for so long did not fail at once: the pauses begin anew."""
_KILL_AFTER_SECONDS = 10.0
"""Beyond the drain."""


@dataclass(frozen=True)
class Seat:
    """What a child has of its parent."""

    ready_pipe: int
    """A byte written here says that the child is ready; its end says that the child is dead."""
    lifeline: int
    """Ends with the parent."""


@dataclass
class _Child:
    pid: int
    pipe: int
    began: float
    ready: bool = False


class Supervisor:
    """Runs `work` in `count` forked processes; `run` returns in the parent and in each child.

    A child that ends is started again after a growing pause, as soon as any of them has been
    ready; before that its failure ends all. It has no threads and no event loop, so that a fork
    copies neither.
    """

    def __init__(
        self,
        count: int,
        work: Callable[[Seat], int],
        *,
        on_ready: Callable[[list[int]], None],
        on_stop: Callable[[], None],
        drain_seconds: float,
    ) -> None:
        self._count = count
        self._work = work
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._drain_seconds = drain_seconds
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, _Child] = {}
        self._restarts: list[float] = []
        self._pause = FIRST_PAUSE_SECONDS
        self._announced = self._any_ready = False
        self._signals: list[int] = []
        self._kill_at: float | None = None
        self._code = 0
        self._lifeline, self._life = os.pipe()
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)

    def run(self) -> int:
        """In the parent: until all have ended. In a child: what `work` answers."""
        before = {number: signal.signal(number, self._handle) for number in STOPPING}
        signal.set_wakeup_fd(self._waker)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._restarts = [SYSTEM.monotonic()] * self._count
        while self._restarts or self._children:
            seat = self._start_those_due()
            if seat is not None:
                return self._work(seat)
            self._look()
            if self._signals and self._kill_at is None:
                self._stop(0)
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        return self._code

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)
        if len(self._signals) > 1:
            self._end_at_once(number)

    def _end_at_once(self, number: int) -> NoReturn:
        for child in list(self._children.values()):
            os.kill(child.pid, signal.SIGKILL)
        os._exit(128 + number)

    def _start_those_due(self) -> Seat | None:
        """Fork for each that is due; answers a seat in the child."""
        now = SYSTEM.monotonic()
        due = [at for at in self._restarts if at <= now]
        self._restarts = [at for at in self._restarts if at > now]
        for _ in due:
            seat = self._fork(now)
            if seat is not None:
                return seat
        return None

    def _fork(self, now: float) -> Seat | None:
        reading, writing = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal between the fork and the child's own handlers would run the parent's.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        pid = os.fork()
        if pid == 0:
            self._leave_parent(reading)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
            return Seat(writing, self._lifeline)
        os.close(writing)
        self._children[reading] = _Child(pid, reading, now)
        self._selector.register(reading, selectors.EVENT_READ)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        return None

    def _leave_parent(self, reading: int) -> None:
        """In the child: drop what is the parent's; a terminal's signals reach the parent only."""
        signal.set_wakeup_fd(-1)
        for number in STOPPING:
            signal.signal(number, signal.SIG_DFL)
        self._selector.close()
        for descriptor in (reading, self._life, self._wake, self._waker, *self._children):
            os.close(descriptor)
        os.setpgid(0, 0)

    def _look(self) -> None:
        """Wait for a signal, for a child that is ready or dead, or for the time of the next."""
        times = [*self._restarts, *([] if self._kill_at is None else [self._kill_at])]
        timeout = max(0.0, min(times) - SYSTEM.monotonic()) if times else None
        for key, _ in self._selector.select(timeout):
            if key.fd == self._wake:
                os.read(self._wake, 4_096)
            else:
                self._hear(self._children[key.fd])
        if self._kill_at is not None and SYSTEM.monotonic() >= self._kill_at:
            self._kill_at = float("inf")
            self._code = 1
            for child in self._children.values():
                os.kill(child.pid, signal.SIGKILL)

    def _hear(self, child: _Child) -> None:
        if os.read(child.pipe, 16):
            child.ready = self._any_ready = True
            self._announce()
            return
        self._selector.unregister(child.pipe)
        del self._children[child.pipe]
        os.close(child.pipe)
        _, status = os.waitpid(child.pid, 0)
        self._bury(child, os.waitstatus_to_exitcode(status))

    def _announce(self) -> None:
        ready = [child.pid for child in self._children.values() if child.ready]
        if len(ready) == self._count and not self._announced:
            self._announced = True
            self._on_ready(ready)

    def _bury(self, child: _Child, code: int) -> None:
        """Note how it ended, and whether another takes its place."""
        if self._kill_at is not None:
            # One that had not begun to serve may be ended by the signal itself.
            as_told = code == 0 or (code == -signal.SIGTERM and not child.ready)
            self._code = self._code or (0 if as_told else 1)
        elif not self._any_ready:
            self._stop(code if code > 0 else 1)
        else:
            now = SYSTEM.monotonic()
            if now - child.began >= _SETTLED_SECONDS:
                self._pause = FIRST_PAUSE_SECONDS
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            logger.warning(
                "server process %d ended by %s; another starts in %.1f s",
                child.pid, how, self._pause,
            )  # fmt: skip
            self._restarts.append(now + self._pause * jitter(0.1))
            self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)

    def _stop(self, code: int) -> None:
        """Let every child drain."""
        self._on_stop()
        self._code = code
        self._restarts = []
        self._kill_at = SYSTEM.monotonic() + self._drain_seconds + _KILL_AFTER_SECONDS
        for child in self._children.values():
            os.kill(child.pid, signal.SIGTERM)
