"""Group commit: what arrives together is one transaction, and each still stands alone."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import pytest

from aiki import failpoints
from aiki.engine import committer
from aiki.engine.engine import Engine, EngineSettings
from aiki.engine.handler import Handler
from aiki.engine.handlers import HANDLERS
from aiki.errors import (
    Conflict,
    InvalidRequest,
    InvalidTransition,
    NotFound,
    ServerBusy,
    ServiceError,
    StoreUnavailable,
)
from aiki.ids import new_id
from aiki.model.audit import Principal
from aiki.operations.base import Operation
from aiki.operations.runs import CancelRun, PauseRun, ResumeRun, StartRuns
from aiki.operations.work import Heartbeat, Parked, Report, ReportOutcome
from tests.engine.support import (
    COMPLETE,
    FOR_EVENT,
    RECORDED,
    RELEASE,
    CountingStore,
    Crash,
    Ring,
    entry,
    event_of,
    ids_of,
    report_of,
    run_report,
    start_of,
    turns,
)
from tests.support.databases import exact
from tests.support.faults import cannot_save


async def test_operations_that_arrive_together_share_one_commit(ring: Ring) -> None:
    answers = await ring.together(*(StartRuns(starts=(start_of(),)) for _ in range(200)))
    assert all(started.created for (started,) in answers)
    assert ring.rows("SELECT count(*) FROM run") == [(200,)]


async def test_a_batch_has_a_largest_size(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "BATCH_OPERATIONS", 50)
    before = ring.engine.committer.batches
    starts = [StartRuns(starts=(start_of(),)) for _ in range(120)]
    await asyncio.gather(*map(ring.call, starts))
    assert ring.engine.committer.batches - before == 3


async def _statements_for(ring: Ring, count: int, ending: Any) -> int:
    runs = await _take(ring, count)
    reports = [run_report(run, ending, entries=(entry(1), entry(2))) for run in runs]
    before = ring.store.statements_executed
    answers = await ring.together(
        *(Report(incarnation="worker-1", reports=(report,)) for report in reports)
    )
    assert [answer.outcomes for answer in answers] == [(RECORDED,)] * count
    return ring.store.statements_executed - before


async def _take(ring: Ring, count: int) -> list[Any]:
    await ring.call(StartRuns(starts=tuple(start_of() for _ in range(count))))
    await ring.worker()
    return list(await ring.claim(limit=count))


@pytest.mark.parametrize(
    "ending", [None, COMPLETE, RELEASE, Parked((FOR_EVENT,))], ids=lambda e: type(e).__name__
)
async def test_two_hundred_reports_cost_as_many_statements_as_one(ring: Ring, ending: Any) -> None:
    one = await _statements_for(ring, 1, ending)
    if ending == RELEASE:
        await ring.claim()
    assert await _statements_for(ring, 200, ending) == one


async def test_claiming_two_hundred_runs_costs_as_many_statements_as_one(ring: Ring) -> None:
    await ring.worker()
    costs = []
    for count in (1, 200):
        await ring.call(StartRuns(starts=tuple(start_of() for _ in range(count))))
        before = ring.store.statements_executed
        assert len(await ring.claim(limit=200)) == count
        costs.append(ring.store.statements_executed - before)
    assert costs[0] == costs[1]


async def test_a_refused_operation_does_not_touch_its_neighbours(ring: Ring) -> None:
    existing = await ring.start(reference_id="order-1")
    good, worse = start_of(), start_of(reference_id="order-1")
    unknown = new_id()
    answers = await ring.together(
        StartRuns(starts=(good,)),
        StartRuns(starts=(worse,)),
        PauseRun(id=unknown),
        ResumeRun(id=existing),
        event_of(existing),
    )
    kinds = [type(answer) for answer in answers[1:4]]
    assert kinds == [Conflict, NotFound, InvalidTransition]
    assert answers[0][0].created
    assert {row[0] for row in ring.rows("SELECT id FROM run")} == {existing, good.id}
    assert ring.rows("SELECT count(*) FROM fact") == [(1,)]


async def test_one_refused_report_does_not_touch_the_others_of_its_call(ring: Ring) -> None:
    first, second, third = await _take(ring, 3)
    reports = (
        run_report(first, COMPLETE),
        run_report(second, COMPLETE, epoch=second.epoch + 1),
        run_report(third, COMPLETE, children=(start_of(),), child_keys=()),
    )
    reported = await ring.call(Report(incarnation="worker-1", reports=reports))
    verdicts = [outcome.verdict for outcome in reported.outcomes]
    assert verdicts == ["recorded", "claim_lost", "refused"]
    assert await ring.status(first.id) == "completed"
    assert await ring.status(second.id) == await ring.status(third.id) == "running"


async def test_an_unexpected_error_in_one_repeats_the_batch_singly(
    ring: Ring, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prepare, apply = HANDLERS[PauseRun]

    def broken(operation: PauseRun, principal: Principal, batch: Any) -> Any:
        apply(operation, principal, batch)
        raise ZeroDivisionError

    handlers: dict[Any, Handler] = HANDLERS
    target = await ring.start()
    monkeypatch.setitem(handlers, PauseRun, Handler(prepare, broken))
    good = [StartRuns(starts=(start_of(),)) for _ in range(3)]
    operations: list[Operation[Any]] = [*good, PauseRun(id=target)]
    answers = await asyncio.gather(*map(ring.call, operations), return_exceptions=True)
    assert all(isinstance(answer, tuple) for answer in answers[:3])
    assert isinstance(answers[3], ServiceError)
    assert "ZeroDivisionError" in str(answers[3])
    assert await ring.status(target) == "queued"
    assert ring.rows("SELECT count(*) FROM run") == [(4,)]
    assert "repeated singly" in caplog.text


async def test_a_report_that_fails_for_an_unknown_cause_is_asked_for_again(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await _take(ring, 2)
    report = Report(
        incarnation="worker-1",
        reports=tuple(run_report(run, COMPLETE, entries=(entry(1),)) for run in (first, second)),
    )
    with monkeypatch.context() as patch:
        cannot_save(first.id, RuntimeError("for a while"), patch)
        verdicts = [outcome.verdict for outcome in (await ring.call(report)).outcomes]
    assert verdicts == ["later", "recorded"]
    assert await ring.status(first.id) == "running"
    assert (await ring.call(report)).outcomes == (RECORDED, RECORDED)
    assert await ring.status(first.id) == "completed"


async def test_a_report_that_no_database_can_keep_is_refused(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await _take(ring, 2)
    reports = tuple(run_report(run, COMPLETE, entries=(entry(1),)) for run in (first, second))
    cannot_save(first.id, InvalidRequest("too large"), monkeypatch)
    answer = await ring.call(Report(incarnation="worker-1", reports=reports))
    assert answer.outcomes == (ReportOutcome("refused", "NotStorable: too large"), RECORDED)


async def test_a_store_that_cannot_answer_fails_the_batch_once(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def unavailable(work: Any) -> Any:
        asked.append(work)
        raise StoreUnavailable

    monkeypatch.setattr(ring.store, "transact", unavailable)
    starts = [StartRuns(starts=(start_of(),)) for _ in range(3)]
    answers = await asyncio.gather(*map(ring.api.call, starts), return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 3
    assert len(asked) == 1


async def test_a_full_queue_refuses_clients_and_never_workers(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "QUEUED_OPERATIONS", 5)
    run = await ring.running()
    starts = [StartRuns(starts=(start_of(),)) for _ in range(8)]
    beat = Heartbeat(incarnation="worker-1", held=())
    operations: list[Operation[Any]] = [*starts, report_of(run, COMPLETE), beat]
    answers = await asyncio.gather(*map(ring.call, operations), return_exceptions=True)
    busy = [isinstance(answer, ServerBusy) for answer in answers]
    assert busy == [False] * 5 + [True] * 3 + [False, False]
    assert await ring.start()


async def test_operations_on_one_run_keep_their_order(ring: Ring) -> None:
    run_id = await ring.start()
    answers = await ring.together(
        PauseRun(id=run_id), ResumeRun(id=run_id), PauseRun(id=run_id), ResumeRun(id=run_id)
    )
    assert [view.status for view in answers] == ["paused", "queued", "paused", "queued"]
    assert await ring.reasons(run_id) == ["new", "paused", "resumed", "paused", "resumed"]
    await ring.worker()
    assert ids_of(await ring.claim()) == [run_id]


async def test_a_start_and_its_end_in_one_batch_leave_nothing_to_claim(ring: Ring) -> None:
    start = start_of()
    _, view = await ring.together(
        StartRuns(starts=(start,)), CancelRun(id=start.id, command_id=new_id())
    )
    assert view.status == "cancelled"
    assert ring.rows("SELECT * FROM outbox") == []
    await ring.worker()
    assert await ring.claim() == ()


async def test_a_child_that_starts_in_the_batch_of_a_cancel_is_asked_to_stop(ring: Ring) -> None:
    parent = await ring.running()
    child = start_of()
    report = run_report(parent, children=(child,), child_keys=("ship#0",))
    await ring.together(
        Report(incarnation="worker-1", reports=(report,)),
        CancelRun(id=parent.id, command_id=new_id()),
    )
    assert await ring.status(child.id) == "cancelled"


@pytest.mark.parametrize("place", ["before_transaction", "before_commit"])
async def test_a_crash_before_the_commit_leaves_nothing(
    ring: Ring, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    assert await _start_through_a_crash(ring, monkeypatch, place) == []


async def test_a_crash_after_the_commit_keeps_all(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = "after_commit_before_reply"
    assert await _start_through_a_crash(ring, monkeypatch, place) == [("queued",)]


async def _start_through_a_crash(
    ring: Ring, monkeypatch: pytest.MonkeyPatch, place: str
) -> list[tuple[Any, ...]]:
    crashed = asyncio.get_running_loop().create_future()

    def crash() -> None:
        crashed.set_result(None)
        raise Crash

    monkeypatch.setitem(failpoints.armed, place, crash)
    call = asyncio.ensure_future(ring.call(StartRuns(starts=(start_of(),))))
    await crashed
    assert not call.done()
    call.cancel()
    return ring.rows("SELECT status FROM run")


async def test_a_locked_database_is_tried_again(ring: Ring, tmp_path: Any) -> None:
    store = CountingStore(tmp_path / "b.db")
    engine = Engine(store, EngineSettings(daemons=False))
    await engine.start()
    other = sqlite3.connect(store.path, isolation_level=None)
    assert store._write is not None
    store._write.connection.execute("PRAGMA busy_timeout = 0")
    other.execute("BEGIN IMMEDIATE")
    call = asyncio.ensure_future(engine.session(Principal()).call(StartRuns(starts=(start_of(),))))
    await turns(lambda: store.transactions)
    assert not call.done()
    other.execute("COMMIT")
    assert (await call)[0].created
    assert store.transactions == 1
    other.close()
    await engine.stop()


@exact
async def test_what_was_submitted_is_committed_before_the_engine_stops(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "BATCH_OPERATIONS", 2)
    ring = Ring(tmp_path / "c.db")
    await ring.engine.start()
    starts = [StartRuns(starts=(start_of(),)) for _ in range(30)]
    calls = [asyncio.ensure_future(ring.call(start)) for start in starts]
    await asyncio.sleep(0)
    await ring.engine.stop()
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*calls)
    assert all(started.created for (started,) in answers)
    assert ring.rows("SELECT count(*) FROM run") == [(30,)]


async def test_a_fault_in_telling_others_leaves_a_server_that_answers(
    ring: Ring, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(committed: object) -> None:
        raise RuntimeError("mine")

    with monkeypatch.context() as patch:
        patch.setattr(ring.engine.committer, "_on_commit", broken)
        run_id = await ring.start()
    assert "not all whom it concerns are told" in caplog.text
    assert await ring.status(run_id) == "queued"
    await ring.worker()
    assert (await ring.take()).id == run_id
