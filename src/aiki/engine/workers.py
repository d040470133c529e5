"""Workers: registration, heartbeats, presence, and goodbye."""

from __future__ import annotations

from typing import ClassVar

from aiki.clock import Instant
from aiki.engine.batch import Batch
from aiki.engine.starts import check_name, check_text
from aiki.errors import InvalidRequest, NotFound
from aiki.machine import Reconsider, Release
from aiki.model import limits
from aiki.model.audit import Principal
from aiki.model.run import Run
from aiki.model.worker import WorkerView
from aiki.operations.base import Operation, Role
from aiki.operations.work import (
    Heartbeat,
    HeartbeatAnswer,
    LeaveWorker,
    Offer,
    RegisterWorker,
)
from aiki.store.records import Held

SHORTEST_LEASE_MS = 1_000
_DIVERGED_AT_ONCE = 1_000


async def prepare_registration(
    operation: RegisterWorker, principal: Principal, batch: Batch
) -> None:
    """Save worker and versions; name the diverged runs that its source has not met."""
    _check(operation)
    tx, namespace = batch.tx, principal.namespace
    now = await tx.now()
    await tx.save_namespace(namespace, now)
    await tx.save_workflow_versions(namespace, operation.workflows, now)
    await tx.save_worker(
        WorkerView(
            incarnation=operation.incarnation,
            name=operation.name,
            namespace=namespace,
            status="alive",
            lease_ms=operation.lease_ms,
            lease_until=now + operation.lease_ms,
            registered_at=now,
            seen_at=now,
        ),
        [Offer(spec.name, spec.version, spec.fingerprint) for spec in operation.workflows],
        operation.shards,
    )
    await tx.retarget_outbox(namespace, operation.workflows)
    for spec in operation.workflows:
        diverged = await tx.diverged_runs(namespace, spec, _DIVERGED_AT_ONCE)
        batch.families[f"{spec.name}@{spec.version}"] = diverged
        batch.names.runs.update(diverged)


def _check(operation: RegisterWorker) -> None:
    if operation.lease_ms < SHORTEST_LEASE_MS:
        raise InvalidRequest(f"lease_ms={operation.lease_ms}: at least {SHORTEST_LEASE_MS}")
    for what, text in (("incarnation", operation.incarnation), ("worker's name", operation.name)):
        check_text(what, text)
        if not 0 < len(text) <= limits.NAME_LENGTH:
            raise InvalidRequest(f"the {what} has 1 to {limits.NAME_LENGTH} characters")
    for spec in operation.workflows:
        check_name("workflow's name", spec.name)
        check_name("workflow's version", spec.version)
    for shard in operation.shards:
        check_name("shard", shard)


def apply_registration(operation: RegisterWorker, principal: Principal, batch: Batch) -> Instant:
    """Offer diverged runs to the new source, once and to it alone."""
    for spec in operation.workflows:
        for run_id in batch.families.get(f"{spec.name}@{spec.version}", ()):
            run = batch.runs[run_id]
            if run.state.status == "diverged":
                batch.move(run, Reconsider("fingerprint"), fingerprint=spec.fingerprint)
    return batch.now


async def prepare_heartbeat(operation: Heartbeat, principal: Principal, batch: Batch) -> None:
    """Renew the lease; name what the worker never heard of."""
    known = await batch.tx.renew_worker(
        principal.namespace, operation.incarnation, operation.stuck, await batch.tx.now()
    )
    if not known:
        raise NotFound(f"worker {operation.incarnation} is not registered: register it again")
    held = await batch.tx.held_runs(principal.namespace, operation.incarnation)
    batch.held[operation.incarnation] = held
    listed = {holding.run_id for holding in operation.held}
    batch.names.runs.update(
        row.run_id for row in held if row.run_id not in listed and _unheard(row, operation)
    )
    if operation.draining:
        batch.left.add((principal.namespace, operation.incarnation))


def apply_heartbeat(operation: Heartbeat, principal: Principal, batch: Batch) -> HeartbeatAnswer:
    """Release what was claimed but never heard of; tell which claims are lost."""
    listed = {holding.run_id for holding in operation.held}
    current: dict[str, int] = {}
    for row in batch.held[operation.incarnation]:
        run = batch.runs.get(row.run_id)
        if run is not None and row.run_id not in listed and _still_held(run, operation):
            if _unheard(row, operation):
                batch.move(run, Release(run.state.epoch))
                continue
        current[row.run_id] = row.epoch
    lost = tuple(h for h in operation.held if current.get(h.run_id) != h.epoch)
    return HeartbeatAnswer(lost, batch.now)


def _unheard(row: Held, operation: Heartbeat) -> bool:
    """Claimed before the worker made its lists, and its answer is not on its way."""
    if row.claim_id in operation.claiming:
        return False
    return operation.as_of is None or row.claimed_at is None or row.claimed_at < operation.as_of


def _still_held(run: Run, operation: Heartbeat | LeaveWorker) -> bool:
    return run.state.status == "running" and run.state.holder == operation.incarnation


async def prepare_leave(operation: LeaveWorker, principal: Principal, batch: Batch) -> None:
    """Name what the worker still holds."""
    held = await batch.tx.held_runs(principal.namespace, operation.incarnation)
    batch.names.runs.update(row.run_id for row in held)
    batch.held[operation.incarnation] = held
    batch.left.add((principal.namespace, operation.incarnation))
    await batch.tx.stop_worker(principal.namespace, operation.incarnation)


def apply_leave(operation: LeaveWorker, principal: Principal, batch: Batch) -> Instant:
    """Release it all, at once."""
    for row in batch.held[operation.incarnation]:
        run = batch.runs.get(row.run_id)
        if run is not None and _still_held(run, operation):
            batch.move(run, Release(run.state.epoch))
    return batch.now


class _Presence(Operation[int], frozen=True, kw_only=True):
    role: ClassVar[Role] = "worker"
    route: ClassVar[str] = ""
    mutates: ClassVar[bool] = True
    urgent: ClassVar[bool] = True

    incarnation: str
    presence: int
    """Number of the worker's streaming request; later ones have higher numbers."""


class SeeWorker(_Presence, frozen=True, kw_only=True):
    """The streaming request is open: the worker lives."""


class SuspectWorker(_Presence, frozen=True, kw_only=True):
    """The streaming request closed without a goodbye."""


async def prepare_presence(
    operation: SeeWorker | SuspectWorker, principal: Principal, batch: Batch
) -> None:
    """Write it down."""
    who = (principal.namespace, operation.incarnation, operation.presence)
    if isinstance(operation, SeeWorker):
        await batch.tx.see_worker(*who)
    else:
        await batch.tx.suspect_worker(*who, await batch.tx.now())


def apply_presence(
    operation: SeeWorker | SuspectWorker, principal: Principal, batch: Batch
) -> Instant:
    """Nothing else changes: whether the worker is lost is decided by the daemon."""
    return batch.now
