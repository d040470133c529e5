"""Bulk operations: on a list of events, or on all runs that a filter matches."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from aiki.engine.batch import Batch
from aiki.engine.controls import own_run, request_stop, stop_family
from aiki.engine.events import apply_event, name_event
from aiki.engine.reads import stored_query
from aiki.engine.starts import born
from aiki.engine.views import options_of
from aiki.errors import AikiError, InvalidRequest, InvalidTransition, LimitExceeded
from aiki.ids import new_id
from aiki.model import limits
from aiki.model.audit import Principal
from aiki.model.run import STATUSES, TERMINAL, Run
from aiki.operations.bulk import (
    BulkResult,
    CancelRuns,
    Refused,
    RerunRun,
    RerunRuns,
    SendEvents,
    SentEvents,
)
from aiki.operations.runs import RunQuery, Started, StartRun
from aiki.store.records import Page

_UNFINISHED = tuple(status for status in STATUSES if status not in TERMINAL)
_DETAIL_LENGTH = 200


def _refused(id: str, error: AikiError) -> Refused:
    return Refused(id, type(error).__name__, error.message)


# Events


async def prepare_events(operation: SendEvents, principal: Principal, batch: Batch) -> None:
    """Name what the events touch."""
    if len(operation.events) > limits.BULK_ITEMS:
        raise LimitExceeded(
            f"{len(operation.events)} events in one call; at most {limits.BULK_ITEMS}"
        )
    for event in operation.events:
        name_event(event, batch)


def apply_events(operation: SendEvents, principal: Principal, batch: Batch) -> SentEvents:
    """Put each event into its inbox, or say why not."""
    ids: list[str] = []
    refused: list[Refused] = []
    for event in operation.events:
        try:
            ids.append(apply_event(event, principal, batch, audited=False))
        except AikiError as error:
            refused.append(_refused(event.id, error))
    if ids:
        batch.add_audit(principal, "SendEvents", ids[0], f"{len(ids)} events")
    return SentEvents(tuple(ids), tuple(refused))


# Runs that match a filter

_Filtered = CancelRuns | RerunRuns


async def _match(operation: _Filtered, principal: Principal, batch: Batch) -> list[str]:
    """The runs that match now, up to the limit; one more tells that there are more."""
    if not 1 <= operation.limit <= limits.BULK_ITEMS:
        raise InvalidRequest(f"limit={operation.limit}: from 1 to {limits.BULK_ITEMS}")
    wanted = _UNFINISHED if isinstance(operation, CancelRuns) else tuple(sorted(TERMINAL))
    query = stored_query(operation.query)
    statuses = tuple(status for status in query.status or wanted if status in wanted)
    if not statuses:
        raise InvalidRequest(
            f"{type(operation).__name__} takes runs that are {', '.join(wanted)}, "
            f"not {', '.join(query.status)}"
        )
    query = msgspec.structs.replace(query, status=statuses)
    page = Page(operation.limit + 1, None, "oldest")
    ids = await batch.tx.list_runs(principal.namespace, query, page)
    batch.matched[operation.command_id] = ids
    return ids[: operation.limit]


async def prepare_cancels(operation: CancelRuns, principal: Principal, batch: Batch) -> None:
    """Name the runs that match, and their families."""
    ids = await _match(operation, principal, batch)
    if not operation.dry_run:
        await batch.name_family(operation.command_id, ids)


def apply_cancels(operation: CancelRuns, principal: Principal, batch: Batch) -> BulkResult:
    """Ask each of them to stop."""

    def cancel(run: Run) -> str:
        if run.state.status in TERMINAL:
            raise InvalidTransition(
                f"run {run.id} is {run.state.status}: nothing is left to cancel"
            )
        if run.state.stop_cause is not None:
            raise InvalidTransition(f"run {run.id} was asked to stop before; terminate ends it")
        request_stop(run, "cancel", new_id(), operation.reason, batch)
        return run.id

    result = _each(operation, principal, batch, cancel)
    if result.done and not operation.dry_run:
        family = batch.families.get(operation.command_id, [])
        stop_family(family, operation.command_id, operation.reason, batch)
    return result


async def prepare_reruns(operation: RerunRuns, principal: Principal, batch: Batch) -> None:
    """Name the runs that match, and read what they were started with."""
    ids = await _match(operation, principal, batch)
    if not operation.dry_run:
        batch.names.runs.update(ids)
        batch.originals.update(await batch.tx.load_payloads(ids, "input"))


def apply_reruns(operation: RerunRuns, principal: Principal, batch: Batch) -> BulkResult:
    """Start each of them anew."""
    return _each(operation, principal, batch, lambda run: rerun(run, batch))


def _each(
    operation: _Filtered, principal: Principal, batch: Batch, act: Callable[[Run], str]
) -> BulkResult:
    matched = batch.matched[operation.command_id]
    ids, more = matched[: operation.limit], len(matched) > operation.limit
    if operation.dry_run:
        return BulkResult(matched=len(ids), done=tuple(ids), more=more)
    done: list[str] = []
    refused: list[Refused] = []
    for run_id in ids:
        try:
            done.append(act(own_run(run_id, principal, batch)))
        except AikiError as error:
            refused.append(_refused(run_id, error))
    detail = f"{len(done)} runs: {_told(operation.query)}"
    batch.add_audit(principal, type(operation).__name__, operation.command_id, detail)
    return BulkResult(matched=len(ids), done=tuple(done), refused=tuple(refused), more=more)


def _told(query: RunQuery) -> str:
    return msgspec.json.encode(query).decode()[:_DETAIL_LENGTH]


# Rerun


async def prepare_rerun(operation: RerunRun, principal: Principal, batch: Batch) -> None:
    """Name the run, and read what it was started with."""
    batch.names.runs.add(operation.id)
    batch.originals.update(await batch.tx.load_payloads([operation.id], "input"))


def apply_rerun(operation: RerunRun, principal: Principal, batch: Batch) -> Started:
    """Start it anew."""
    started = Started(rerun(own_run(operation.id, principal, batch), batch), True)
    batch.add_audit(principal, "RerunRun", operation.id, started.id)
    return started


def rerun(run: Run, batch: Batch, new: str | None = None) -> str:
    """Start an ended run anew, whose input was read before; answers the id of the new one.

    With `new` under this id, which must have been named.
    """
    if run.state.status not in TERMINAL:
        raise InvalidTransition(f"run {run.id} is {run.state.status}: only an ended run is rerun")
    start = StartRun(
        id=new or new_id(),
        workflow=run.workflow,
        version=run.version,
        input=batch.originals[run.id],
        shard=run.shard,
        priority=run.priority,
        # It stays in the shard of the first, whatever shards there are now.
        options=msgspec.structs.replace(options_of(run), rerun_of=run.id, shard_key=None),
    )
    batch.add_run(born(start, run.namespace, batch.now, None), start.input)
    return start.id
