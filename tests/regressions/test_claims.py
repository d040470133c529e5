"""Claims that wait: who is told, and of what."""

from __future__ import annotations

import asyncio

from aiki.model.task import Divergence
from aiki.model.worker import WorkflowSpec
from aiki.operations.work import Diverged, Offer, Report
from tests.engine.support import (
    VERSION,
    WORKFLOW,
    Ring,
    child_of,
    claim_of,
    entry,
    ids_of,
    run_report,
    turns,
)


async def test_a_run_meant_for_a_source_that_is_gone_goes_to_the_newest(ring: Ring) -> None:
    """The second source registers and dies before it claims."""
    run = await ring.running()
    left = Divergence(("a#0",), ("b#0",), (1,), fingerprint="source-1")
    await ring.report(run, Diverged(left), entries=(entry(1),))
    for number in (2, 3):
        spec = WorkflowSpec(WORKFLOW, VERSION, f"source-{number}")
        await ring.worker(f"worker-{number}", workflows=(spec,))
    taken = await ring.take("worker-3", offers=(Offer(WORKFLOW, VERSION, "source-3"),))
    assert taken.id == run.id


async def test_a_claim_served_beside_a_report_that_cannot_be_stored_is_answered(
    ring: Ring,
) -> None:
    """Reports that are stored one by one wake those who wait, as any batch does."""
    await ring.start()
    await ring.start()
    await ring.worker()
    await ring.worker("worker-2")
    good, bad = await ring.claim()
    waiting = asyncio.ensure_future(ring.call(claim_of("worker-2", wait_ms=60_000)))
    await turns(lambda: len(ring.engine.claims))
    child = child_of(good)
    reports = (
        run_report(good, **child),
        run_report(bad, entries=(entry(1, name="x\ud800"),)),
    )
    reported = await ring.call(Report(incarnation="worker-1", reports=reports))
    assert [outcome.verdict for outcome in reported.outcomes] == ["recorded", "refused"]
    async with asyncio.timeout(10):
        claims = await waiting
    assert ids_of(claims) == [child["children"][0].id]
