"""Servers and workers of a cell: processes that are killed, frozen, and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

_READY_SECONDS = 60.0
_LOG_BYTES = 2_000


class Process:
    """A part of the site; `words` are a module and its arguments."""

    def __init__(self, name: str, words: list[str], log: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.lock = asyncio.Lock()
        """Held by who does it harm: one at a time."""
        self._words = words
        self._log = log
        self._environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when it says that it is ready."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *self._words,
                stdout=asyncio.subprocess.PIPE, stderr=log, env=self._environment,
            )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(_READY_SECONDS):
            line = await self._process.stdout.readline()
        if b"ready" not in line:
            raise RuntimeError(f"{self.name} said {line!r} instead of ready: {self._logged()}")
        self._reader = asyncio.create_task(_drain(self._process.stdout))

    @property
    def complaint(self) -> str | None:
        """What is wrong if it is not running, although nobody has killed it."""
        code = None if self._process is None else self._process.returncode
        return None if code is None else f"{self.name} ended by itself with {code}"

    def signal(self, number: signal.Signals) -> None:
        """Send it, if the process is there."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL, frozen or not."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()
        if self._reader is not None:
            await self._reader
            self._reader = None

    def _logged(self) -> str:
        return self._log.read_text("utf-8", "replace")[-_LOG_BYTES:]


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.read(65_536):
        pass
