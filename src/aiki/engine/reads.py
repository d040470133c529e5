"""Reads: runs, histories and lists."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from aiki.engine.starts import check_text
from aiki.engine.views import view_of
from aiki.errors import InvalidRequest, NotFound
from aiki.model import limits
from aiki.model.audit import Principal
from aiki.model.run import STATUSES, PublicStatus, RunResult
from aiki.model.worker import DeadLetter, WorkerView, WorkflowVersion
from aiki.operations.catalog import (
    OVERLAP_MS,
    Backlog,
    Change,
    Changes,
    GetBacklog,
    GetChanges,
    GetNamespace,
    ListDeadLetters,
    ListWorkers,
    ListWorkflows,
    Namespace,
)
from aiki.operations.runs import GetHistory, History, ListRuns, RunPage, RunQuery
from aiki.store.protocol import Store, Transaction
from aiki.store.records import Page

_WAITING: tuple[PublicStatus, ...] = (
    "sleeping",
    "awaiting_event",
    "awaiting_retry",
    "awaiting_child",
)


async def read_results(ids: Sequence[str], tx: Transaction) -> dict[str, RunResult]:
    """Runs with their outputs or failures, by id; those that do not exist are left out."""
    runs = await tx.load_runs(ids)
    of: dict[str, list[str]] = {"waiting": [], "completed": [], "failed": [], "cancelled": []}
    for run in runs:
        of.setdefault(run.state.status, []).append(run.id)
    ended = of["failed"] + of["cancelled"]
    waits = await tx.load_waits(of["waiting"]) if of["waiting"] else {}
    outputs = await tx.load_payloads(of["completed"], "output") if of["completed"] else {}
    failures = await tx.load_failures(ended) if ended else {}
    # What ended long ago may be deleted between two statements: then it is gone.
    runs = [r for r in runs if r.id in outputs or r.state.status != "completed"]
    return {
        run.id: RunResult(
            run=view_of(run, waits.get(run.id, ())),
            output=outputs.get(run.id),
            failure=failures.get(run.id),
        )
        for run in runs
    }


class ResultReader:
    """Reads runs for many calls at once: those that come together share the statements."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asked: dict[str, list[asyncio.Future[RunResult | None]]] = {}

    async def read(self, run_id: str, principal: Principal) -> RunResult:
        """The run as it is now; raises `NotFound`, also for a run of another namespace."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[RunResult | None] = loop.create_future()
        if not self._asked:
            loop.call_soon(lambda: loop.create_task(self._flush()))
        self._asked.setdefault(run_id, []).append(future)
        result = await future
        if result is None or result.run.namespace != principal.namespace:
            raise NotFound(f"no run {run_id} in namespace {principal.namespace}")
        return result

    async def _flush(self) -> None:
        asked, self._asked = self._asked, {}
        try:
            found = await self._store.glance(lambda tx: read_results(list(asked), tx))
        except Exception as error:
            for future in (future for futures in asked.values() for future in futures):
                if not future.done():
                    future.set_exception(error)
            return
        for run_id, futures in asked.items():
            for future in futures:
                if not future.done():
                    future.set_result(found.get(run_id))


def stored_query(query: RunQuery) -> RunQuery:
    """The query by stored statuses: those that are derived are all `waiting`."""
    unknown = set(query.status) - {*STATUSES, *_WAITING}
    if unknown:
        known = ", ".join(sorted({*STATUSES, *_WAITING}))
        raise InvalidRequest(f"no status {', '.join(sorted(unknown))}; there are: {known}")
    stored = {"waiting" if status in _WAITING else status for status in query.status}
    return msgspec.structs.replace(query, status=tuple(sorted(stored)))


async def list_runs(operation: ListRuns, principal: Principal, tx: Transaction) -> RunPage:
    """One page of runs."""
    limit = operation.limit
    if not 1 <= limit <= limits.PAGE_ITEMS:
        raise InvalidRequest(f"limit={limit}: from 1 to {limits.PAGE_ITEMS}")
    query = stored_query(operation.query)
    page = Page(limit + 1, operation.cursor, operation.order)
    ids = await tx.list_runs(principal.namespace, query, page)
    runs = await tx.load_runs(ids[:limit])
    waits = await tx.load_waits([run.id for run in runs if run.state.status == "waiting"])
    views = [view_of(run, waits.get(run.id, ())) for run in runs]
    wanted = set(operation.query.status)
    if wanted and "waiting" not in wanted:
        views = [view for view in views if view.status in wanted]
    views.sort(key=lambda view: view.id, reverse=operation.order == "newest")
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
    check_text("letter's id", operation.before or "")
    found = await tx.list_dead_letters(principal.namespace, operation.before, operation.limit)
    return tuple(found)


async def get_backlog(
    operation: GetBacklog, principal: Principal, tx: Transaction
) -> tuple[Backlog, ...]:
    """Ready runs by queue."""
    return tuple(await tx.count_ready(principal.namespace, await tx.now()))


async def get_namespace(
    operation: GetNamespace, principal: Principal, tx: Transaction
) -> Namespace:
    """The caller's namespace, known or not."""
    found = {each.name: each for each in await tx.load_namespaces()}
    return found.get(principal.namespace, Namespace(principal.namespace))


async def get_changes(operation: GetChanges, principal: Principal, tx: Transaction) -> Changes:
    """Transitions since the cursor, and those of the moment before it once more."""
    if not 1 <= operation.limit <= limits.BULK_ITEMS:
        raise InvalidRequest(f"limit={operation.limit}: from 1 to {limits.BULK_ITEMS}")
    now = await tx.now()
    cursor = operation.cursor
    if cursor is None:
        return Changes((), now)
    found = await tx.recent_transitions(principal.namespace, cursor - OVERLAP_MS, operation.limit)
    if len(found) == operation.limit and found[-1][1].at <= cursor:
        # More happened at once than one page holds: whoever is so far behind sees nothing twice.
        found = await tx.recent_transitions(principal.namespace, cursor, operation.limit)
    changes = tuple(
        Change(t.run_id, workflow, t.revision, t.status, t.reason, t.at) for workflow, t in found
    )
    return Changes(changes, max(cursor, changes[-1].at) if changes else cursor)
