"""Long replays: a run that gets on is not stuck, however long that takes."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import aiki.worker.driver
from aiki import Run, event, task, workflow
from tests.support.app import LIMIT, App, until

if TYPE_CHECKING:
    import pytest

go = event("go", int)
USED_UP = 1_500
"""More callbacks than one turn has."""


@task
async def same(n: int) -> int:
    return n


@workflow("long").version("1.0.0")
async def long(run: Run) -> int:
    await asyncio.gather(*[asyncio.sleep(0) for _ in range(USED_UP)])
    for n in range(120):
        await same(run, n)
        time.sleep(0.005)  # noqa: ASYNC251 - work of its own
    await asyncio.gather(*[asyncio.sleep(0) for _ in range(USED_UP)])
    return await run.wait(go)


async def test_the_limit_for_code_without_rest_counts_from_the_last_rest(
    app: App, resident: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two turns that are used up, with many that are not between them."""
    monkeypatch.setattr(aiki.worker.driver, "NO_REST_SECONDS", 0.4)
    app.work(long, max_resident_runs=0)
    handle = await long.enqueue(app.client)
    await until(handle, "awaiting_event")
    await handle.send(go, 1)
    assert await handle.result(timeout=LIMIT) == 1
