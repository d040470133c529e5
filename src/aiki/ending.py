"""Ending tasks: a cancellation that got lost is said again.

`asyncio.wait_for` before CPython 3.12 forgets one that comes when its result does, and libraries
use it: a task that goes on for ever would keep its process from ending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_SECONDS = 0.5


async def end_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel these, and return when all have ended; what they raise is of no interest."""
    everyone = set(tasks)
    pending = everyone
    while pending := {task for task in pending if not task.done()}:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=_AGAIN_SECONDS)
    await asyncio.gather(*everyone, return_exceptions=True)
