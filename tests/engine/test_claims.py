"""Claims: who gets which run, once, and with all that is needed to go on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aiki.engine.daemons import recover, republish
from aiki.errors import ClaimLost, InvalidRequest
from aiki.ids import new_id
from aiki.model.task import Decision, Divergence
from aiki.model.worker import WorkflowSpec
from aiki.operations.runs import RetryDiverged, StartRuns, WaiveEntries
from aiki.operations.work import (
    Claims,
    Diverged,
    Failed,
    LeaveWorker,
    LoadMemo,
    Memo,
    Offer,
    Parked,
    RegisterWorker,
)
from aiki.store.records import ALL_NEWS
from tests.engine.support import (
    COMPLETE,
    FAILURE,
    FOR_EVENT,
    LEASE_MS,
    OFFERS,
    RELEASE,
    Ring,
    attempt,
    child_of,
    claim_of,
    entry,
    ids_of,
    registration,
    start_of,
    turns,
)


async def _starts(ring: Ring, count: int, **fields: Any) -> list[str]:
    return [await ring.start(**fields) for _ in range(count)]


async def test_a_claim_never_takes_more_than_its_limit(ring: Ring) -> None:
    started = await _starts(ring, 5)
    await ring.worker()
    taken = [ids_of(await ring.claim(limit=2)) for _ in range(4)]
    assert [len(ids) for ids in taken] == [2, 2, 1, 0]
    assert sorted(id for ids in taken for id in ids) == sorted(started)


@pytest.mark.parametrize("limit", [0, 10_001])
async def test_a_limit_out_of_bounds_is_refused(ring: Ring, limit: int) -> None:
    assert isinstance(await ring.refused(claim_of(limit=limit)), InvalidRequest)
    assert isinstance(await ring.refused(claim_of(offers=())), InvalidRequest)


async def test_two_claims_in_one_batch_share_the_work(ring: Ring) -> None:
    started = await _starts(ring, 3)
    await ring.worker()
    await ring.worker("worker-2")
    first, second = await ring.together(claim_of(limit=2), claim_of("worker-2", limit=2))
    assert sorted(ids_of(first) + ids_of(second)) == sorted(started)
    assert len(first.runs) == 2


async def test_a_repeated_claim_answers_the_same_runs(ring: Ring) -> None:
    await _starts(ring, 3)
    await ring.worker()
    claim = claim_of(limit=2)
    first = await ring.call(claim)
    again = await ring.call(claim)
    assert sorted(ids_of(again)) == sorted(ids_of(first))
    assert {run.epoch for run in again.runs} == {1}
    assert all(run.input == b"{}" for run in again.runs)


async def test_a_claim_repeated_late_brings_what_was_recorded_since(ring: Ring) -> None:
    await ring.start()
    await ring.worker()
    claim = claim_of()
    (run,) = (await ring.call(claim)).runs
    await ring.report(run, entries=(entry(1),))
    (again,) = (await ring.call(claim)).runs
    assert (again.memo, again.memo_version) == (Memo(entries=(entry(1),)), 1)


async def test_priority_then_age(ring: Ring) -> None:
    low = await ring.start(priority=-1)
    old = await ring.start()
    await ring.pass_time(1)
    young = await ring.start()
    high = await ring.start(priority=5)
    await ring.worker()
    assert ids_of(await ring.claim()) == [high, old, young, low]


async def test_only_offered_workflows_versions_and_shards_are_given(ring: Ring) -> None:
    others = [
        await ring.start(workflow="refunds"),
        await ring.start(version="2.0"),
        await ring.start(shard="eu"),
    ]
    await ring.worker()
    assert await ring.claim() == ()
    assert ids_of(await ring.claim(shards=("eu", "us"))) == [others[2]]
    offers = (Offer("refunds", "1.0"), Offer("orders", "2.0"))
    assert sorted(ids_of(await ring.claim(offers=offers))) == sorted(others[:2])


async def test_a_waiting_claim_is_served_in_the_transaction_of_the_start(ring: Ring) -> None:
    await ring.worker()
    waiting = asyncio.ensure_future(ring.call(claim_of(wait_ms=60_000)))
    await turns(lambda: len(ring.engine.claims))
    batches = ring.engine.committer.batches
    started = await ring.start()
    assert ids_of(await waiting) == [started]
    assert ring.engine.committer.batches == batches + 1
    assert await ring.reasons(started) == ["new", "claimed"]
    assert not len(ring.engine.claims)


async def test_a_waiting_claim_is_not_served_what_it_did_not_offer(ring: Ring) -> None:
    await ring.worker()
    waiting = asyncio.ensure_future(ring.call(claim_of(wait_ms=60_000)))
    await turns(lambda: len(ring.engine.claims))
    await ring.start(workflow="refunds")
    await ring.start(shard="eu")
    assert not waiting.done()
    await ring.call(LeaveWorker(incarnation="worker-1"))
    assert (await waiting).runs == ()


async def test_a_waiting_claim_gives_up_although_it_is_looked_after(ring: Ring) -> None:
    await ring.worker()
    waiting = asyncio.ensure_future(ring.call(claim_of(wait_ms=200)))
    async with asyncio.timeout(10):
        while not waiting.done():
            await republish(ring.engine)
            await asyncio.sleep(0)
    assert (await waiting).runs == ()


async def test_a_claim_that_another_process_made_possible_is_found(ring: Ring) -> None:
    await ring.worker()
    waiting = asyncio.ensure_future(ring.call(claim_of(wait_ms=60_000)))
    other = Ring(ring.path)
    await other.engine.start()
    started = await other.start()
    assert not waiting.done()
    await ring.engine.refresh(ALL_NEWS)
    assert ids_of(await waiting) == [started]
    await other.engine.stop()


async def test_a_claim_in_the_batch_of_a_goodbye_gets_nothing(ring: Ring) -> None:
    started = await ring.start()
    await ring.worker()
    claims, _ = await ring.together(claim_of(), LeaveWorker(incarnation="worker-1"))
    assert claims.runs == ()
    assert await ring.status(started) == "queued"


async def test_a_repeated_claim_that_may_wait_gets_what_it_was_granted(ring: Ring) -> None:
    await ring.worker()
    started = await ring.start()
    claim = claim_of(wait_ms=60_000)
    for _ in range(2):
        granted = await ring.call(claim)
        assert ids_of(granted) == [started]


async def test_a_claim_that_waits_writes_nothing(ring: Ring) -> None:
    await ring.worker()
    await ring.start()
    await ring.claim(wait_ms=60_000)
    batches = ring.batches
    waiting = asyncio.ensure_future(ring.call(claim_of(wait_ms=60_000)))
    await turns(lambda: len(ring.engine.claims))
    assert ring.batches == batches
    started = await ring.start()
    assert ids_of(await waiting) == [started]


async def test_a_run_that_becomes_ready_while_a_claim_begins_to_wait_is_given(ring: Ring) -> None:
    """Whatever the moment at which the claim comes, between two steps of a transaction too."""
    await ring.worker()
    for moment in range(12):
        await ring.claim(wait_ms=1)
        starting = asyncio.ensure_future(ring.start())
        for _ in range(moment):
            await asyncio.sleep(0)
        waiting = asyncio.ensure_future(ring.call(claim_of(wait_ms=60_000)))
        started = await starting
        assert ids_of(await waiting) == [started]


# What a claim brings


async def test_a_claim_brings_no_more_than_its_bound_and_the_rest_is_loaded(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiki.engine.claims.CLAIM_BYTES", 250)
    await ring.worker()
    text = b'"' + b"x" * 98 + b'"'
    ids = [await ring.start(input=text) for _ in range(4)]
    runs = await ring.claim()
    assert [(run.id, run.input) for run in runs] == [
        (ids[0], text), (ids[1], text), (ids[2], None), (ids[3], None)
    ]  # fmt: skip
    assert [run.memo is None for run in runs] == [False, False, True, True]
    loaded = await ring.call(LoadMemo(run_id=ids[3], epoch=runs[3].epoch))
    assert loaded.input == text


async def test_a_claim_brings_all_that_is_recorded(ring: Ring) -> None:
    run = await ring.running(input=b'{"n": 1}', reference_id="order-1")
    recorded = (entry(1), entry(2, value=None, failure=FAILURE))
    open_attempt = attempt(address="pack:1", name="pack")
    await ring.report(run, entries=recorded, attempts=(open_attempt,), **child_of(run))
    event = await ring.send(run.id)
    await ring.report(run, RELEASE)
    await ring.worker("worker-2")
    again = await ring.take("worker-2", offers=(*OFFERS,), limit=1, shards=())
    while again.id != run.id:
        again = await ring.take("worker-2", limit=1)
    assert (again.epoch, again.attempt, again.memo_version) == (2, 1, 2)
    assert (again.input, again.reference_id) == (b'{"n": 1}', "order-1")
    assert again.memo is not None
    assert again.memo.entries == recorded
    assert [record.status for record in again.memo.attempts] == ["lost"]
    assert [ref.key for ref in again.memo.children] == ["ship#0"]
    assert [fact.id for fact in again.inbox] == [event]


async def test_a_worker_that_may_hold_the_run_is_not_sent_its_memo(ring: Ring) -> None:
    run = await ring.parked(FOR_EVENT)
    await ring.send(run.id)
    again = await ring.take()
    assert (again.id, again.input, again.memo) == (run.id, None, None)
    memo = await ring.call(LoadMemo(run_id=run.id, epoch=again.epoch))
    assert memo.input == b"{}"
    stale = LoadMemo(run_id=run.id, epoch=run.epoch)
    assert isinstance(await ring.refused(stale), ClaimLost)


async def test_a_new_attempt_has_a_memo_of_its_own(ring: Ring) -> None:
    run = await ring.running()
    await ring.report(run, Failed(FAILURE, 0), entries=(entry(1),), attempts=(attempt(),))
    assert await ring.claim() == ()
    await _wake(ring)
    again = await ring.take()
    assert (again.attempt, again.epoch, again.memo_version) == (2, 2, 0)
    assert again.memo is not None
    assert (again.memo.entries, again.memo.attempts) == ((), ())
    assert again.input == b"{}"


async def _wake(ring: Ring) -> None:
    from aiki.engine.daemons import wake_due

    assert await wake_due(ring.engine) == 1


async def test_a_long_memo_comes_in_pages(ring: Ring) -> None:
    run = await ring.running()
    large = b'"' + b"x" * 400_000 + b'"'
    await ring.report(run, entries=tuple(entry(number, value=large) for number in range(1, 8)))
    await ring.report(run, RELEASE)
    await ring.worker("worker-2")
    again = await ring.take("worker-2")
    assert again.memo is not None
    numbers = [e.number for e in again.memo.entries]
    following = again.memo.next_number
    while following is not None:
        assert following == numbers[-1] + 1
        page = await ring.call(LoadMemo(run_id=run.id, epoch=2, from_number=following))
        assert page.memo is not None
        assert page.memo.entries
        numbers += [e.number for e in page.memo.entries]
        following = page.memo.next_number
    assert numbers == [1, 2, 3, 4, 5, 6, 7]


# Alone


async def _poison(ring: Ring, run_id: str, losses: int) -> None:
    for number in range(losses):
        incarnation = f"victim-{number}"
        await ring.worker(incarnation, lease_ms=1_000)
        (run,) = await ring.claim(incarnation)
        assert run.id == run_id
        await ring.pass_time(1_001)
        assert await recover(ring.engine) == 1


async def test_a_run_to_be_executed_alone_waits_for_an_idle_worker(ring: Ring) -> None:
    poison = await ring.start()
    await _poison(ring, poison, 2)
    other = await ring.start()
    await ring.worker()
    busy = await ring.call(claim_of(idle=False))
    assert (busy.runs, busy.alone_waiting) == ((), True)
    alone = await ring.call(claim_of(idle=True))
    assert ids_of(alone) == [poison]
    assert ids_of(await ring.claim()) == [other]


async def test_a_run_meant_for_another_source_keeps_nobody_from_working(ring: Ring) -> None:
    poison = await ring.start()
    await _poison(ring, poison, 2)
    await ring.worker()
    run = await ring.take()
    left = Divergence(("a#0",), ("b#0",), (1,), fingerprint="source-1")
    await ring.report(run, Diverged(left))
    new = (WorkflowSpec("orders", "1.0", "source-2"),)
    await ring.worker("worker-2", workflows=new)
    other = await ring.start()
    claims = await ring.call(claim_of())
    assert (ids_of(claims), claims.alone_waiting) == ([other], False)
    offers = (Offer("orders", "1.0", "source-2"),)
    assert ids_of(await ring.claim("worker-2", offers=offers)) == [poison]


# Divergence


async def _diverged(ring: Ring) -> str:
    run = await ring.running()
    left = Divergence(("a#0",), ("b#0",), (1,), fingerprint="source-1")
    await ring.report(run, Diverged(left), entries=(entry(1),))
    assert await ring.status(run.id) == "diverged"
    return run.id


async def test_a_diverged_run_is_offered_once_to_a_new_source_alone(ring: Ring) -> None:
    run_id = await _diverged(ring)
    await ring.call(registration())
    assert await ring.status(run_id) == "diverged"
    new: RegisterWorker = registration(
        "worker-2", workflows=(WorkflowSpec("orders", "1.0", "source-2"),)
    )
    await ring.call(new)
    assert await ring.claim() == ()
    offers = (Offer("orders", "1.0", "source-2"),)
    run = await ring.take("worker-2", offers=offers)
    again = Divergence(("a#0",), ("c#0",), (1,), fingerprint="source-2")
    await ring.report(run, Diverged(again), incarnation="worker-2")
    await ring.call(new)
    assert await ring.status(run_id) == "diverged"


async def test_decisions_are_appended_and_travel_with_the_claim(ring: Ring) -> None:
    run_id = await _diverged(ring)
    await ring.call(WaiveEntries(id=run_id))
    await ring.worker("worker-2")
    run = await ring.take("worker-2")
    assert run.memo is not None
    assert run.memo.decisions == (Decision("waive", (1,)),)
    assert run.memo_version == 2
    left = Divergence(("a#0",), (), (1,), fingerprint="source-1")
    await ring.report(run, Diverged(left), incarnation="worker-2")
    await ring.call(RetryDiverged(id=run_id))
    run = await ring.take()
    assert run.memo is not None
    assert [decision.kind for decision in run.memo.decisions] == ["waive", "retry"]


async def test_a_divergence_without_recorded_entries_cannot_be_waived(ring: Ring) -> None:
    run = await ring.running()
    await ring.report(run, Diverged(Divergence((), ("b#0",), (), fingerprint="source-1")))
    assert isinstance(await ring.refused(WaiveEntries(id=run.id)), InvalidRequest)
    assert await ring.status(run.id) == "diverged"


async def test_claims_are_a_plain_answer_when_nothing_is_there(ring: Ring) -> None:
    await ring.worker()
    claims = await ring.call(claim_of())
    assert claims == Claims(now=claims.now)
    assert claims.now > 0
    await ring.call(StartRuns(starts=(start_of(id=new_id()),)))
    run = await ring.take()
    await ring.report(run, COMPLETE)
    await ring.pass_time(LEASE_MS + 1)
    assert await recover(ring.engine) == 0


async def test_a_parked_run_is_not_held(ring: Ring) -> None:
    run = await ring.parked(FOR_EVENT)
    assert (await ring.report(run, Parked((FOR_EVENT,)))).verdict == "claim_lost"
