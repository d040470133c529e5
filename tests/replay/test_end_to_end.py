"""The same random programs through a real client and workers that come and go."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from aiki import Run, RunFailed, RunHandle, workflow
from aiki.operations.runs import History
from tests.replay import programs as p
from tests.replay.holder import Holder
from tests.support.app import LIMIT, app_on

EXAMPLES = max(10, int(os.environ.get("AIKI_TEST_EXAMPLES", "300")) // 15)


@workflow("random").version("1.0.0")
async def random_program(run: Run, program: str) -> list[str]:
    return await p.carry_out(run, ast.literal_eval(program), [])


async def bring_events(handle: RunHandle[list[str]]) -> None:
    """Whenever the run waits for an event, both kinds come."""
    number = 0
    async for view in handle.watch():
        if view.status == "awaiting_event":
            number += 1
            await asyncio.gather(handle.send(p.go, number), handle.send(p.stop, -number))


async def turns(count: int) -> None:
    """Let the loop turn so often: a moment that differs from run to run."""
    for _ in range(count):
        await asyncio.sleep(0)


async def live(path: Path, program: p.Program, restarts: Sequence[int]) -> None:
    """Workers come and go; what the run saw must be what its records say."""
    async with app_on(path) as app:
        handle = await random_program.enqueue(app.client, repr(program))
        events = asyncio.create_task(bring_events(handle))
        for count in restarts:
            worker = app.work(random_program, p.child, graceful_shutdown_timeout_ms=count % 3)
            await turns(count)
            await app.stop(worker)
        app.work(random_program, p.child)
        try:
            seen = await handle.result(timeout=LIMIT)
        except RunFailed as error:
            # Before CPython 3.13 a group that failed keeps a request to cancel, by which a time-out
            # around it takes its own end for another's (python/cpython#117407).
            assume("CancelledError" not in str(error) or sys.version_info >= (3, 13))
            raise
        events.cancel()
        await asyncio.wait([events])
        history = await app.history(handle)
    numbers = [entry.number for entry in history.entries]
    assert numbers == list(range(1, len(numbers) + 1))
    assert replayed(program, handle.id, history) == seen
    assert_recorded_last(history, handle.id)


def replayed(program: p.Program, run_id: str, history: History) -> p.Trace:
    """What code sees that is run once more over all that was recorded."""
    trace: p.Trace = []

    async def main(run: Run) -> p.Trace:
        return await p.carry_out(run, program, trace)

    begun_at = history.run.started_at
    assert begun_at is not None
    with closing(Holder(main, entries=history.entries, run_id=run_id, begun_at=begun_at)) as holder:
        holder.replay()
        assert holder.execution.outcome is not None
    return trace


def assert_recorded_last(history: History, run_id: str) -> None:
    """No execution of a call came after the one that was recorded."""
    drawn: dict[str, int] = dict(p.world.executed)
    for entry in history.entries:
        if entry.kind == "task" and entry.value is not None:
            key = f"{run_id}-1-{entry.address}-{entry.ordinal}"
            assert json.loads(entry.value) % 1000 == drawn[key] % 1000


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(p.programs, st.lists(st.integers(1, 60), max_size=5))
def test_workers_come_and_go(program: p.Program, restarts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(live(Path(folder) / "aiki.db", program, restarts))
