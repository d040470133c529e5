"""Upkeep: what happens because time passes or a process died. Sent by daemons only."""

from __future__ import annotations

from typing import ClassVar

from aiki.engine.batch import Batch
from aiki.engine.controls import end_grace, request_stop, stop_family
from aiki.ids import derived_id
from aiki.machine import Due, Recover, Stall, Wake
from aiki.model import limits
from aiki.model.audit import Principal
from aiki.model.failure import DeadLettered
from aiki.model.run import TERMINAL, Run
from aiki.operations.base import Operation, Role

SUSPECT_MS = 500
"""A worker whose streaming request closed without a goodbye has so long to open another."""


_LETTERS_KEPT_MS = 30 * 86_400_000
"""Longer than workers: dead letters that are about no run."""


class _Upkeep(Operation[int], frozen=True, kw_only=True):
    role: ClassVar[Role] = "admin"
    route: ClassVar[str] = ""
    mutates: ClassVar[bool] = True
    urgent: ClassVar[bool] = True

    ids: tuple[str, ...]


class WakeDue(_Upkeep, frozen=True, kw_only=True):
    """Due starts, timers and retries; deadlines; the ends of graces."""


class RecoverRuns(_Upkeep, frozen=True, kw_only=True):
    """Runs whose worker is silent or dead."""

    dead: tuple[str, ...] = ()
    """Incarnations that are gone."""


class StallRuns(_Upkeep, frozen=True, kw_only=True):
    """Ready runs that nobody took for too long."""

    ready_before: int


class DeleteRuns(_Upkeep, frozen=True, kw_only=True):
    """Ended runs whose time is over, and workers that have not been seen since.

    Dead letters go with the runs that they are about; those about none, after a month.
    """

    seen_before: int
    """Workers that were seen last before this instant are forgotten."""


async def prepare_wake(operation: WakeDue, principal: Principal, batch: Batch) -> None:
    """Name the runs; of those that are to be stopped, their families."""
    batch.names.runs.update(operation.ids)
    batch.names.waits.update(operation.ids)
    now = await batch.tx.now()
    for run in await batch.tx.peek_runs(operation.ids):
        deadlines = (run.state.grace_until, run.state.deadline_at)
        if any(due is not None and due <= now for due in deadlines):
            await batch.name_family(run.id)


def apply_wake(operation: WakeDue, principal: Principal, batch: Batch) -> int:
    """Let each due run go on, or stop it."""
    woken = 0
    for run_id in operation.ids:
        run = batch.runs.get(run_id)
        if run is not None and run.state.status not in TERMINAL:
            woken += _wake(run, batch)
    return woken


def _is_due(due: int | None, batch: Batch) -> bool:
    return due is not None and due <= batch.now


def _wake(run: Run, batch: Batch) -> bool:
    state = run.state
    stops = _is_due(state.grace_until, batch) or _is_due(state.deadline_at, batch)
    if stops and run.id not in batch.families:
        # It became due after families were named: the next round names this one.
        return False
    if _is_due(state.grace_until, batch):
        end_grace(run, batch)
    elif _is_due(state.deadline_at, batch):
        fact_id = derived_id(run.id, "deadline", str(state.attempt))
        stopped = request_stop(run, "timeout", fact_id, "its time was over", batch)
        if stopped.state.status in TERMINAL or stopped.state.grace_until is not None:
            stop_family(
                batch.families.get(run.id, []), fact_id, "the parent's time was over", batch
            )
    elif not _is_due(state.due_at, batch):
        return False
    elif state.status == "scheduled":
        batch.move(run, Due())
    elif state.status == "waiting":
        batch.move(run, Wake("retry" if _is_retry(run, batch) else "timer"))
    else:
        return False
    return True


def _is_retry(run: Run, batch: Batch) -> bool:
    waits = batch.waits.get(run.id, ())
    return any(_is_due(w.due_at, batch) and w.kind in ("run_retry", "task_retry") for w in waits)


async def prepare_recovery(operation: RecoverRuns, principal: Principal, batch: Batch) -> None:
    """Name the runs and their parents, and look again which workers are alive."""
    batch.names.runs.update(operation.ids)
    for run in await batch.tx.peek_runs(operation.ids):
        if run.parent_id is not None:
            batch.names.runs.add(run.parent_id)
            batch.names.waits.add(run.parent_id)
    now = await batch.tx.now()
    batch.gone.update(await batch.tx.lose_workers(operation.dead, now, now - SUSPECT_MS))
    batch.alive = set(await batch.tx.alive_workers())


def apply_recovery(operation: RecoverRuns, principal: Principal, batch: Batch) -> int:
    """Offer the runs to others; one that keeps killing its workers is set aside."""
    recovered = 0
    for run_id in operation.ids:
        run = batch.runs.get(run_id)
        if run is None or run.state.status != "running" or run.state.holder in batch.alive:
            continue
        recovered += 1
        run = batch.move(run, Recover())
        if run.state.status == "failed":
            failure = DeadLettered(run.state.alone_losses)
            batch.end(run, failure)
            batch.add_dead_letter(run, "poison", failure.describe())
    return recovered


async def prepare_stall(operation: StallRuns, principal: Principal, batch: Batch) -> None:
    """Lock the runs, and look again which are stale: some were taken and given back since."""
    batch.names.runs.update(operation.ids)
    await batch.tx.load_runs(operation.ids)
    stale = await batch.tx.stale_outbox(operation.ready_before, limits.BULK_ITEMS)
    batch.stale.update(stale)


def apply_stall(operation: StallRuns, principal: Principal, batch: Batch) -> int:
    """Set aside what nobody serves; it can be redelivered."""
    stalled = 0
    for run_id in operation.ids:
        run = batch.runs.get(run_id)
        if run is not None and run.state.status == "queued" and run_id in batch.stale:
            detail = f"no worker took {run.workflow} {run.version} (shard {run.shard!r})"
            batch.add_dead_letter(batch.move(run, Stall()), "undeliverable", detail)
            stalled += 1
    return stalled


async def prepare_deletion(operation: DeleteRuns, principal: Principal, batch: Batch) -> None:
    """Name the runs, and forget the workers."""
    batch.names.runs.update(operation.ids)
    await batch.tx.expire_workers(operation.seen_before)
    await batch.tx.expire_answers(operation.seen_before)
    await batch.tx.expire_letters(operation.seen_before - _LETTERS_KEPT_MS)


def apply_deletion(operation: DeleteRuns, principal: Principal, batch: Batch) -> int:
    """Delete ended runs with all that is recorded of them."""
    ended = [id for id in operation.ids if _has_ended(batch.runs.get(id))]
    batch.deleted.extend(ended)
    return len(ended)


def _has_ended(run: Run | None) -> bool:
    return run is not None and run.state.status in TERMINAL
