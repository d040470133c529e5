"""Signals: the first asks a process to drain, the second ends it at once."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def draining(stop: Callable[[], object]) -> Generator[None, None, None]:
    """The first signal calls `stop` on this loop; the second ends the process.

    The handler does not wait for the loop's turn: code that blocks it must not keep the second
    signal from ending the process.
    """
    loop = asyncio.get_running_loop()
    asked: list[int] = []

    def begin() -> None:
        logging.getLogger("aiki.cli").info("draining; a second signal ends it at once")
        stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if asked:
            os._exit(128 + number)
        asked.append(number)
        loop.call_soon_threadsafe(begin)

    before = {number: signal.signal(number, handle) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
