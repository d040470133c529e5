"""The public status of a waiting run, derived from what it waits for."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import aiki
from aiki import Run, event, workflow

approval = event("approval", bool)


@workflow("status-approval").version("1", events=[approval])
async def approve(run: Run) -> bool:
    """Waits for an event, but not for ever."""
    return await run.wait(approval, timeout=timedelta(days=1))


async def test_waiting_for_an_event_with_a_time_out_is_awaiting_it(tmp_path: Path) -> None:
    async with aiki.connect(f"sqlite:///{tmp_path / 'status.db'}") as client:
        worker = asyncio.create_task(aiki.Worker(client, workflows=[approve]).run())
        handle = await approve.enqueue(client)
        async for run in handle.watch():
            if run.status not in ("queued", "running"):
                assert run.status == "awaiting_event"
                assert run.due_at is not None
                break
        assert [wait.kind for wait in (await handle.history()).waits] == ["event"]
        await handle.send(approval, True)
        assert await handle.result()
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


@workflow("status-two-waits").version("1", events=[approval])
async def wait_twice(run: Run) -> bool:
    """Two waits for one event, of which only the first has a time-out."""
    patient = asyncio.create_task(run.wait(approval))
    try:
        await run.wait(approval, timeout=timedelta(milliseconds=200))
    except aiki.WaitTimeout:
        patient.cancel()
        return True
    return False


async def test_a_wait_without_a_time_out_does_not_hide_another_wait_s_due(tmp_path: Path) -> None:
    async with aiki.connect(f"sqlite:///{tmp_path / 'status.db'}") as client:
        worker = asyncio.create_task(aiki.Worker(client, workflows=[wait_twice]).run())
        handle = await wait_twice.enqueue(client)
        assert await handle.result(timeout=timedelta(seconds=20))
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
