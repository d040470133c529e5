"""A client that starts runs, a worker that executes them, and what the database holds then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import timedelta

from aiki import Client, Run, task, workflow
from tests.crash.records import RECORDS
from tests.differential.invariants import broken
from tests.differential.stores import Look
from tests.support.app import App, Ledger

RUNS = 150
LIMIT = timedelta(seconds=30)
LEASE_MS = 180_000
"""Neither a heartbeat nor the end of a lease comes within the limit, to heal what went wrong."""
_AT_ONCE = 4
"""Few, so that there are many commits."""
ledger = Ledger()
OpenLook = Callable[[asyncio.AbstractEventLoop], Look]


@task
async def step(number: int, place: int) -> int:
    """Written down, since nothing but the test counts executions."""
    ledger.add((number, place))
    return number + place


@workflow("three-steps").version("1")
async def three_steps(run: Run, number: int) -> list[int]:
    """Three tasks, one after another."""
    return [await step(run, number, place) for place in range(3)]


async def start_and_follow(client: Client, worker_client: Client) -> dict[str, int]:
    """Have all runs executed, each to the right result; answers them as they were acknowledged."""
    ledger.lines.clear()
    app = App(worker_client)
    app.work(three_steps, lease_ms=LEASE_MS)
    room = asyncio.Semaphore(_AT_ONCE)
    accepted: dict[str, int] = {}

    async def follow(number: int) -> None:
        async with room:
            handle = await three_steps.enqueue(client, number)
            accepted[handle.id] = number
            assert await handle.result(timeout=LIMIT) == [number, number + 1, number + 2]

    try:
        await asyncio.gather(*(follow(number) for number in range(RUNS)))
    finally:
        await app.stop()
    return accepted


async def check_database(open_look: OpenLook, accepted: Collection[str]) -> None:
    """What was acknowledged is there once, everything ended, and every invariant holds."""
    assert len(accepted) == RUNS
    await asyncio.to_thread(_check_database, open_look, accepted)


def _check_database(open_look: OpenLook, accepted: Collection[str]) -> None:
    loop = asyncio.new_event_loop()
    look = open_look(loop)
    try:
        for name, query in RECORDS.items():
            assert look.rows(query) == [], name
        assert broken(look) == {}
        assert sorted(row[0] for row in look.rows("SELECT id FROM run")) == sorted(accepted)
        entries = look.rows("SELECT run_id, count(*) FROM entry WHERE kind = 'task' GROUP BY 1")
        assert sorted(entries) == [(run_id, 3) for run_id in sorted(accepted)]
    finally:
        look.close()
        loop.close()
