"""A step of the database's clock: work that goes on is not done again and again."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from aiki import Run, task, workflow
from aiki.engine.daemons import recover
from tests.support.app import LIMIT, App, Ledger, holds, until

HOUR_MS = timedelta(hours=1) // timedelta(milliseconds=1)
ledger = Ledger()
gates: list[asyncio.Event] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ledger.lines.clear()
    gates[:] = [asyncio.Event()]


@task
async def pass_gate() -> int:
    ledger.add("task")
    await gates[0].wait()
    return 1


@workflow("steady").version("1.0.0")
async def steady(run: Run) -> int:
    return await pass_gate(run)


@workflow("sleepy").version("1.0.0")
async def sleepy(run: Run) -> int:
    value = asyncio.create_task(pass_gate(run))
    await run.sleep("s", timedelta(milliseconds=200))
    return await value


async def test_a_worker_whose_lease_a_step_ended_holds_its_next_claim(app: App) -> None:
    """The claim itself renews the lease, and a heartbeat is ten seconds away."""
    app.work(steady, lease_ms=30_000)
    handle = await steady.enqueue(app.client)
    await holds(lambda: ledger.count("task") == 1)
    await app.pass_time(HOUR_MS, recover)
    await holds(lambda: ledger.count("task") == 2)
    for _ in range(3):
        assert await app.run_daemon(recover) == 0
    gates[0].set()
    assert await handle.result(timeout=LIMIT) == 1
    assert ledger.count("task") == 2


async def test_a_timer_does_not_spin_while_the_clock_catches_up(app: App, resident: None) -> None:
    """The clock stands still until it has caught up: the worker asks for it, and tries once."""
    app.work(sleepy)
    handle = await sleepy.enqueue(app.client)
    await until(handle, "running")
    await holds(lambda: ledger.count("task") == 1)
    await app.pass_time(-1_000)
    async with asyncio.timeout(LIMIT.total_seconds()):
        while not any(e.name == "s" for e in (await app.history(handle)).entries):
            continue
    gates[0].set()
    assert await handle.result(timeout=LIMIT) == 1
    assert ledger.count("task") <= 2
