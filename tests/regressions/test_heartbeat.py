"""Heartbeats that cross a claim on their way, and those of workers that drain."""

from __future__ import annotations

import asyncio

from aiki.operations.work import Heartbeat
from tests.engine.support import Ring, claim_of, turns


async def test_a_heartbeat_releases_nothing_that_was_claimed_after_it_was_made(
    ring: Ring,
) -> None:
    await ring.start()
    await ring.worker()
    made = await ring.now()
    await ring.pass_time(10)
    run = await ring.take()
    await ring.call(Heartbeat(incarnation="worker-1", held=(), as_of=made))
    assert await ring.status(run.id) == "running"
    await ring.pass_time(10)
    await ring.call(Heartbeat(incarnation="worker-1", held=(), as_of=await ring.now()))
    assert await ring.status(run.id) == "queued"


async def test_a_heartbeat_that_names_no_instant_releases_what_it_does_not_list(
    ring: Ring,
) -> None:
    run = await ring.running()
    await ring.call(Heartbeat(incarnation="worker-1", held=()))
    assert await ring.status(run.id) == "queued"


async def test_the_waiting_claim_of_a_worker_that_drains_is_given_nothing(ring: Ring) -> None:
    await ring.worker()
    waiting = asyncio.ensure_future(ring.call(claim_of(wait_ms=60_000)))
    await turns(lambda: len(ring.engine.claims))
    await ring.call(Heartbeat(incarnation="worker-1", held=(), draining=True))
    started = await ring.start()
    assert (await waiting).runs == ()
    await ring.worker("worker-2")
    assert (await ring.take("worker-2")).id == started


async def test_a_claim_in_the_batch_of_a_drain_is_given_nothing(ring: Ring) -> None:
    started = await ring.start()
    await ring.worker()
    drain = Heartbeat(incarnation="worker-1", held=(), draining=True)
    claims, _ = await ring.together(claim_of(), drain)
    assert claims.runs == ()
    assert await ring.status(started) == "queued"
