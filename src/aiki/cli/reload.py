"""Reload: a process that runs the application in a child, and starts it again on change."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from aiki.cli.application import Application
from aiki.clock import SYSTEM
from aiki.configuration import FILE_NAME, Settings

_POLL_SECONDS = 0.2
_KILL_AFTER_SECONDS = 5.0
"""Beyond the drain."""
_LEFT_OUT = {"__pycache__", "node_modules", "site-packages"}
Snapshot = dict[str, tuple[int, int]]


def supervise(app: Application, arguments: Sequence[str], settings: Settings) -> int:
    """Run `aiki` with these arguments until a signal or its failure; answers the exit code."""
    return _Supervisor(app.folder, arguments, settings).run()


class _Supervisor:
    """One child at a time, in a process group of its own: signals reach it only from here."""

    def __init__(self, folder: Path, arguments: Sequence[str], settings: Settings) -> None:
        self._folder = folder
        self._command = [
            sys.executable, "-m", "aiki.cli", *arguments, "--parent", str(os.getpid()),
        ]  # fmt: skip
        self._drain_seconds = settings.graceful_shutdown_timeout_ms / 1000 + _KILL_AFTER_SECONDS
        self._child: subprocess.Popen[bytes] | None = None
        self._signals: list[int] = []
        self._wake = threading.Event()

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)
        seen = snapshot(self._folder)
        reloaded = False
        while not self._signals:
            self._child = subprocess.Popen(self._command, process_group=0)
            seen, changed = self._until_change(seen, ends_with_child=not reloaded)
            if not changed:
                break
            print(f"reload: {changed}", file=sys.stderr, flush=True)
            reloaded = True
            self._stop_child()
        return self._end()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)
        if len(self._signals) > 1:
            if self._child is not None and self._child.poll() is None:
                self._child.kill()
            os._exit(128 + number)
        self._wake.set()

    def _until_change(self, seen: Snapshot, *, ends_with_child: bool) -> tuple[Snapshot, str]:
        """Poll until a file changed; "" when a signal came, or the child ended by itself.

        A child that a reload started may fail on a file that is being edited: the next change
        starts it again.
        """
        while not self._signals:
            now = snapshot(self._folder)
            if now != seen:
                changed = sorted(dict(now.items() ^ seen.items()))
                return now, ", ".join(os.path.relpath(name, self._folder) for name in changed)
            if ends_with_child and self._child is not None and self._child.poll() is not None:
                break
            self._wake.wait(_POLL_SECONDS)
        return seen, ""

    def _stop_child(self) -> int:
        """Let the child drain; one that does not end is killed."""
        child = self._child
        assert child is not None
        if child.poll() is None:
            child.terminate()
        deadline = SYSTEM.monotonic() + self._drain_seconds
        try:
            return child.wait(max(0.0, deadline - SYSTEM.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()

    def _end(self) -> int:
        if self._child is None:
            return 0
        if self._signals:
            code = self._stop_child()
            return 0 if code in (0, -signal.SIGTERM) else abs(code)
        code = self._child.wait()
        return code if code >= 0 else 128 - code


def snapshot(folder: Path) -> Snapshot:
    """Every source below the folder with its time and size."""
    found: Snapshot = {}
    for name in _sources(folder):
        try:
            status = os.stat(name)
        except OSError:
            continue
        found[name] = (status.st_mtime_ns, status.st_size)
    return found


def _sources(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if not _is_left_out(place, each)]
        for name in files:
            if name.endswith(".py") or name == FILE_NAME:
                yield os.path.join(place, name)


def _is_left_out(place: str, name: str) -> bool:
    """Hidden folders, caches and virtual environments are no sources."""
    return (
        name.startswith(".")
        or name in _LEFT_OUT
        or os.path.exists(os.path.join(place, name, "pyvenv.cfg"))
    )
