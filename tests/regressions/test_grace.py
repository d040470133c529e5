"""The time for clean-up: it ends a run although nothing else happens."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from aiki import Run, Workflow, event, task, workflow
from tests.support.app import App, Ledger, holds, until

GRACE = timedelta(milliseconds=200)
go = event("go", int)
begun = Ledger()


@task
async def hang(n: int) -> None:
    begun.add(n)
    await asyncio.Event().wait()


@task
async def first() -> int:
    return 1


@task
async def other() -> int:
    return 2


@workflow("lingering").version("1.0.0", cancel_grace=GRACE)
async def lingering(run: Run) -> None:
    try:
        await hang(run, 1)
    finally:
        await hang(run, 2)


def waiting_after_first() -> Workflow[[], int]:
    @workflow("waiting").version("1.0.0", cancel_grace=GRACE)
    async def waiting(run: Run) -> int:
        await first(run)
        return await run.wait(go)

    return waiting


def waiting_after_other() -> Workflow[[], int]:
    @workflow("waiting").version("1.0.0", cancel_grace=GRACE)
    async def waiting(run: Run) -> int:
        await other(run)
        return await run.wait(go)

    return waiting


async def test_the_grace_of_a_stop_is_a_due_that_timers_know_of(app: App) -> None:
    """A stop changes no status of a running run: no transition tells of its due."""
    begun.lines.clear()
    app.work(lingering, graceful_shutdown_timeout_ms=1)
    handle = await lingering.enqueue(app.client)
    await holds(lambda: begun.count(1))
    await handle.cancel()
    await until(handle, "cancelled")


async def test_a_diverged_run_that_is_cancelled_ends_after_its_grace(app: App) -> None:
    old, new = waiting_after_first(), waiting_after_other()
    worker = app.work(old)
    handle = await old.enqueue(app.client)
    await until(handle, "awaiting_event")
    await app.stop(worker)
    app.work(new)
    await handle.send(go, 1)
    await until(handle, "diverged")
    await handle.cancel()
    await until(handle, "cancelled")
