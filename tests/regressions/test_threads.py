"""Tasks in threads: waiting for a thread is not the task's own time."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from aiki import Run, task, workflow
from tests.support.app import LIMIT, App


@task
def keep_the_thread() -> int:
    time.sleep(0.8)
    return 1


@task(timeout=timedelta(milliseconds=400))
def quick() -> int:
    return 2


@workflow("crowded").version("1.0.0")
async def crowded(run: Run) -> list[int]:
    return list(await asyncio.gather(keep_the_thread(run), quick(run)))


async def test_a_time_out_begins_when_the_task_has_a_thread(app: App) -> None:
    app.work(crowded, task_threads=1)
    handle = await crowded.enqueue(app.client)
    assert await handle.result(timeout=LIMIT) == [1, 2]
