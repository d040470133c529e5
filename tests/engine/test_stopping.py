"""Cancel, terminate, deadlines and graces: who ends when, with which failure and family."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiki.engine.batch import Batch
from aiki.engine.daemons import SYSTEM_PRINCIPAL, retention, stall, wake_due
from aiki.engine.upkeep import StallRuns, WakeDue, apply_wake, prepare_wake
from aiki.errors import InvalidTransition, NotFound
from aiki.ids import new_id
from aiki.model import limits
from aiki.model.failure import Cancelled, TimedOut
from aiki.model.run import RunOptions
from aiki.model.task import Wait
from aiki.operations.catalog import ListDeadLetters
from aiki.operations.runs import CancelRun, GetRun, PauseRun, RedeliverRun, ResumeRun, TerminateRun
from aiki.operations.work import Heartbeat, Parked, StopRequest
from tests.engine.support import (
    COMPLETE,
    FAIL,
    FAILURE,
    FOR_EVENT,
    RECORDED,
    RELEASE,
    Ring,
    Transaction,
    child_of,
    entry,
    ids_of,
    start_of,
    taking,
)

GRACE = RunOptions(cancel_grace_ms=1_000)
TIMED = RunOptions(cancel_grace_ms=1_000, timeout_ms=500)
HOUR_MS = 3_600_000


async def _told(ring: Ring, options: RunOptions = GRACE) -> str:
    """A running run that has recorded the request to stop."""
    run = await ring.running(options=options)
    await ring.cancel(run.id)
    (fact,) = (await ring.history(run.id)).facts
    assert await ring.report(run, entries=(taking(1, fact),)) == RECORDED
    return run.id


async def test_the_grace_begins_with_the_record_and_ends_the_run(ring: Ring) -> None:
    run = await ring.running(options=GRACE)
    await ring.cancel(run.id)
    await ring.pass_time(HOUR_MS)
    assert await wake_due(ring.engine) == 0
    (fact,) = (await ring.history(run.id)).facts
    await ring.report(run, entries=(taking(1, fact),))
    await ring.pass_time(500)
    assert await wake_due(ring.engine) == 0
    await ring.pass_time(600)
    assert await wake_due(ring.engine) == 1
    result = await ring.result(run.id)
    assert result.run.status == "cancelled"
    assert result.failure == Cancelled("its time for clean-up was over", forced=True)
    assert (await ring.report(run, COMPLETE)).verdict == "claim_lost"


async def test_a_run_that_raises_from_its_cancel_is_cancelled(ring: Ring) -> None:
    run = await ring.running()
    await ring.cancel(run.id)
    (fact,) = (await ring.history(run.id)).facts
    await ring.report(run, FAIL, entries=(taking(1, fact),))
    result = await ring.result(run.id)
    assert (result.run.status, result.failure) == ("cancelled", Cancelled(cause=FAILURE))


async def test_a_run_that_catches_its_cancel_completes(ring: Ring) -> None:
    run = await ring.running()
    await ring.cancel(run.id)
    (fact,) = (await ring.history(run.id)).facts
    await ring.report(run, COMPLETE, entries=(taking(1, fact),))
    assert await ring.status(run.id) == "completed"


async def test_an_ended_run_cannot_be_stopped(ring: Ring) -> None:
    run_id = await ring.start()
    assert await ring.cancel(run_id) == "cancelled"
    for command in (
        CancelRun(id=run_id, command_id=new_id()),
        TerminateRun(id=run_id, command_id=new_id()),
    ):
        assert isinstance(await ring.refused(command), InvalidTransition)


async def test_a_deadline_gives_the_grace_and_then_ends_the_run(ring: Ring) -> None:
    run = await ring.running(options=TIMED)
    await ring.pass_time(501)
    assert await wake_due(ring.engine) == 1
    assert (await ring.result(run.id)).run.stop_requested == "timeout"
    await ring.pass_time(1_001)
    assert await wake_due(ring.engine) == 1
    result = await ring.result(run.id)
    assert (result.run.status, result.failure) == ("failed", TimedOut(500, "run of orders"))
    assert (await ring.report(run, COMPLETE)).verdict == "claim_lost"


async def test_a_deadline_ends_an_unstarted_run_at_once(ring: Ring) -> None:
    run_id = await ring.start(options=TIMED)
    await ring.pass_time(501)
    await wake_due(ring.engine)
    assert await ring.status(run_id) == "failed"
    assert ring.rows("SELECT * FROM outbox") == []


async def test_a_deadline_that_comes_after_the_naming_is_left_to_the_next_round(ring: Ring) -> None:
    """Time lies between the naming of rows and their locks; a child's deadline may come in it."""
    parent = await ring.running()
    report = child_of(parent, delay_ms=1_000, options=RunOptions(timeout_ms=60_000))
    (child,) = report["children"]
    await ring.report(parent, Parked((Wait("child", child.id),)), **report)
    await ring.pass_time(1_001)
    due = WakeDue(ids=(child.id,))

    async def wake_late(tx: Transaction) -> None:
        batch = Batch(tx)
        await prepare_wake(due, SYSTEM_PRINCIPAL, batch)
        await batch.load()
        batch.now += 60_000
        apply_wake(due, SYSTEM_PRINCIPAL, batch)
        await batch.flush()

    await ring.store.transact(wake_late)
    assert await ring.status(child.id) == "scheduled"
    await ring.pass_time(60_000)
    assert await wake_due(ring.engine) == 1
    assert [await ring.status(run_id) for run_id in (child.id, parent.id)] == ["failed", "queued"]


async def test_a_forced_end_after_a_timeout_is_a_cancel(ring: Ring) -> None:
    run = await ring.running(options=TIMED)
    await ring.pass_time(501)
    await wake_due(ring.engine)
    assert await ring.cancel(run.id) == "cancelled"
    assert (await ring.result(run.id)).failure == Cancelled(forced=True)


async def test_a_run_that_never_heard_its_cancel_ends_with_its_time(ring: Ring) -> None:
    run = await ring.parked(FOR_EVENT, options=TIMED)
    await ring.cancel(run.id)
    await ring.pass_time(501)
    await wake_due(ring.engine)
    await ring.pass_time(1_001)
    await wake_due(ring.engine)
    assert await ring.status(run.id) == "cancelled"


# Families


async def _tree(ring: Ring) -> list[str]:
    """A parent that runs, a child that waits, a grandchild that nobody has claimed."""
    parent = await ring.running(options=GRACE)
    child = start_of()
    await ring.report(parent, children=(child,), child_keys=("ship#0",))
    claimed = await ring.take()
    grandchild = start_of()
    await ring.report(
        claimed, Parked((Wait("child", grandchild.id),)), children=(grandchild,),
        child_keys=("pack#0",),
    )  # fmt: skip
    return [parent.id, child.id, grandchild.id]


@pytest.mark.parametrize("how", ["cancel", "terminate", "grace"])
async def test_descendants_are_asked_in_the_same_transaction(ring: Ring, how: str) -> None:
    parent, child, grandchild = await _tree(ring)
    batches = ring.engine.committer.batches
    if how == "terminate":
        await ring.call(TerminateRun(id=parent, command_id=new_id()))
    else:
        await ring.cancel(parent)
    assert ring.engine.committer.batches == batches + 1
    assert await ring.status(grandchild) == "cancelled"
    view = (await ring.result(child)).run
    assert (view.status, view.stop_requested) == ("queued", "cancel")
    kinds = [fact.kind for fact in (await ring.history(child)).facts]
    assert sorted(kinds) == ["cancel", "child"]


async def test_a_family_is_asked_once(ring: Ring) -> None:
    parent, child, _ = await _tree(ring)
    await ring.cancel(child)
    await ring.cancel(parent)
    assert await ring.status(child) == "queued"
    assert ring.rows("SELECT count(*) FROM fact WHERE kind = 'cancel'") == [(2,)]


async def test_a_run_may_ask_another_to_stop(ring: Ring) -> None:
    asker, target = await ring.running(), await ring.running()
    stop = StopRequest(new_id(), target.id, "enough")
    for _ in range(2):
        await ring.report(asker, stops=(stop,))
        assert (await ring.result(target.id)).run.stop_requested == "cancel"
    assert await ring.status(target.id) == "running"


# Waiting, pausing, delaying


async def test_a_delayed_start(ring: Ring) -> None:
    run_id = await ring.start(delay_ms=1_000)
    await ring.worker()
    assert await ring.claim() == ()
    assert await wake_due(ring.engine) == 0
    await ring.pass_time(1_001)
    assert await wake_due(ring.engine) == 1
    assert ids_of(await ring.claim()) == [run_id]


async def test_a_paused_start_is_not_woken_and_goes_on_where_it_was(ring: Ring) -> None:
    run_id = await ring.start(delay_ms=1_000)
    await ring.call(PauseRun(id=run_id))
    assert (await ring.call(ResumeRun(id=run_id))).status == "scheduled"
    await ring.call(PauseRun(id=run_id))
    await ring.pass_time(1_001)
    assert await wake_due(ring.engine) == 0
    assert (await ring.call(ResumeRun(id=run_id))).status == "queued"


async def test_a_running_run_pauses_when_it_parks(ring: Ring) -> None:
    run = await ring.running()
    assert (await ring.call(PauseRun(id=run.id))).status == "running"
    await ring.send(run.id)
    await ring.report(run, Parked((FOR_EVENT,)))
    assert await ring.status(run.id) == "paused"
    await ring.worker()
    assert await ring.claim() == ()


PUBLIC = {
    "sleeping": (Wait("timer", "t", 10**13), Wait("event", "paid", 10**13 + 1)),
    "awaiting_event": (Wait("event", "paid", 10**13), Wait("timer", "t", 10**13 + 1)),
    "awaiting_retry": (Wait("task_retry", "charge#0", 10**13), FOR_EVENT),
    "awaiting_child": (Wait("child", "c-1"),),
}


@pytest.mark.parametrize("status", PUBLIC)
async def test_a_waiting_run_shows_what_it_waits_for_first(ring: Ring, status: str) -> None:
    run = await ring.parked(*PUBLIC[status])
    assert await ring.status(run.id) == status
    assert await ring.status((await ring.parked(FOR_EVENT, Wait("child", "c"))).id) == (
        "awaiting_event"
    )


# Stall and retention


async def test_what_nobody_takes_is_stalled_and_may_be_redelivered(ring: Ring) -> None:
    run_id = await ring.start(workflow="unknown")
    assert await stall(ring.engine) == 0
    await ring.pass_time(24 * HOUR_MS + 1)
    assert await stall(ring.engine) == 1
    (letter,) = await ring.call(ListDeadLetters())
    assert (letter.run_id, letter.reason) == (run_id, "undeliverable")
    assert isinstance(await ring.refused(ResumeRun(id=run_id)), InvalidTransition)
    assert (await ring.call(RedeliverRun(id=run_id))).status == "queued"
    assert await stall(ring.engine) == 0


async def test_what_was_taken_and_given_back_since_is_not_stale(ring: Ring) -> None:
    run_id = await ring.start()
    await ring.worker()
    before = await ring.now()
    await ring.pass_time(10)
    run = await ring.take()
    await ring.report(run, RELEASE)
    daemon = ring.engine.session(SYSTEM_PRINCIPAL)
    assert await daemon.call(StallRuns(ids=(run_id,), ready_before=before)) == 0
    assert await ring.status(run_id) == "queued"


async def test_retention_keeps_the_children_of_live_parents(ring: Ring) -> None:
    parent = await ring.running()
    child = start_of(reference_id="order-1")
    await ring.report(parent, children=(child,), child_keys=("ship#0",))
    claimed = await ring.take()
    await ring.report(claimed, COMPLETE, entries=(entry(1),))
    await ring.pass_time(31 * 24 * HOUR_MS)
    await ring.call(Heartbeat(incarnation="worker-1", held=()))
    assert await retention(ring.engine) == 0
    again = await ring.take()
    await ring.report(again, COMPLETE)
    await ring.pass_time(31 * 24 * HOUR_MS)
    assert await retention(ring.engine) == 2
    assert isinstance(await ring.refused(GetRun(id=parent.id)), NotFound)
    for table in ("run", "run_payload", "entry", "fact", "child", "transition", "wait", "outbox"):
        assert ring.rows(f"SELECT count(*) FROM {table}") == [(0,)], table
    assert await ring.start(reference_id="order-1") != child.id


async def test_nothing_is_deleted_where_all_is_kept(tmp_path: Path) -> None:
    other = Ring(tmp_path / "kept.db", retention_ms=None)
    await other.engine.start()
    run_id = await other.start()
    await other.cancel(run_id)
    await other.pass_time(1_000 * 24 * HOUR_MS)
    assert await retention(other.engine) == 0
    assert await other.status(run_id) == "cancelled"
    await other.engine.stop()


async def test_a_child_started_before_its_parent_hears_of_the_cancel_is_stopped(
    ring: Ring,
) -> None:
    await ring.worker()
    parent = await ring.start()
    claim = await ring.take()
    await ring.call(CancelRun(id=parent, command_id=new_id()))
    child = start_of()
    assert await ring.report(claim, children=(child,), child_keys=("child#0",)) == RECORDED
    assert (await ring.call(GetRun(id=child.id))).run.status == "cancelled"


async def test_a_run_cannot_record_entries_without_end(ring: Ring) -> None:
    await ring.worker()
    await ring.start()
    claim = await ring.take()
    outcome = await ring.report(claim, entries=(entry(limits.ENTRIES_PER_RUN + 1),))
    assert outcome.verdict == "refused"
    assert "children" in outcome.detail
