"""Children that a run starts after it was asked to stop, and before it has heard of it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

import aiki
from aiki import Run, task, workflow
from aiki.ids import new_id
from aiki.operations.runs import RunQuery
from aiki.operations.work import (
    ClaimRuns,
    LeaveWorker,
    Offer,
    RegisterWorker,
    Released,
    Report,
    RunReport,
)
from tests.support.app import LIMIT, App, until

gates: dict[str, asyncio.Event] = {}


@task
async def pass_gate(name: str) -> None:
    await gates[name].wait()


@workflow("leaf").version("1.0.0")
async def leaf(run: Run) -> None:
    await run.sleep("long", timedelta(days=1))


@workflow("resting").version("1.0.0")
async def resting(run: Run) -> None:
    await run.start(leaf)
    await run.sleep("long", timedelta(days=1))


@workflow("busy").version("1.0.0")
async def busy(run: Run) -> None:
    await run.start(leaf)
    await pass_gate(run, run.id)


@workflow("careful").version("1.0.0")
async def careful(run: Run) -> None:
    try:
        await run.sleep("long", timedelta(days=1))
    except asyncio.CancelledError:
        await run.start(leaf)
        raise


async def stopped_unheard(app: App, parent: aiki.Workflow[[], None]) -> aiki.RunHandle[None]:
    """A run that a worker has given back and that was asked to stop since."""
    handle = await parent.enqueue(app.client)
    me, offers = new_id(), (Offer(parent.name, parent.version, parent.fingerprint),)
    call = app.client.call
    await call(RegisterWorker(incarnation=me, name="x", lease_ms=9_000, workflows=(parent.spec(),)))
    claims = await call(ClaimRuns(claim_id=new_id(), incarnation=me, offers=offers, limit=1))
    (claim,) = claims.runs
    back = RunReport(
        run_id=claim.id, epoch=claim.epoch, attempt=1, ending=Released(), command_id=new_id()
    )
    await call(Report(incarnation=me, reports=(back,)))
    await call(LeaveWorker(incarnation=me))
    await handle.cancel("nobody wants it")
    gates[handle.id] = asyncio.Event()
    return handle


async def child_of(app: App, parent: aiki.RunHandle[None]) -> aiki.RunHandle[None]:
    async for each in app.client.runs(RunQuery(parent_id=parent.id)):
        return app.client.run(each.id, leaf)
    raise LookupError("it has started none")


@pytest.mark.parametrize("parent", [resting, busy], ids=["resting", "busy"])
async def test_what_it_starts_before_it_hears_of_the_stop_is_stopped_with_it(
    app: App, parent: aiki.Workflow[[], None]
) -> None:
    handle = await stopped_unheard(app, parent)
    app.work(parent, leaf)
    with pytest.raises(aiki.RunCancelled):
        await handle.result(timeout=LIMIT)
    await until(await child_of(app, handle), "cancelled")


async def test_what_it_starts_because_of_the_stop_goes_on(app: App) -> None:
    handle = await stopped_unheard(app, careful)
    app.work(careful, leaf)
    with pytest.raises(aiki.RunCancelled):
        await handle.result(timeout=LIMIT)
    await until(await child_of(app, handle), "sleeping")
