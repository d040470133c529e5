"""Reports that fail in the store: none is lost, and none stands in the way of another run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiki import Run, task, workflow
from tests.support.app import LIMIT, App, until
from tests.support.faults import cannot_save

if TYPE_CHECKING:
    import pytest


@task
async def double(number: int) -> int:
    return number * 2


@workflow("steps").version("1")
async def steps(run: Run, count: int) -> int:
    total = 1
    for _ in range(count):
        total = await double(run, total)
    return total


async def test_a_run_whose_report_fails_for_an_unknown_cause_goes_on_when_that_is_over(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    worker = app.work(steps)
    with monkeypatch.context() as patch:
        held = await steps.options(delay=LIMIT).enqueue(app.client, 3)
        cannot_save(held.id, RuntimeError("nobody knows"), patch)
        await app.pass_time(int(LIMIT.total_seconds() * 1000))
        await until(held, "running")
        async with asyncio.timeout(LIMIT.total_seconds()):
            while "its report cannot be stored" not in caplog.text:
                other = await steps.enqueue(app.client, 2)
                assert await other.result(timeout=LIMIT) == 4
        for _ in range(3):
            other = await steps.enqueue(app.client, 5)
            assert await other.result(timeout=LIMIT) == 32
        assert await held.status() == "running"
    assert await held.result(timeout=LIMIT) == 8
    assert [entry.number for entry in (await app.history(held)).entries] == [1, 2, 3]
    assert not worker.done()


async def test_a_worker_stops_in_time_though_a_report_fails(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    worker = app.work(steps, graceful_shutdown_timeout_ms=100)
    with monkeypatch.context() as patch:
        held = await steps.options(delay=LIMIT).enqueue(app.client, 1)
        cannot_save(held.id, RuntimeError("nobody knows"), patch)
        await app.pass_time(int(LIMIT.total_seconds() * 1000))
        async with asyncio.timeout(LIMIT.total_seconds()):
            while "its report cannot be stored" not in caplog.text:
                await held.status()
        worker.cancel()
        done, _ = await asyncio.wait([worker], timeout=LIMIT.total_seconds())
        assert done
    app.work(steps)
    assert await held.result(timeout=LIMIT) == 2
