"""Ordering keys: of a workflow's unfinished runs with the same key, only the first is executed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from aiki.engine.daemons import recover, stall, wake_due
from aiki.errors import InvalidRequest
from aiki.ids import new_id
from aiki.model.run import RunOptions
from aiki.model.task import Wait
from aiki.operations.bulk import CancelRuns, RerunRun
from aiki.operations.runs import (
    GetRun,
    PauseRun,
    RedeliverRun,
    ResumeRun,
    RunQuery,
    StartRuns,
    TerminateRun,
)
from aiki.operations.work import ClaimedRun, Claims, Failed, Parked
from tests.engine.support import (
    COMPLETE,
    FAIL,
    FAILURE,
    FOR_EVENT,
    LEASE_MS,
    RECORDED,
    RELEASE,
    Ring,
    child_of,
    claim_of,
    ids_of,
    report_of,
    start_of,
    turns,
)

CARD = RunOptions(ordering_key="card-1")
OTHER_CARD = RunOptions(ordering_key="card-2")


def keyed(options: RunOptions = CARD, **fields: Any) -> Any:
    return start_of(options=options, **fields)


async def line(ring: Ring, count: int = 3, **fields: Any) -> list[str]:
    """Runs of one key, started in one call, in their order."""
    starts = tuple(keyed(**fields) for _ in range(count))
    await ring.call(StartRuns(starts=starts))
    return [start.id for start in starts]


async def statuses(ring: Ring, ids: list[str]) -> list[str]:
    return [await ring.status(run_id) for run_id in ids]


async def test_only_the_first_of_a_key_is_ready(ring: Ring) -> None:
    first, *others = await line(ring)
    free = await ring.start()
    (other_key,) = await line(ring, 1, options=OTHER_CARD)
    other_workflow = await ring.start(options=CARD, workflow="refunds")
    await ring.worker()
    assert set(ids_of(await ring.claim())) == {first, free, other_key}
    assert await statuses(ring, others) == ["awaiting_turn", "awaiting_turn"]
    assert await ring.status(other_workflow) == "queued"
    assert (await ring.result(first)).run.ordering_key == "card-1"


@pytest.mark.parametrize("ending", [COMPLETE, FAIL])
async def test_the_end_of_one_admits_the_next(ring: Ring, ending: Any) -> None:
    ids = await line(ring)
    await ring.worker()
    executed = []
    for _ in ids:
        run = await ring.take()
        executed.append(run.id)
        assert await ring.report(run, ending) == RECORDED
    assert executed == ids
    assert await ring.reasons(ids[1]) == ["new", "admitted", "claimed", ring_reason(ending)]
    assert ring.rows("SELECT * FROM ordering_turn") == []
    assert ring.rows("SELECT * FROM ordering_line") == []


def ring_reason(ending: Any) -> str:
    return "returned" if ending is COMPLETE else "raised"


async def test_a_waiting_claim_gets_the_next_in_the_same_transaction(ring: Ring) -> None:
    _, second = await line(ring, 2)
    await ring.worker()
    await ring.worker("worker-2")
    run = await ring.take()
    waiting = asyncio.ensure_future(ring.claim("worker-2", wait_ms=60_000))
    await turns(lambda: len(ring.engine.claims))
    batches = ring.batches
    await ring.report(run, COMPLETE)
    assert ids_of(await waiting) == [second]
    assert ring.batches == batches + 1


async def test_the_order_is_that_of_the_starts(ring: Ring) -> None:
    """Whatever their ids and priorities are."""
    ids = sorted((new_id() for _ in range(4)), reverse=True)
    for place, run_id in enumerate(ids):
        await ring.start(id=run_id, options=CARD, priority=place)
    await ring.worker()
    assert await _executed(ring, len(ids)) == ids


async def _executed(ring: Ring, count: int) -> list[str]:
    """The runs that worker-1 is given one after the other."""
    executed: list[str] = []
    for _ in range(count):
        run = await ring.take()
        executed.append(run.id)
        await ring.report(run, COMPLETE)
    return executed


async def test_starts_of_one_batch_keep_their_order(ring: Ring) -> None:
    starts = [keyed() for _ in range(5)]
    await ring.together(*(StartRuns(starts=(start,)) for start in starts))
    await ring.worker()
    assert await _executed(ring, 5) == [start.id for start in starts]


async def test_who_sleeps_or_retries_keeps_its_turn(ring: Ring) -> None:
    first, second = await line(ring, 2)
    await ring.worker()
    run = await ring.take()
    await ring.report(run, Parked((Wait("timer", "nap#0", due_at=await ring.now() + 1_000),)))
    assert await ring.claim() == ()
    await ring.pass_time(1_000)
    assert await wake_due(ring.engine) == 1
    run = await ring.take()
    assert run.id == first
    await ring.report(run, RELEASE)
    assert (await ring.take()).id == first
    assert await ring.status(second) == "awaiting_turn"


async def test_who_fails_and_is_retried_keeps_its_turn(ring: Ring) -> None:
    first, second = await line(ring, 2)
    await ring.worker()
    await ring.report(await ring.take(), Failed(FAILURE, retry_in_ms=1_000))
    assert await ring.status(first) == "awaiting_retry"
    assert await ring.status(second) == "awaiting_turn"
    await ring.pass_time(1_000)
    assert await wake_due(ring.engine) == 1
    await ring.report(await ring.take(), FAIL)
    assert await statuses(ring, [first, second]) == ["failed", "queued"]


async def test_a_delayed_run_keeps_its_place(ring: Ring) -> None:
    delayed = await ring.start(options=CARD, delay_ms=5_000)
    later = await ring.start(options=CARD)
    assert await statuses(ring, [delayed, later]) == ["scheduled", "awaiting_turn"]
    await ring.pass_time(5_000)
    assert await wake_due(ring.engine) == 1
    await ring.worker()
    assert await _executed(ring, 2) == [delayed, later]


async def test_a_delay_that_ends_before_its_turn_is_over(ring: Ring) -> None:
    first = await ring.start(options=CARD)
    delayed = await ring.start(options=CARD, delay_ms=5_000)
    much_delayed = await ring.start(options=CARD, delay_ms=90_000)
    await ring.pass_time(5_000)
    assert await wake_due(ring.engine) == 0
    await ring.worker()
    assert await _executed(ring, 2) == [first, delayed]
    assert await ring.status(much_delayed) == "scheduled"
    assert (await ring.reasons(much_delayed))[-1] == "admitted"


async def test_who_is_cancelled_before_its_turn_is_passed_over(ring: Ring) -> None:
    first, second, third, fourth = await line(ring, 4)
    assert await ring.cancel(second) == "cancelled"
    await ring.call(TerminateRun(id=third, command_id=new_id()))
    await ring.worker()
    assert await _executed(ring, 2) == [first, fourth]


async def test_a_whole_line_is_cancelled_at_once(ring: Ring) -> None:
    ids = await line(ring, 4)
    last = await ring.start(options=CARD)
    for run_id in ids:
        await ring.call(TerminateRun(id=run_id, command_id=new_id()))
    assert await ring.status(last) == "queued"
    await ring.call(CancelRuns(query=RunQuery(workflow="orders"), command_id=new_id()))
    assert await ring.status(last) == "cancelled"
    assert ring.rows("SELECT * FROM ordering_line") == []


async def test_ends_of_one_batch_admit_the_next_that_is_left(ring: Ring) -> None:
    first, second, third = await line(ring)
    await ring.together(
        TerminateRun(id=second, command_id=new_id()), TerminateRun(id=first, command_id=new_id())
    )
    assert await ring.status(third) == "queued"


async def test_a_start_and_the_end_before_it_in_one_batch(ring: Ring) -> None:
    run = await ring.running(options=CARD)
    start = keyed()
    await ring.together(report_of(run, COMPLETE), StartRuns(starts=(start,)))
    assert await ring.status(start.id) == "queued"


async def test_a_deadline_before_its_turn_ends_it(ring: Ring) -> None:
    first = await ring.start(options=CARD)
    options = RunOptions(ordering_key="card-1", timeout_ms=1_000)
    hasty = await ring.start(options=options)
    last = await ring.start(options=CARD)
    await ring.pass_time(1_000)
    assert await wake_due(ring.engine) == 1
    assert await ring.status(hasty) == "failed"
    await ring.worker()
    assert await _executed(ring, 2) == [first, last]


async def test_who_is_paused_holds_up_the_others(ring: Ring) -> None:
    first, second = await line(ring, 2)
    await ring.call(PauseRun(id=first))
    await ring.call(PauseRun(id=second))
    await ring.call(ResumeRun(id=second))
    await ring.worker()
    assert await ring.claim() == ()
    await ring.call(ResumeRun(id=first))
    assert await ring.reasons(first) == ["new", "admitted", "paused", "resumed", "admitted"]
    assert await _executed(ring, 2) == [first, second]


async def test_a_run_that_is_paused_while_others_end_comes_back_in_its_turn(ring: Ring) -> None:
    first, second, third = await line(ring)
    await ring.call(PauseRun(id=second))
    await ring.worker()
    assert await _executed(ring, 1) == [first]
    assert await ring.claim() == ()
    await ring.call(ResumeRun(id=second))
    assert await _executed(ring, 2) == [second, third]


async def test_a_recovered_run_keeps_its_turn(ring: Ring) -> None:
    first, second = await line(ring, 2)
    await ring.worker()
    await ring.take()
    await ring.pass_time(LEASE_MS + 1)
    assert await recover(ring.engine) == 1
    await ring.worker()
    assert ids_of(await ring.claim()) == [first]
    assert await ring.status(second) == "awaiting_turn"


async def test_a_stalled_run_keeps_its_turn(ring: Ring) -> None:
    first, second = await line(ring, 2)
    await ring.pass_time(366 * 86_400_000)
    assert await stall(ring.engine) == 1
    assert await statuses(ring, [first, second]) == ["stalled", "awaiting_turn"]
    await ring.call(RedeliverRun(id=first))
    await ring.worker()
    assert await _executed(ring, 2) == [first, second]


async def test_a_repeated_start_takes_one_place(ring: Ring) -> None:
    start = StartRuns(starts=(keyed(reference_id="order-1"),))
    for _ in range(2):
        await ring.call(start)
    again = keyed(reference_id="order-1", on_conflict="return_existing")
    await ring.call(StartRuns(starts=(again,)))
    assert ring.rows("SELECT run_id FROM ordering_turn") == [(start.starts[0].id,)]


async def test_a_rerun_goes_to_the_end_of_the_line(ring: Ring) -> None:
    first, second = await line(ring, 2)
    await ring.worker()
    assert await _executed(ring, 1) == [first]
    again = (await ring.call(RerunRun(id=first, command_id=new_id()))).id
    assert await _executed(ring, 2) == [second, again]


async def test_children_line_up_too(ring: Ring) -> None:
    parent = await ring.running(workflow="orders")
    report = child_of(parent, options=CARD)
    await ring.start(options=CARD)
    await ring.report(parent, **report)
    (child,) = report["children"]
    assert await ring.status(child.id) == "awaiting_turn"


async def test_a_child_with_its_parents_key_is_refused(ring: Ring) -> None:
    parent = await ring.running(options=CARD)
    outcome = await ring.report(parent, **child_of(parent, options=CARD))
    assert outcome.verdict == "refused"
    assert "would wait for the end of its parent" in outcome.detail


async def test_a_grandchild_with_its_grandparents_key_is_refused(ring: Ring) -> None:
    grandparent = await ring.running(options=CARD)
    report = child_of(grandparent)
    (start,) = report["children"]
    await ring.report(grandparent, Parked((Wait("child", start.id),)), **report)
    parent = await ring.take()
    outcome = await ring.report(parent, **child_of(parent, options=CARD))
    assert outcome.verdict == "refused"
    assert f"would wait for the end of its ancestor {grandparent.id}" in outcome.detail


async def test_the_key_of_an_ancestor_that_has_ended_is_free(ring: Ring) -> None:
    grandparent = await ring.running(options=CARD)
    report = child_of(grandparent)
    await ring.report(grandparent, **report)
    parent = await ring.take()
    await ring.report(grandparent, COMPLETE)
    below = child_of(parent, options=CARD)
    assert await ring.report(parent, **below) == RECORDED
    assert await ring.status(below["children"][0].id) == "queued"


@pytest.mark.parametrize("key", ["", "a\0b", "x" * 201])
async def test_a_key_that_cannot_be_kept_is_refused(ring: Ring, key: str) -> None:
    start = start_of(options=RunOptions(ordering_key=key))
    error = await ring.refused(StartRuns(starts=(start,)))
    assert isinstance(error, InvalidRequest)
    assert "ordering key" in error.message


async def test_runs_without_a_key_cost_no_statement_more(ring: Ring) -> None:
    """Attributes that look like a key are none."""
    options = RunOptions(attributes={"ordering_key": "x"})
    run = await ring.running(options=options)
    before = ring.rows("SELECT COUNT(*) FROM ordering_line")
    await ring.report(run, COMPLETE)
    assert before == [(0,)]


async def test_two_servers_admit_each_run_once(tmp_path: Path) -> None:
    """Starts and ends at the same time see each other, through the lock of the line."""
    here = Ring(tmp_path / "a.db")
    await here.engine.start()
    there = Ring(tmp_path / "a.db")
    await there.engine.start()
    try:
        for ring, name in ((here, "worker-1"), (there, "worker-2")):
            await ring.worker(name)
        ended: list[str] = []
        started: list[str] = []

        async def start(ring: Ring) -> None:
            for _ in range(20):
                started.append(await ring.start(options=CARD))  # noqa: PERF401 - as they come

        async def work(ring: Ring, name: str) -> None:
            while len(ended) < 40:
                for run in await ring.claim(name, wait_ms=20):
                    assert not executing
                    executing.add(run.id)
                    for _ in range(10):
                        await asyncio.sleep(0)
                    # Its successor may be granted before this worker has its answer.
                    executing.remove(run.id)
                    await _finish(ring, run, name)
                    ended.append(run.id)

        executing: set[str] = set()
        await asyncio.gather(
            start(here), start(there), work(here, "worker-1"), work(there, "worker-2")
        )
        assert sorted(ended) == sorted(started)
    finally:
        await here.engine.stop()
        await there.engine.stop()


async def _finish(ring: Ring, run: ClaimedRun, name: str) -> None:
    await ring.call(report_of(run, COMPLETE, incarnation=name))


async def test_an_event_reaches_a_run_that_awaits_its_turn(ring: Ring) -> None:
    first, second = await line(ring, 2)
    await ring.send(second)
    await ring.worker()
    await _executed(ring, 1)
    run = await ring.take()
    assert [fact.name for fact in run.inbox] == ["paid"]
    assert (await ring.call(GetRun(id=first))).ended
    assert await ring.report(run, Parked((FOR_EVENT,))) == RECORDED
    claims: Claims = await ring.call(claim_of())
    assert ids_of(claims) == [second]


async def test_a_run_that_is_paused_in_the_batch_of_its_start_has_its_place(ring: Ring) -> None:
    start = keyed()
    await ring.together(StartRuns(starts=(start,)), PauseRun(id=start.id))
    (second,) = await line(ring, 1)
    await ring.worker()
    assert await ring.claim() == ()
    await ring.call(ResumeRun(id=start.id))
    assert await _executed(ring, 2) == [start.id, second]
