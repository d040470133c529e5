"""Reports: what workers recorded. The hot path of Aiki."""

from __future__ import annotations

import math

from aiki.engine.batch import Batch
from aiki.engine.controls import request_stop, stop_failure, stop_family
from aiki.engine.events import check_event, name_event, pass_event
from aiki.engine.starts import (
    check_children,
    check_payload,
    load_ancestors,
    name_child,
    start_child,
)
from aiki.engine.views import options_of
from aiki.errors import AikiError, ClaimLost, InvalidRequest, LimitExceeded
from aiki.machine import Complete, Diverge, Fail, Park, Record, Release, RetryRun
from aiki.model import limits
from aiki.model.audit import Principal
from aiki.model.failure import Cancelled, Failure, Raised
from aiki.model.run import TERMINAL, Run
from aiki.model.task import Wait
from aiki.operations.work import (
    Completed,
    Diverged,
    Failed,
    Parked,
    Released,
    Report,
    Reported,
    ReportOutcome,
    RunReport,
    StopRequest,
)
from aiki.store.records import AttemptRow, EntryRow

_RECORDED = ReportOutcome()


async def prepare_report(operation: Report, principal: Principal, batch: Batch) -> None:
    """Name the runs, the parents of those that end, and whom they tell something."""
    names = batch.names
    for report in operation.reports:
        names.runs.add(report.run_id)
        ending = report.ending
        if ending is not None:
            if isinstance(ending, Parked):
                names.inboxes.add(report.run_id)
            elif report.parent_id is not None:
                names.runs.add(report.parent_id)
                names.waits.add(report.parent_id)
        if isinstance(ending, Failed) and ending.retry_in_ms is not None:
            await batch.name_family(report.run_id)
        for start in report.children:
            name_child(start, principal.namespace, batch)
        if any(start.options.ordering_key is not None for start in report.children):
            await load_ancestors(report.run_id, batch)
        for event in report.sends:
            name_event(event, batch)
        for stop in report.stops:
            names.facts.add(stop.id)
            await batch.name_family(stop.run_id)


def apply_report(operation: Report, principal: Principal, batch: Batch) -> Reported:
    """Record each run's report whole, or refuse it whole."""
    outcomes = tuple(
        _one(report, operation.incarnation, principal, batch) for report in operation.reports
    )
    return Reported(outcomes, batch.now)


def _one(report: RunReport, incarnation: str, principal: Principal, batch: Batch) -> ReportOutcome:
    run = batch.runs.get(report.run_id)
    if run is None or run.namespace != principal.namespace:
        return ReportOutcome("claim_lost", "no such run")
    state = run.state
    if report.command_id is not None and state.command_id == report.command_id:
        return _RECORDED
    if state.status != "running" or state.epoch != report.epoch or state.holder != incarnation:
        return ReportOutcome("claim_lost", f"the run is {state.status}, epoch {state.epoch}")
    try:
        _check(report, run, batch)
    except AikiError as error:
        return ReportOutcome("refused", f"{type(error).__name__}: {error.message}")
    for entry in report.entries:
        if entry.due_at is not None and entry.due_at > batch.now:
            return ReportOutcome("early", f"timer {entry.address} is due later")
    try:
        _record(report, run, batch)
    except ClaimLost as error:
        return ReportOutcome("claim_lost", error.message)
    return _RECORDED


def _check(report: RunReport, run: Run, batch: Batch) -> None:
    if len(report.children) != len(report.child_keys):
        raise InvalidRequest("a report has one key for each child")
    if isinstance(report.ending, Completed | Failed) and report.parent_id != run.parent_id:
        raise InvalidRequest(f"the parent of run {run.id} is {run.parent_id}: it must be told")
    check_children(report.children, run, batch)
    for entry in report.entries:
        if entry.number > limits.ENTRIES_PER_RUN:
            raise LimitExceeded(
                f"run {run.id} records more than {limits.ENTRIES_PER_RUN} entries; "
                "let children do parts of it"
            )
        if entry.value is not None:
            check_payload(f"result of {entry.name}", entry.value)
    for event in report.sends:
        check_event(event)
    if isinstance(report.ending, Completed):
        check_payload("output", report.ending.output)


def _record(report: RunReport, run: Run, batch: Batch) -> None:
    attempt = run.state.attempt
    for entry in report.entries:
        batch.entries.append(EntryRow(run.id, attempt, entry))
        if entry.fact_id is not None:
            batch.consume(run, entry.fact_id, entry.number)
    if report.entries:
        run = _progress(report, run, batch)
    for record in report.attempts:
        batch.attempts.append(AttemptRow(run.id, attempt, record))
    for start, key in zip(report.children, report.child_keys, strict=True):
        start_child(start, key, run, batch)
    for event in report.sends:
        pass_event(event, run, batch)
    for stop in report.stops:
        _pass_stop(stop, run, batch)
    if report.ending is not None:
        _end(report, batch.runs[run.id], batch)


def _pass_stop(stop: StopRequest, sender: Run, batch: Batch) -> None:
    """A run asks another of its namespace to stop; once asked is enough."""
    target = batch.runs.get(stop.run_id)
    if target is None or target.namespace != sender.namespace or stop.id in batch.facts:
        return
    if target.state.status not in TERMINAL and target.state.stop_cause is None:
        request_stop(target, "cancel", stop.id, stop.reason, batch)
    stop_family(batch.families[stop.run_id], stop.id, stop.reason, batch)


def _progress(report: RunReport, run: Run, batch: Batch) -> Run:
    """Entries clear losses and may start the grace; otherwise the run's row is not touched."""
    stopped = any(entry.kind == "cancel" for entry in report.entries)
    state = run.state
    if not (stopped or state.losses or state.alone_losses):
        return run
    grace_ms = options_of(run).cancel_grace_ms if stopped else 0
    return batch.move(run, Record(report.epoch, stopped, grace_ms))


def _end(report: RunReport, run: Run, batch: Batch) -> None:
    ending, epoch, command_id = report.ending, report.epoch, report.command_id
    match ending:
        case Completed(output):
            batch.end(batch.move(run, Complete(epoch, command_id)), output)
        case Failed(failure, retry_in_ms):
            _fail(run, failure, retry_in_ms, report, batch)
        case Parked(waits):
            _park(run, _distinct(waits), report, batch)
        case Released():
            batch.move(run, Release(epoch, command_id))
        case Diverged(divergence):
            batch.move(run, Diverge(epoch, command_id))
            batch.add_divergence(run, divergence)
        case None:
            return


def _distinct(waits: tuple[Wait, ...]) -> list[Wait]:
    """One wait a name: the earliest due stands for all."""
    found: dict[tuple[str, str], Wait] = {}
    for wait in waits:
        key = (wait.kind, wait.name)
        known = found.get(key)
        if known is None or _due(wait) < _due(known):
            found[key] = wait
    return list(found.values())


def _due(wait: Wait) -> float:
    return math.inf if wait.due_at is None else wait.due_at


def _park(run: Run, waits: list[Wait], report: RunReport, batch: Batch) -> None:
    """Under the run's lock: what it waits for may have come since the worker last looked."""
    names = {(wait.kind, wait.name) for wait in waits}
    ready = any(
        fact.kind == "cancel" or (fact.kind, fact.name) in names
        for fact in batch.inboxes.get(run.id, ())
    )
    dues = [wait.due_at for wait in waits if wait.due_at is not None]
    due_at = min(dues) if dues else None
    run = batch.move(run, Park(report.epoch, due_at, ready, report.command_id))
    batch.set_waits(run, waits if run.state.status in ("waiting", "paused") else ())


def _fail(
    run: Run, failure: Failure, retry_in_ms: int | None, report: RunReport, batch: Batch
) -> None:
    batch.discard_attempts(run)
    if retry_in_ms is not None and run.state.stop_cause is None:
        stop_family(batch.families[run.id], report.command_id or run.id, "tried again", batch)
        due_at = batch.now + retry_in_ms
        run = batch.move(run, RetryRun(report.epoch, due_at, report.command_id))
        batch.set_waits(run, [Wait("run_retry", "", due_at)])
        return
    run = batch.move(run, Fail(report.epoch, report.command_id))
    if run.state.stop_delivered:
        failure = _stopped(run, failure)
    batch.end(run, failure)


def _stopped(run: Run, failure: Failure) -> Failure:
    """A stopped run's failure says that it was stopped, and keeps what its clean-up raised."""
    if run.state.stop_cause == "timeout":
        return stop_failure(run)
    if isinstance(failure, Cancelled):
        return failure
    return Cancelled(cause=failure if isinstance(failure, Raised) else None)
