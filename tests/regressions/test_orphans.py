"""Children whose call is open when their parent ends: nobody waits for them: they are stopped."""

from __future__ import annotations

import asyncio

import pytest

from aiki import Run, RunFailed, event, task, workflow
from tests.support.app import App

never = event("never")


@task
async def fail(child: str) -> None:
    raise ValueError(child)


@workflow("orphan").version("1", events=[never])
async def orphan(run: Run, note: str) -> None:
    await run.wait(never)


@workflow("careless").version("1")
async def careless(run: Run) -> None:
    await run.start(orphan, "started")
    await asyncio.gather(orphan(run, "called"), fail(run, "x"))


async def test_an_open_call_of_a_child_ends_with_its_parent_and_a_started_one_goes_on(
    app: App,
) -> None:
    app.work(careless, orphan)
    handle = await careless.enqueue(app.client)
    with pytest.raises(RunFailed):
        await handle.result()
    children = [run async for run in app.client.runs() if run.workflow == "orphan"]
    asked = sorted(run.stop_requested or "" for run in children)
    assert asked == ["", "cancel"]
