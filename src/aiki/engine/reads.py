"""Reads: runs, histories and lists, each from one snapshot."""

from __future__ import annotations

import msgspec

from aiki.engine.views import view_of
from aiki.errors import InvalidRequest, NotFound
from aiki.model import limits
from aiki.model.audit import Principal
from aiki.model.run import STATUSES, TERMINAL, PublicStatus, RunResult
from aiki.model.worker import DeadLetter, WorkerView, WorkflowVersion
from aiki.operations.catalog import ListDeadLetters, ListWorkers, ListWorkflows
from aiki.operations.runs import GetHistory, History, ListRuns, RunPage, RunQuery
from aiki.store.protocol import Transaction

_WAITING: tuple[PublicStatus, ...] = (
    "sleeping", "awaiting_event", "awaiting_retry", "awaiting_child",
)  # fmt: skip


async def read_result(run_id: str, principal: Principal, tx: Transaction) -> RunResult:
    """A run with its output or failure; raises `NotFound`."""
    found = await tx.load_runs([run_id])
    if not found or found[0].namespace != principal.namespace:
        raise NotFound(f"no run {run_id} in namespace {principal.namespace}")
    run = found[0]
    status = run.state.status
    waits = (await tx.load_waits([run_id])).get(run_id, []) if status == "waiting" else []
    view = view_of(run, waits)
    if status not in TERMINAL:
        return RunResult(run=view)
    if status == "completed":
        return RunResult(run=view, output=(await tx.load_payloads([run_id], "output"))[run_id])
    return RunResult(run=view, failure=(await tx.load_failures([run_id])).get(run_id))


def _stored(query: RunQuery) -> RunQuery:
    """The query by stored statuses: those that are derived are all `waiting`."""
    unknown = set(query.status) - {*STATUSES, *_WAITING}
    if unknown:
        known = ", ".join(sorted({*STATUSES, *_WAITING}))
        raise InvalidRequest(f"no status {', '.join(sorted(unknown))}; there are: {known}")
    stored = {"waiting" if status in _WAITING else status for status in query.status}
    return msgspec.structs.replace(query, status=tuple(sorted(stored)))


async def list_runs(operation: ListRuns, principal: Principal, tx: Transaction) -> RunPage:
    """One page of runs, newest first."""
    limit = operation.limit
    if not 1 <= limit <= limits.PAGE_ITEMS:
        raise InvalidRequest(f"limit={limit}: from 1 to {limits.PAGE_ITEMS}")
    query = _stored(operation.query)
    ids = await tx.list_runs(principal.namespace, query, limit + 1, operation.cursor)
    runs = await tx.load_runs(ids[:limit])
    waits = await tx.load_waits([run.id for run in runs if run.state.status == "waiting"])
    views = [view_of(run, waits.get(run.id, ())) for run in runs]
    wanted = set(operation.query.status)
    if wanted and "waiting" not in wanted:
        views = [view for view in views if view.status in wanted]
    views.sort(key=lambda view: view.id, reverse=True)
    return RunPage(tuple(views), ids[limit - 1] if len(ids) > limit else None)


async def get_history(operation: GetHistory, principal: Principal, tx: Transaction) -> History:
    """All that is known of a run."""
    runs = {run.id: run for run in await tx.load_runs([operation.id])}
    run = runs.get(operation.id)
    if run is None or run.namespace != principal.namespace:
        raise NotFound(f"no run {operation.id} in namespace {principal.namespace}")
    of = [(run.id, run.state.attempt)]
    waits = tuple((await tx.load_waits([run.id])).get(run.id, ()))
    return History(
        run=view_of(run, waits),
        transitions=tuple(await tx.load_transitions(run.id)),
        entries=tuple((await tx.load_entries(of)).get(run.id, ())),
        attempts=tuple((await tx.load_attempts(of)).get(run.id, ())),
        waits=waits,
        facts=tuple((await tx.load_facts([run.id])).get(run.id, ())),
        divergence=await tx.load_divergence(run.id),
    )


async def list_workflows(
    operation: ListWorkflows, principal: Principal, tx: Transaction
) -> tuple[WorkflowVersion, ...]:
    """Workflow versions of the namespace."""
    return tuple(await tx.load_workflow_versions(principal.namespace))


async def list_workers(
    operation: ListWorkers, principal: Principal, tx: Transaction
) -> tuple[WorkerView, ...]:
    """Workers of the namespace."""
    return tuple(await tx.list_workers(principal.namespace))


async def list_dead_letters(
    operation: ListDeadLetters, principal: Principal, tx: Transaction
) -> tuple[DeadLetter, ...]:
    """Dead letters of the namespace."""
    if not 1 <= operation.limit <= limits.PAGE_ITEMS:
        raise InvalidRequest(f"limit={operation.limit}: from 1 to {limits.PAGE_ITEMS}")
    return tuple(await tx.list_dead_letters(principal.namespace, operation.limit))
