"""Controls: cancel, terminate, pause, resume, redeliver, and answers to a divergence."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from aiki.engine.batch import Batch
from aiki.engine.ordering import has_key
from aiki.engine.views import options_of, view_of
from aiki.errors import Conflict, InvalidRequest, InvalidTransition, NotFound
from aiki.ids import derived_id
from aiki.machine import (
    Command,
    EndGrace,
    Pause,
    Reconsider,
    Redeliver,
    RequestStop,
    Resume,
    Terminate,
)
from aiki.model.audit import Principal
from aiki.model.failure import Cancelled, Failure, TimedOut
from aiki.model.run import TERMINAL, Run, RunView, StopCause
from aiki.model.task import Decision, Fact
from aiki.operations.runs import (
    CancelRun,
    PauseRun,
    RedeliverRun,
    ResumeRun,
    RetryDiverged,
    TerminateRun,
    WaiveEntries,
)

_Control = PauseRun | ResumeRun | RedeliverRun


def own_run(run_id: str, principal: Principal, batch: Batch) -> Run:
    """The run, or `NotFound`; another namespace's run is as unknown as no run."""
    run = batch.runs.get(run_id)
    if run is None or run.namespace != principal.namespace:
        raise NotFound(f"no run {run_id} in namespace {principal.namespace}")
    return run


def stop_failure(run: Run, reason: str = "", *, forced: bool = False) -> Failure:
    """Why a stopped run did not complete."""
    if run.state.stop_cause == "timeout" and run.state.status != "cancelled":
        return TimedOut(options_of(run).timeout_ms or 0, f"run of {run.workflow}")
    return Cancelled(reason, forced=forced)


def request_stop(run: Run, cause: StopCause, fact_id: str, reason: str, batch: Batch) -> Run:
    """Ask a run to stop: a fact in its inbox, or its end where nothing could clean up."""
    first = run.state.stop_cause is None
    stopped = batch.move(run, RequestStop(cause, options_of(run).cancel_grace_ms))
    if stopped.state.status in TERMINAL:
        state = msgspec.structs.replace(stopped.state, command_id=fact_id)
        stopped = batch.set_state(stopped, state)
        batch.end(stopped, stop_failure(stopped, reason, forced=run.state.started_at is not None))
    elif first:
        value = msgspec.json.encode({"cause": cause, "reason": reason})
        batch.add_fact(stopped, Fact(fact_id, run.id, "cancel", cause, batch.now, value))
    return stopped


def stop_family(descendants: list[str], origin: str, reason: str, batch: Batch) -> None:
    """Pass a request to stop on to children and theirs; those that were asked before are left."""
    for run_id in descendants:
        child = batch.runs.get(run_id)
        if child is None or child.state.status in TERMINAL or child.state.stop_cause is not None:
            continue
        request_stop(child, "cancel", derived_id(child.id, "stop", origin), reason, batch)


async def prepare_stop(
    operation: CancelRun | TerminateRun, principal: Principal, batch: Batch
) -> None:
    """Name the run, its family and the request."""
    batch.names.facts.add(operation.command_id)
    await batch.name_family(operation.id)


def apply_cancel(operation: CancelRun, principal: Principal, batch: Batch) -> RunView:
    """Ask the run to stop, and its children with it."""
    run = own_run(operation.id, principal, batch)
    known = batch.facts.get(operation.command_id)
    if known is not None and (known.run_id, known.kind) != (run.id, "cancel"):
        raise Conflict(f"command id {operation.command_id} was used for another request")
    if known is not None or run.state.command_id == operation.command_id:
        return view_of(run, batch.waits.get(run.id, ()))
    if run.state.status in TERMINAL:
        raise InvalidTransition(f"run {run.id} is {run.state.status}: nothing is left to cancel")
    run = request_stop(run, "cancel", operation.command_id, operation.reason, batch)
    stop_family(batch.families[run.id], operation.command_id, operation.reason, batch)
    batch.add_audit(principal, "CancelRun", run.id, operation.reason)
    return view_of(batch.runs[run.id], batch.waits.get(run.id, ()))


def apply_terminate(operation: TerminateRun, principal: Principal, batch: Batch) -> RunView:
    """End the run at once; its children may clean up."""
    run = own_run(operation.id, principal, batch)
    if _is_repeated(run, operation.command_id):
        return view_of(run)
    run = _sign(batch.move(run, Terminate()), operation.command_id, batch)
    batch.end(run, Cancelled(operation.reason or "terminated", forced=True))
    stop_family(batch.families[run.id], operation.command_id, operation.reason, batch)
    batch.add_audit(principal, "TerminateRun", run.id, operation.reason)
    return view_of(run)


def end_grace(run: Run, batch: Batch) -> None:
    """The time for clean-up is over: end the run, and ask its children to stop."""
    run = batch.move(run, EndGrace())
    batch.end(run, stop_failure(run, "its time for clean-up was over", forced=True))
    stop_family(batch.families.get(run.id, []), run.id, "the parent was stopped", batch)


async def prepare_control(operation: _Control, principal: Principal, batch: Batch) -> None:
    """Name the run and what it waits for."""
    batch.names.runs.add(operation.id)
    batch.names.waits.add(operation.id)


def _is_repeated(run: Run, command_id: str | None) -> bool:
    return command_id is not None and run.state.command_id == command_id


def _sign(run: Run, command_id: str | None, batch: Batch) -> Run:
    """Note which command brought this state: repeated, it gets the same answer."""
    if command_id is None:
        return run
    return batch.set_state(run, msgspec.structs.replace(run.state, command_id=command_id))


def _control(
    command_of: Callable[[Run], Command],
) -> Callable[[_Control, Principal, Batch], RunView]:
    def apply(operation: _Control, principal: Principal, batch: Batch) -> RunView:
        before = own_run(operation.id, principal, batch)
        if not _is_repeated(before, operation.command_id):
            run = batch.move(before, command_of(before))
            if run is not before:
                _sign(run, operation.command_id, batch)
                batch.add_audit(principal, type(operation).__name__, run.id, "")
        return view_of(batch.runs[before.id], batch.waits.get(before.id, ()))

    return apply


apply_pause = _control(lambda _: Pause())
apply_resume = _control(lambda run: Resume(in_turn=has_key(run)))
_redeliver = _control(lambda _: Redeliver())


def apply_redeliver(operation: RedeliverRun, principal: Principal, batch: Batch) -> RunView:
    """Offer a stalled run again, and forget the letter that told of it."""
    before = own_run(operation.id, principal, batch)
    view = _redeliver(operation, principal, batch)
    if batch.runs[before.id] is not before:
        batch.drop_letters_of(before)
    return view


async def prepare_decision(
    operation: WaiveEntries | RetryDiverged, principal: Principal, batch: Batch
) -> None:
    """Name the run, and read where it diverged."""
    batch.names.runs.add(operation.id)
    divergence = await batch.tx.load_divergence(operation.id)
    if divergence is not None:
        batch.divergences[operation.id] = divergence


def apply_waive(operation: WaiveEntries, principal: Principal, batch: Batch) -> RunView:
    """Append the decision to leave entries out, and offer the run again."""
    run = own_run(operation.id, principal, batch)
    if _is_repeated(run, operation.command_id):
        return view_of(run)
    divergence = batch.divergences.get(run.id)
    numbers = operation.numbers
    starts: tuple[str, ...] = ()
    if divergence is not None and not numbers:
        numbers, starts = divergence.left_numbers, divergence.left_starts
    if run.state.status == "diverged" and not numbers and not starts:
        raise InvalidRequest(
            "the divergence names no recorded entry to waive: mend the code, or terminate the run"
        )
    run = _sign(batch.move(run, Reconsider("decision")), operation.command_id, batch)
    batch.add_decision(run, Decision("waive", numbers, starts))
    batch.add_audit(principal, "WaiveEntries", run.id, ",".join(map(str, numbers)))
    return view_of(run)


def apply_retry_diverged(operation: RetryDiverged, principal: Principal, batch: Batch) -> RunView:
    """Offer the run again as it is."""
    run = own_run(operation.id, principal, batch)
    if _is_repeated(run, operation.command_id):
        return view_of(run)
    run = _sign(batch.move(run, Reconsider("decision")), operation.command_id, batch)
    batch.add_decision(run, Decision("retry"))
    batch.add_audit(principal, "RetryDiverged", run.id, "")
    return view_of(run)
