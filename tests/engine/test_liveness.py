"""Who is alive: heartbeats, lost claims, recovery by lease and by process, goodbyes."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aiki.engine.daemons import forget, recover
from aiki.errors import InvalidRequest, NotFound
from aiki.model.failure import DeadLettered
from aiki.operations.catalog import ListDeadLetters, ListWorkers
from aiki.operations.runs import PauseRun
from aiki.operations.work import Heartbeat, Holding, LeaveWorker, Listen
from aiki.store.records import ALL_NEWS
from tests.engine.support import (
    COMPLETE,
    LEASE_MS,
    RECORDED,
    RELEASE,
    Ring,
    attempt,
    claim_of,
    entry,
    ids_of,
    registration,
    start_of,
    turns,
)
from tests.support.databases import only_sqlite

DAY_MS = timedelta(days=1) // timedelta(milliseconds=1)


async def test_a_heartbeat_keeps_the_claim(ring: Ring) -> None:
    run = await ring.running()
    held = (Holding(run.id, run.epoch),)
    for _ in range(3):
        await ring.pass_time(LEASE_MS - 1)
        answer = await ring.call(Heartbeat(incarnation="worker-1", held=held))
        assert answer.lost == ()
        assert await recover(ring.engine) == 0
    assert await ring.report(run, COMPLETE) == RECORDED


async def test_a_heartbeat_tells_which_claims_are_lost(ring: Ring) -> None:
    kept, ended = await ring.running(), await ring.running()
    await ring.report(ended, COMPLETE)
    stale = Holding(kept.id, kept.epoch - 1)
    held = (Holding(kept.id, kept.epoch), Holding(ended.id, ended.epoch), stale)
    answer = await ring.call(Heartbeat(incarnation="worker-1", held=held))
    assert answer.lost == held[1:]


async def test_what_a_worker_never_heard_of_is_released(ring: Ring) -> None:
    await ring.start()
    await ring.worker()
    claim = claim_of()
    (run,) = (await ring.call(claim)).runs
    on_its_way = Heartbeat(incarnation="worker-1", held=(), claiming=(claim.claim_id,))
    await ring.call(on_its_way)
    assert await ring.status(run.id) == "running"
    await ring.call(Heartbeat(incarnation="worker-1", held=()))
    assert await ring.status(run.id) == "queued"
    assert await ring.reasons(run.id) == ["new", "claimed", "released"]


async def test_a_heartbeat_releases_nothing_of_another_worker(ring: Ring) -> None:
    run = await ring.running()
    await ring.worker("worker-2")
    answer = await ring.call(Heartbeat(incarnation="worker-2", held=(Holding(run.id, run.epoch),)))
    assert answer.lost == (Holding(run.id, run.epoch),)
    assert await ring.status(run.id) == "running"


async def test_only_a_registered_worker_has_a_heartbeat(ring: Ring) -> None:
    beat = Heartbeat(incarnation="worker-1", held=())
    assert isinstance(await ring.refused(beat), NotFound)
    await ring.worker()
    await ring.call(LeaveWorker(incarnation="worker-1"))
    assert isinstance(await ring.refused(beat), NotFound)
    assert isinstance(await ring.refused(registration(lease_ms=999)), InvalidRequest)


async def test_stuck_runs_are_shown(ring: Ring) -> None:
    run = await ring.running()
    beat = Heartbeat(
        incarnation="worker-1", held=(Holding(run.id, 1),), stuck=(f"{run.id} at line 3",)
    )
    await ring.call(beat)
    (worker,) = await ring.call(ListWorkers())
    assert (worker.running, worker.stuck) == (1, (f"{run.id} at line 3",))


# Recovery


async def test_a_lease_that_ended_frees_the_run_and_not_a_moment_before(ring: Ring) -> None:
    run = await ring.running()
    await ring.report(run, attempts=(attempt(),))
    (worker,) = await ring.call(ListWorkers())
    await ring.pass_time(worker.lease_until - await ring.now() - 500)
    assert await recover(ring.engine) == 0
    await ring.pass_time(600)
    assert await recover(ring.engine) == 1
    assert (await ring.report(run, COMPLETE)).verdict == "claim_lost"
    await ring.worker("worker-2")
    again = await ring.take("worker-2")
    assert again.epoch == run.epoch + 1
    assert again.memo is not None
    assert [record.status for record in again.memo.attempts] == ["lost"]
    assert (await ring.report(run, COMPLETE)).verdict == "claim_lost"
    assert await recover(ring.engine) == 0


async def test_a_silent_worker_that_speaks_again_keeps_what_nobody_took(ring: Ring) -> None:
    run = await ring.running()
    await ring.pass_time(LEASE_MS + 1)
    held = (Holding(run.id, run.epoch),)
    assert (await ring.call(Heartbeat(incarnation="worker-1", held=held))).lost == ()
    assert await recover(ring.engine) == 0


async def test_nobody_known_is_given_nothing(ring: Ring) -> None:
    run_id = await ring.start()
    assert isinstance(await ring.refused(claim_of("ghost")), NotFound)
    assert await ring.status(run_id) == "queued"


async def test_a_claim_revives_no_worker_that_was_lost(ring: Ring) -> None:
    """It may have waited since before its worker died; one that lives registers again."""
    run = await ring.running()
    await ring.store.shift_clock(3_600_000)
    assert await recover(ring.engine) == 1
    assert isinstance(await ring.refused(claim_of()), NotFound)
    assert await ring.status(run.id) == "queued"
    await ring.worker()
    (again,) = await ring.claim()
    assert again.id == run.id
    assert await recover(ring.engine) == 0
    assert await ring.status(run.id) == "running"


async def test_a_waiting_claim_of_the_dead_is_given_none_of_their_runs(ring: Ring) -> None:
    """The transaction that recovers them serves the claims that wait, theirs among them."""
    run = await ring.running()
    zombie = asyncio.ensure_future(ring.call(claim_of(wait_ms=60_000)))
    await turns(lambda: len(ring.engine.claims))
    await ring.store.shift_clock(3_600_000)
    assert await recover(ring.engine) == 1
    with pytest.raises(NotFound):
        await zombie
    assert await ring.status(run.id) == "queued"


@only_sqlite
async def test_a_dead_process_is_recovered_before_its_lease_ends(ring: Ring) -> None:
    run = await ring.running()
    assert await recover(ring.engine) == 0
    # The lock is let go, as when the process dies; its file stays.
    store: Any = ring.store
    os.close(store.presence._held.pop("worker-1"))
    assert await recover(ring.engine) == 1
    assert await ring.status(run.id) == "queued"
    assert [w.status for w in await ring.call(ListWorkers())] == ["lost"]


async def test_a_server_that_begins_gives_workers_time_to_be_heard(tmp_path: Path) -> None:
    before = Ring(tmp_path / "a.db")
    await before.engine.start()
    run = await before.running()
    await before.pass_time(LEASE_MS + 1)
    await before.engine.stop()
    after = Ring(tmp_path / "a.db", recovery_grace_ms=3_600_000)
    await after.engine.start()
    assert await recover(after.engine) == 0
    await after.call(Heartbeat(incarnation="worker-1", held=(Holding(run.id, run.epoch),)))
    after.engine._started -= 3_600
    assert await recover(after.engine) == 0
    await after.pass_time(LEASE_MS + 1)
    assert await recover(after.engine) == 1
    await after.engine.stop()


async def test_three_losses_while_alone_make_a_dead_letter(ring: Ring) -> None:
    run_id = await ring.start()
    for number in range(5):
        incarnation = await ring.worker(f"victim-{number}")
        assert ids_of(await ring.claim(incarnation)) == [run_id]
        await ring.pass_time(LEASE_MS + 1)
        assert await recover(ring.engine) == 1
    result = await ring.result(run_id)
    assert (result.run.status, result.failure) == ("failed", DeadLettered(3))
    (letter,) = await ring.call(ListDeadLetters())
    assert (letter.run_id, letter.reason) == (run_id, "poison")


async def test_progress_keeps_a_run_from_becoming_a_dead_letter(ring: Ring) -> None:
    run_id = await ring.start()
    for number in range(1, 8):
        incarnation = await ring.worker(f"victim-{number}")
        (run,) = await ring.claim(incarnation)
        await ring.report(run, entries=(entry(number),), incarnation=incarnation)
        await ring.pass_time(LEASE_MS + 1)
        assert await recover(ring.engine) == 1
    assert await ring.status(run_id) == "queued"


async def test_an_end_by_dead_letter_tells_the_parent(ring: Ring) -> None:
    parent = await ring.running()
    child = start_of()
    await ring.report(parent, children=(child,), child_keys=("ship#0",))
    held = (Holding(parent.id, parent.epoch),)
    for number in range(5):
        incarnation = await ring.worker(f"victim-{number}")
        assert ids_of(await ring.claim(incarnation)) == [child.id]
        await ring.pass_time(LEASE_MS + 1)
        await ring.call(Heartbeat(incarnation="worker-1", held=held))
        await recover(ring.engine)
    (fact,) = (await ring.history(parent.id)).facts
    assert (fact.kind, fact.name) == ("child", child.id)


# Goodbye


async def test_a_goodbye_releases_all_at_once(ring: Ring) -> None:
    runs = [await ring.running() for _ in range(3)]
    await ring.call(PauseRun(id=runs[0].id))
    await ring.call(LeaveWorker(incarnation="worker-1"))
    assert [await ring.status(run.id) for run in runs] == ["paused", "queued", "queued"]
    assert (await ring.report(runs[1], RELEASE)).verdict == "claim_lost"
    assert await recover(ring.engine) == 0


async def test_workers_that_left_long_ago_are_forgotten(ring: Ring) -> None:
    await ring.worker()
    await ring.worker("worker-2")
    await ring.call(LeaveWorker(incarnation="worker-1"))
    await ring.pass_time(31 * DAY_MS)
    await ring.call(Heartbeat(incarnation="worker-2", held=()))
    await ring.call(Listen(incarnation="worker-1", cursor=-1))
    await ring.call(Listen(incarnation="worker-2", cursor=-1))
    await forget(ring.engine)
    assert list(ring.engine.news._cursors) == ["worker-2"]
    assert [worker.incarnation for worker in await ring.call(ListWorkers())] == ["worker-2"]


# News


async def test_news_are_pushed_to_the_worker_that_executes_the_run(ring: Ring) -> None:
    run = await ring.running()
    before = await ring.call(Listen(incarnation="worker-1"))
    event = await ring.send(run.id)
    news = await ring.call(Listen(incarnation="worker-1", cursor=before.cursor, wait_ms=5_000))
    assert news.cursor != before.cursor
    assert [fact.id for fact in news.facts] == [event]
    assert news.held == (Holding(run.id, run.epoch),)
    assert await ring.call(Listen(incarnation="worker-2")) != news


async def test_news_that_another_process_brought_between_two_calls_are_told(ring: Ring) -> None:
    run = await ring.running()
    before = await ring.call(Listen(incarnation="worker-1"))
    other = Ring(ring.path)
    await other.engine.start()
    event = await other.send(run.id)
    await other.engine.stop()
    await ring.engine.refresh(ALL_NEWS)
    news = await ring.call(Listen(incarnation="worker-1", cursor=before.cursor))
    assert [fact.id for fact in news.facts] == [event]
