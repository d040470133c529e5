"""Run retries: their back-off, and the children of the attempt that failed."""

from __future__ import annotations

from aiki.engine.daemons import wake_due
from aiki.operations.runs import PauseRun, ResumeRun
from aiki.operations.work import Failed
from tests.engine.support import FAILURE, Ring, child_of


async def test_a_pause_does_not_shorten_the_back_off_of_a_retry(ring: Ring) -> None:
    run = await ring.running()
    await ring.report(run, Failed(FAILURE, 60_000))
    await ring.call(PauseRun(id=run.id))
    await ring.call(ResumeRun(id=run.id))
    await wake_due(ring.engine)
    assert await ring.claim() == ()
    await ring.pass_time(60_000)
    assert await wake_due(ring.engine) == 1
    assert (await ring.take()).attempt == 2


async def test_a_retry_asks_the_children_of_the_failed_attempt_to_stop(ring: Ring) -> None:
    run = await ring.running()
    child = child_of(run)
    await ring.report(run, **child)
    await ring.report(run, Failed(FAILURE, 60_000))
    assert await ring.status(child["children"][0].id) == "cancelled"
    assert await ring.status(run.id) == "awaiting_retry"
