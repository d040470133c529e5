"""Log lines: each leaves once, however often the run leaves memory."""

from __future__ import annotations

import asyncio

import pytest

from aiki import Run, event, task, workflow
from tests.support.app import App

go = event("go", int)


@task
async def double(number: int) -> int:
    return number * 2


@workflow("quiet").version("1", events=[go])
async def quiet(run: Run) -> int:
    run.logger.warning("begins")
    total = await double(run, 1)
    run.logger.warning("has doubled")
    for _ in range(3):
        total += await run.wait(go)
        run.logger.warning("has %d", total)
    return total


async def test_a_line_leaves_once_though_the_run_leaves_memory_at_every_park(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    worker = app.work(quiet, max_resident_runs=0)
    handle = await quiet.enqueue(app.client)
    for number in (1, 2, 3):
        async for run in handle.watch():
            if run.status == "awaiting_event":
                break
        await handle.send(go, number)
    assert await handle.result() == 8
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    lines = [record.getMessage() for record in caplog.records if "quiet" in record.name]
    assert lines == ["begins", "has doubled", "has 3", "has 5", "has 8"]


async def test_an_unstorable_report_ends_its_own_run_and_no_other(app: App) -> None:
    spoiled = event("go", int)
    spoiled.name = "\ud800"

    @workflow("spoiled").version("1")
    async def spoil(run: Run) -> int:
        return await run.wait(spoiled)

    app.work(quiet, spoil)
    bad = await spoil.enqueue(app.client)
    good = await quiet.enqueue(app.client)
    for number in (1, 2, 3):
        await good.send(go, number)
    assert await good.result() == 8
    with pytest.raises(Exception, match="NotStorable"):
        await bad.result()
