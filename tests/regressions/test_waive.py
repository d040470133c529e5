"""Records that the code no longer asks for: left out for good, open starts as well."""

from __future__ import annotations

import asyncio

import pytest

from aiki import Run, RunHandle, Workflow, event, task, workflow
from aiki.operations.runs import WaiveEntries
from tests.support.app import LIMIT, App, Ledger, holds, until

go = event("go", int)
ledger = Ledger()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ledger.lines.clear()


@task
async def one() -> int:
    return 1


@task
async def two() -> int:
    ledger.add("two")
    return 2


@task
async def three() -> int:
    return 3


@task(at_most_once=True)
async def endless() -> int:
    ledger.add("endless")
    await asyncio.Event().wait()
    return 4


def before_insertion() -> Workflow[[], int]:
    @workflow("grown").version("1.0.0")
    async def grown(run: Run) -> int:
        await one(run)
        await two(run)
        return await run.wait(go)

    return grown


def after_insertion() -> Workflow[[], int]:
    @workflow("grown").version("1.0.0")
    async def grown(run: Run) -> int:
        await one(run)
        await three(run)
        await two(run)
        return sum([await run.wait(go) for _ in range(3)])

    return grown


def with_endless() -> Workflow[[], int]:
    @workflow("shrunk").version("1.0.0")
    async def shrunk(run: Run) -> int:
        await one(run)
        return await endless(run)

    return shrunk


def without_endless(*removed: str) -> Workflow[[], int]:
    @workflow("shrunk").version("1.0.0", removed=list(removed))
    async def shrunk(run: Run) -> int:
        await one(run)
        return await three(run)

    return shrunk


async def test_what_was_waived_stays_waived_when_its_call_is_recorded_anew(app: App) -> None:
    """The new record of the same call is taken on every replay; the old one never."""
    old, new = before_insertion(), after_insertion()
    worker = app.work(old)
    handle = await old.enqueue(app.client)
    await until(handle, "awaiting_event")
    await app.stop(worker)
    app.work(new, max_resident_runs=0)
    await handle.send(go, 1)
    await until(handle, "diverged")
    await app.client.call(WaiveEntries(id=handle.id))
    for replay in (2, 3):
        await until(handle, "awaiting_event")
        await handle.send(go, replay)
    assert await handle.result(timeout=LIMIT) == 6
    assert ledger.count("two") == 2


async def _left_open(app: App) -> RunHandle[int]:
    """A run whose worker went while a task was under way."""
    old = with_endless()
    worker = app.work(old, graceful_shutdown_timeout_ms=1)
    handle = await old.enqueue(app.client)
    await holds(lambda: ledger.count("endless"))
    await app.stop(worker)
    return handle


async def test_a_removed_task_may_have_been_under_way(app: App) -> None:
    handle = await _left_open(app)
    app.work(without_endless("endless"))
    assert await handle.result(timeout=LIMIT) == 3


async def test_a_task_that_was_under_way_can_be_waived(app: App) -> None:
    handle = await _left_open(app)
    app.work(without_endless())
    await until(handle, "diverged")
    await app.client.call(WaiveEntries(id=handle.id))
    assert await handle.result(timeout=LIMIT) == 3
