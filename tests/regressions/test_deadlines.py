"""Deadlines of runs that start later."""

from __future__ import annotations

from aiki.engine.daemons import wake_due
from aiki.model.run import RunOptions
from tests.engine.support import COMPLETE, RECORDED, Ring


async def test_a_deadline_counts_from_the_instant_a_run_is_due(ring: Ring) -> None:
    run_id = await ring.start(delay_ms=2_000, options=RunOptions(timeout_ms=1_000))
    await ring.pass_time(2_000)
    assert await wake_due(ring.engine) == 1
    assert await ring.status(run_id) == "queued"
    await ring.worker()
    run = await ring.take()
    assert run.stop_cause is None
    assert await ring.report(run, COMPLETE) == RECORDED
