"""Laws that only a mutant showed to be untested: `catalogue.py` names who dies by which."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from aiki import Retry, RetryAfter, Run, event, task, task_context, workflow
from aiki.engine.daemons import SYSTEM_PRINCIPAL
from aiki.engine.upkeep import RecoverRuns, WakeDue
from aiki.ids import new_id
from aiki.model.audit import Principal
from aiki.model.failure import AttemptsLost
from aiki.model.task import Entry, Fact, Key, TaskAttempt, Wait
from aiki.operations.runs import GetRun, StartRuns, TerminateRun
from aiki.operations.work import (
    Claims,
    EventSend,
    Heartbeat,
    Listen,
    Parked,
    Reported,
    RunReport,
)
from aiki.store.protocol import Transaction
from aiki.worker.inbox import Inbox
from aiki.worker.outside import Outside
from aiki.worker.reporter import Reporter
from aiki.worker.tries import Tries
from aiki.worker.worker import Worker
from aiki.workflow.calls import Call
from aiki.workflow.execution import Execution
from tests.engine.support import (
    FOR_EVENT,
    LEASE_MS,
    RECORDED,
    Ring,
    attempt,
    claim_of,
    entry,
    event_of,
    ids_of,
    report_of,
    start_of,
    turns,
)
from tests.replay.holder import Holder
from tests.support.app import LIMIT, App, Ledger, has_entry, holds, until

ledger = Ledger()


@pytest.fixture(autouse=True)
def _empty_ledger() -> None:
    ledger.lines.clear()


# Fences


async def test_entries_under_an_epoch_that_is_over_are_refused(ring: Ring) -> None:
    """The same worker holds the run again: its older report is stale all the same."""
    old = await ring.parked(FOR_EVENT)
    await ring.send(old.id)
    new = await ring.take()
    assert (new.id, new.epoch) == (old.id, old.epoch + 1)
    assert (await ring.report(old, entries=(entry(1),))).verdict == "claim_lost"
    assert (await ring.history(old.id)).entries == ()
    assert await ring.report(new, entries=(entry(1),)) == RECORDED


async def test_a_report_of_somebody_elses_claim_is_refused(ring: Ring) -> None:
    run = await ring.running()
    await ring.worker("worker-2")
    outcome = await ring.report(run, entries=(entry(1),), incarnation="worker-2")
    assert outcome.verdict == "claim_lost"
    assert (await ring.history(run.id)).entries == ()


async def test_a_worker_that_spoke_since_the_daemon_looked_keeps_its_runs(ring: Ring) -> None:
    run = await ring.running()
    daemon = ring.engine.session(SYSTEM_PRINCIPAL)
    assert await daemon.call(RecoverRuns(ids=(run.id,))) == 0
    assert await ring.status(run.id) == "running"
    await ring.pass_time(LEASE_MS + 1)
    assert await daemon.call(RecoverRuns(ids=(run.id,))) == 1


async def test_a_claim_on_its_way_stays_although_the_batch_knows_the_run(ring: Ring) -> None:
    await ring.start()
    await ring.worker()
    claim = claim_of()
    (run,) = (await ring.call(claim)).runs
    beat = Heartbeat(incarnation="worker-1", held=(), claiming=(claim.claim_id,), draining=True)
    await ring.together(beat, event_of(run.id))
    assert await ring.status(run.id) == "running"


# Claims that wait


async def _waiting_claim(ring: Ring, **fields: Any) -> asyncio.Future[Claims]:
    await ring.worker()
    claim = asyncio.ensure_future(ring.call(claim_of(wait_ms=60_000, **fields)))
    await turns(lambda: len(ring.engine.claims))
    return claim


async def test_a_waiting_claim_takes_no_more_newborn_runs_than_its_limit(ring: Ring) -> None:
    waiting = await _waiting_claim(ring, limit=2)
    starts = tuple(start_of() for _ in range(5))
    await ring.call(StartRuns(starts=starts))
    taken = ids_of(await waiting)
    assert len(taken) == 2
    rest = ids_of(await ring.claim())
    assert sorted(taken + rest) == sorted(start.id for start in starts)


async def test_a_waiting_claim_takes_no_newborn_run_of_another_namespace(ring: Ring) -> None:
    waiting = await _waiting_claim(ring)
    stranger = ring.engine.session(Principal(namespace="other"))
    own, foreign = (StartRuns(starts=(start_of(),)) for _ in range(2))
    batches = ring.engine.committer.batches
    await asyncio.gather(stranger.call(foreign), ring.call(own))
    assert ring.engine.committer.batches == batches + 1
    assert ids_of(await waiting) == [own.starts[0].id]


# Calls that wait for what is there already


async def test_news_from_between_two_calls_are_told_at_once(ring: Ring) -> None:
    run = await ring.running()
    before = await ring.call(Listen(incarnation="worker-1"))
    event = await ring.send(run.id)
    async with asyncio.timeout(5):
        listen = Listen(incarnation="worker-1", cursor=before.cursor, wait_ms=60_000)
        news = await ring.call(listen)
    assert [fact.id for fact in news.facts] == [event]


async def test_waiting_for_a_run_that_has_ended_is_answered_at_once(ring: Ring) -> None:
    run_id = await ring.start()
    await ring.cancel(run_id)
    async with asyncio.timeout(5):
        assert (await ring.call(GetRun(id=run_id, wait_ms=60_000))).ended


async def test_a_transaction_holds_the_write_lock_although_it_only_read_so_far(ring: Ring) -> None:
    other = sqlite3.connect(ring.path, isolation_level=None, timeout=0)

    async def work(tx: Transaction) -> None:
        await tx.load_runs(["none"])
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")

    await ring.store.transact(work)
    other.close()


# Time


async def test_a_look_before_the_due_wakes_nothing(ring: Ring) -> None:
    due = await ring.now() + 60_000
    run = await ring.parked(Wait("timer", "t", due))
    daemon = ring.engine.session(SYSTEM_PRINCIPAL)
    assert await daemon.call(WakeDue(ids=(run.id,))) == 0
    assert await ring.status(run.id) == "sleeping"
    await ring.pass_time(60_001)
    assert await daemon.call(WakeDue(ids=(run.id,))) == 1


def _entry(key: Key, kind: Any, **details: Any) -> Entry:
    return Entry(1, kind, *key, 0, **details)


def _fact(id: str, at: int, kind: Any = "event") -> Fact:
    return Fact(id, "run", kind, "paid", at)


def _waiting(execution: Execution, *facts: Fact, due_at: int) -> Outside:
    """A run that waits for an event until then."""
    outside = Outside(facts, stop_delivered=False)
    outside.begin(_call(execution, "event", due_at=due_at, events=("paid",)))
    return outside


def _call(execution: Execution, kind: Any, **options: Any) -> Call:
    return execution.ask(kind, f"{kind}:1", kind, **options)


async def test_a_timer_is_not_taken_before_it_is_due() -> None:
    execution = Execution((), 0)
    outside = _waiting(execution, due_at=1_000)
    assert outside.next_entry(999, _entry) is None
    taken = outside.next_entry(1_000, _entry)
    assert taken is not None
    assert (taken.kind, taken.due_at) == ("timer", 1_000)
    execution.evict()


@pytest.mark.parametrize(("at", "kind"), [(1_000, "event"), (1_001, "timer")])
async def test_a_fact_goes_before_a_timer_of_its_instant(at: int, kind: str) -> None:
    execution = Execution((), 0)
    taken = _waiting(execution, _fact("f", at), due_at=1_000).next_entry(5_000, _entry)
    assert taken is not None
    assert taken.kind == kind
    execution.evict()


def test_facts_are_taken_by_instant_then_kind_then_id() -> None:
    facts = [_fact("e", 1), _fact("d", 2, "cancel"), _fact("a", 2), _fact("b", 2), _fact("c", 3)]
    inbox = Inbox(reversed(facts[:3]))
    for fact in facts:
        inbox.add(fact)
    assert [fact.id for fact in inbox] == ["e", "d", "a", "b", "c"]


async def test_a_sooner_due_is_slept_for_although_a_later_one_was(app: App) -> None:
    app.work(two_notes)
    await two_notes.options(delay=timedelta(hours=1)).enqueue(app.client)
    sooner = await two_notes.options(delay=timedelta(milliseconds=50)).enqueue(app.client)
    await sooner.result(timeout=timedelta(seconds=10))


# Repeats and ends


async def test_an_event_in_a_repeated_report_is_passed_once(ring: Ring) -> None:
    """A report without an end has no id of its own: all in it must be safe to repeat."""
    receiver, sender = await ring.running(), await ring.running()
    keyed = EventSend("e-2", receiver.id, "paid", b"1", "payment-1")
    sends = (EventSend("e-1", receiver.id, "paid", b"1"), keyed)
    report = report_of(sender, entries=(entry(1),), sends=sends)
    for _ in range(2):
        assert (await ring.call(report)).outcomes == (RECORDED,)
    again = EventSend("e-3", receiver.id, "paid", b"1", "payment-1")
    assert await ring.report(sender, sends=(again,)) == RECORDED
    facts = (await ring.history(receiver.id)).facts
    assert sorted(fact.id for fact in facts) == ["e-1", "e-2"]


async def test_a_forced_end_leaves_nothing_open(ring: Ring) -> None:
    run = await ring.running()
    await ring.report(run, Parked((FOR_EVENT,)), attempts=(attempt(),))
    assert [record.status for record in (await ring.history(run.id)).attempts] == ["running"]
    await ring.call(TerminateRun(id=run.id, command_id=new_id()))
    history = await ring.history(run.id)
    assert [record.status for record in history.attempts] == ["discarded"]
    assert history.waits == ()


# Tries


@task(retry=Retry.fixed(2, timedelta(seconds=1)))
async def twice() -> None:
    """May be tried twice."""


def _tried(*statuses: Any) -> Tries:
    return Tries(attempt(n, status=status) for n, status in enumerate(statuses, 1))


def test_the_next_attempt_has_the_next_number() -> None:
    key = attempt().key
    assert _tried().next_number(key) == 1
    assert _tried("failed").next_number(key) == 2
    assert _tried("failed", "lost").next_number(key) == 3
    tries = _tried()
    tries.note(TaskAttempt(*key, "charge", 1, "failed", 0))
    assert tries.next_number(key) == 2


async def test_lost_attempts_count_against_the_limit() -> None:
    execution = Execution((), 0)
    call = execution.ask("task", attempt().address, "twice", details=twice)
    assert _tried("lost").given_up(call) is None
    assert _tried("lost", "lost").given_up(call) == AttemptsLost("twice", 2)
    assert _tried("lost", "failed").given_up(call) == AttemptsLost("twice", 1)
    execution.evict()


async def test_the_pause_before_a_retry_outlives_the_worker(app: App) -> None:
    @workflow("killer").version("3.0.0")
    async def patient(run: Run) -> list[int]:
        return list(await asyncio.gather(comes_back(run), run.wait(go)))

    worker = app.work(patient)
    handle = await patient.enqueue(app.client)
    await holds(lambda: ledger.lines)
    await until(handle, "awaiting_event", "awaiting_retry")
    await app.stop(worker)
    await handle.send(go, 7)
    app.work(patient)
    await has_entry(app, handle, "event")
    await until(handle, "awaiting_retry")
    assert ledger.lines == ["try"]
    await app.pass_time(3_600_001)
    assert await handle.result(timeout=LIMIT) == [2, 7]


# Durable before effect

go = event("go", int)


@task
async def note(line: str) -> str:
    ledger.add(line)
    return line


@task(retry=Retry.fixed(3, timedelta(seconds=1)))
async def comes_back() -> int:
    if ledger.add("try") == 1:
        raise RetryAfter(timedelta(hours=1))
    return task_context().attempt


@task
async def count(line: str) -> int:
    return len(line)


@task(at_most_once=True)
async def once(line: str) -> str:
    ledger.add(line)
    await asyncio.Event().wait()
    return line


@workflow("killer").version("1.0.0")
async def two_notes(run: Run) -> None:
    await note(run, "a")
    run.logger.warning("after a")
    await note(run, "b")


class Line:
    """Where reports pass: the first that holds an entry is kept there until it is let go."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()
        self.answered = asyncio.Event()


def _hold_reports(monkeypatch: pytest.MonkeyPatch) -> Line:
    line, post = Line(), Reporter._ask

    async def held(reporter: Reporter, reports: list[RunReport]) -> Reported:
        if not any(report.entries for report in reports):
            return await post(reporter, reports)
        line.reached.set()
        await line.open.wait()
        answer = await post(reporter, reports)
        line.answered.set()
        return answer

    monkeypatch.setattr(Reporter, "_ask", held)
    return line


async def _many_turns() -> None:
    """More than anything that needs no answer of the server could take."""
    for _ in range(200):
        await asyncio.sleep(0)


async def test_nothing_follows_from_what_is_not_on_record(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    line = _hold_reports(monkeypatch)
    app.work(two_notes)
    handle = await two_notes.enqueue(app.client)
    async with asyncio.timeout(LIMIT.total_seconds()):
        await line.reached.wait()
    await _many_turns()
    assert ledger.lines == ["a"]
    assert "after a" not in caplog.text
    line.open.set()
    await handle.result(timeout=LIMIT)
    assert ledger.lines == ["a", "b"]
    assert caplog.text.count("after a") == 1


async def test_a_run_whose_claim_is_lost_goes_no_further(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker hears of it by the refusal of its report, and by nothing else."""
    monkeypatch.setattr(Worker, "learn_lost", lambda worker, lost: None)
    line = _hold_reports(monkeypatch)
    app.work(two_notes)
    handle = await two_notes.enqueue(app.client)
    async with asyncio.timeout(LIMIT.total_seconds()):
        await line.reached.wait()
        await app.client.call(TerminateRun(id=handle.id, command_id=new_id()))
        line.open.set()
        await line.answered.wait()
    await _many_turns()
    assert ledger.lines == ["a"]


async def test_code_that_does_not_ask_for_an_open_start_has_diverged(app: App) -> None:
    @workflow("killer").version("2.0.0")
    async def starts(run: Run) -> str:
        return await once(run, "once")

    @workflow("killer").version("2.0.0")
    async def forgets(run: Run) -> str:
        return await note(run, "new")

    worker = app.work(starts, graceful_shutdown_timeout_ms=1)
    handle = await starts.enqueue(app.client)
    await holds(lambda: ledger.lines)
    await app.stop(worker)
    app.work(forgets)
    await until(handle, "diverged")
    assert ledger.lines == ["once"]


def test_results_come_back_in_the_order_of_their_numbers() -> None:
    """And not in the order in which the calls were made."""

    async def main(run: Run) -> list[str]:
        seen: list[str] = []

        async def each(line: str) -> None:
            await count(run, line)
            seen.append(line)

        await asyncio.gather(*map(each, "abc"))
        return seen

    with closing(Holder(main, [1, 1, 0])) as live:
        assert live.finish().ending == "returned ['b', 'c', 'a']"
        with closing(Holder(main, entries=live.entries)) as again:
            assert again.finish().ending == live.ending
