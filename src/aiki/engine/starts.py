"""Starting runs: by clients, and as children of other runs."""

from __future__ import annotations

import hashlib
import re

import msgspec

from aiki.engine.batch import Batch, Names
from aiki.engine.controls import request_stop
from aiki.engine.views import options_of
from aiki.errors import Conflict, InvalidRequest, LimitExceeded
from aiki.ids import derived_id
from aiki.model import limits
from aiki.model.audit import Principal
from aiki.model.run import TERMINAL, Run, RunState, Status
from aiki.model.shards import shard_of_key
from aiki.operations.runs import Started, StartRun, StartRuns
from aiki.store.records import Reference

_encode = msgspec.json.Encoder().encode
_FORBIDDEN = re.compile(r"[:@{}\x00-\x1f\x7f]")
_UUID_LENGTH = 36
_MAX_DELAY_MS = 100 * 366 * 86_400_000


def check_name(what: str, name: str, *, empty: bool = False) -> None:
    """Raise `InvalidRequest` for a name that queues and keys could not carry."""
    if not name and not empty:
        raise InvalidRequest(f"the {what} is empty")
    if len(name) > limits.NAME_LENGTH:
        raise LimitExceeded(f"the {what} has {len(name)} characters; at most {limits.NAME_LENGTH}")
    found = _FORBIDDEN.search(name)
    if found:
        raise InvalidRequest(
            f"the {what} {name!r} holds {found.group()!r}; ':', '@', braces and control "
            "characters are not allowed"
        )


def is_text(text: str) -> bool:
    """Whether every database can keep and compare it: no NUL, no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def check_text(what: str, text: str) -> None:
    """Raise `InvalidRequest` for a text that databases would cut or refuse."""
    if not is_text(text):
        raise InvalidRequest(f"the {what} {text!r} holds a NUL or a lone surrogate")


def check_payload(what: str, data: bytes) -> None:
    """Raise `LimitExceeded` for a value that is too large to keep."""
    if len(data) > limits.PAYLOAD_BYTES:
        raise LimitExceeded(
            f"the {what} has {len(data)} bytes; at most {limits.PAYLOAD_BYTES}: "
            "store it elsewhere and pass a reference"
        )


def _check_start(start: StartRun) -> None:
    check_name("workflow's name", start.workflow)
    check_name("workflow's version", start.version)
    check_name("shard", start.shard, empty=True)
    check_payload("input", start.input)
    if len(start.id) != _UUID_LENGTH:
        raise InvalidRequest(f"the run id {start.id!r} is not a UUID")
    if start.reference_id is not None and not 0 < len(start.reference_id) <= limits.NAME_LENGTH:
        raise InvalidRequest(f"a reference id has 1 to {limits.NAME_LENGTH} characters")
    check_text("reference id", start.reference_id or "")
    _check_key("ordering key", start.options.ordering_key)
    _check_shards(start)
    if not -limits.PRIORITY <= start.priority <= limits.PRIORITY:
        raise InvalidRequest(
            f"priority={start.priority}: from {-limits.PRIORITY} to {limits.PRIORITY}"
        )
    if not 0 <= start.delay_ms <= _MAX_DELAY_MS:
        raise InvalidRequest(f"delay_ms={start.delay_ms}: from 0 to a hundred years")
    if start.options.timeout_ms is not None and start.options.timeout_ms <= 0:
        raise InvalidRequest(f"timeout_ms={start.options.timeout_ms}: must be positive")


def _check_key(what: str, key: str | None) -> None:
    if key is None:
        return
    if not 0 < len(key) <= limits.NAME_LENGTH:
        raise InvalidRequest(f"the {what} has {len(key)} characters: 1 to {limits.NAME_LENGTH}")
    check_text(what, key)


def _check_shards(start: StartRun) -> None:
    key = start.options.shard_key
    _check_key("shard key", key)
    for shard in start.shards:
        check_name("shard", shard)
    if key is not None and start.shard:
        raise InvalidRequest(f"shard {start.shard!r} and shard key {key!r}: give one of them")
    if key is not None and not start.shards:
        raise InvalidRequest(
            f"shard key {key!r} has nothing to choose from: the start of {start.workflow} names no "
            "shards; declare the workflow's shards"
        )


def _shard_of(start: StartRun) -> str:
    key = start.options.shard_key
    return start.shard if key is None else shard_of_key(key, start.shards)


def _digest(start: StartRun) -> str:
    head = f"{start.workflow}\0{start.version}\0".encode()
    return hashlib.sha256(head + start.input).hexdigest()[:32]


def born(start: StartRun, namespace: str, now: int, parent: Run | None) -> Run:
    """The run that a start makes."""
    options = start.options
    delayed = start.delay_ms > 0
    status: Status = "scheduled" if delayed else "queued"
    state = RunState(
        status if options.ordering_key is None else "awaiting_turn",
        due_at=now + start.delay_ms if delayed else None,
        deadline_at=now + start.delay_ms + options.timeout_ms if options.timeout_ms else None,
    )
    return Run(
        start.id,
        namespace,
        start.workflow,
        start.version,
        _shard_of(start),
        start.priority,
        start.reference_id,
        parent.id if parent else None,
        parent.state.attempt if parent else 0,
        _digest(start),
        _encode(options),
        now,
        state,
    )


def _reference(start: StartRun, namespace: str) -> Reference | None:
    if start.reference_id is None or not is_text(start.reference_id):
        return None
    return Reference(namespace, start.workflow, start.reference_id)


async def prepare_starts(operation: StartRuns, principal: Principal, batch: Batch) -> None:
    """Name the runs by id and by reference."""
    names: Names = batch.names
    for start in operation.starts:
        names.runs.add(start.id)
        reference = _reference(start, principal.namespace)
        if reference is not None:
            names.references.add(reference)


def apply_starts(operation: StartRuns, principal: Principal, batch: Batch) -> tuple[Started, ...]:
    """Start all, or raise before anything was started."""
    starts = operation.starts
    if not starts:
        return ()
    if len(starts) > limits.BULK_ITEMS:
        raise LimitExceeded(f"{len(starts)} starts in one call; at most {limits.BULK_ITEMS}")
    found = [_existing(start, principal.namespace, batch) for start in starts]
    _refuse_twins(starts)
    results: list[Started] = []
    for start, existing in zip(starts, found, strict=True):
        if existing is None:
            batch.add_run(born(start, principal.namespace, batch.now, None), start.input)
        results.append(Started(existing or start.id, existing is None))
    if any(result.created for result in results):
        first = results[0]
        detail = f"{len(starts)} runs of {', '.join(sorted({s.workflow for s in starts}))}"
        batch.add_audit(principal, "StartRuns", first.id, detail[:200])
    return tuple(results)


def _refuse_twins(starts: tuple[StartRun, ...]) -> None:
    named = [(s.workflow, s.reference_id) for s in starts if s.reference_id is not None]
    if len(set(named)) < len(named) or len({s.id for s in starts}) < len(starts):
        raise Conflict("one call starts two runs under the same id or reference id")


def _existing(start: StartRun, namespace: str, batch: Batch) -> str | None:
    """The id of the run that this start already made, or None; `Conflict` for another run."""
    _check_start(start)
    digest = _digest(start)
    same = batch.runs.get(start.id)
    if same is not None:
        if same.digest != digest or same.namespace != namespace:
            raise Conflict(f"run {start.id} exists with another workflow, version or input")
        return same.id
    reference = _reference(start, namespace)
    known = batch.references.get(reference) if reference else None
    if known is None:
        return None
    if start.on_conflict == "error":
        raise Conflict(
            f"reference id {start.reference_id!r} of workflow {start.workflow} is run {known}; "
            'use on_conflict="return_existing" to get that run'
        )
    return known


def start_child(start: StartRun, key: str, parent: Run, batch: Batch) -> None:
    """Start a child in its parent's transaction; an id that exists is the same child."""
    if start.id in batch.runs or parent.state.status in TERMINAL:
        return
    child = born(start, parent.namespace, batch.now, parent)
    batch.add_run(child, start.input, key)
    if parent.state.stop_cause is not None and not parent.state.stop_delivered:
        # The parent was asked to stop, and its children with it; it has only not heard of it yet.
        stop_id = derived_id(child.id, "stop", parent.id)
        request_stop(child, "cancel", stop_id, "the parent is being stopped", batch)


def _refuse_own_key(start: StartRun, parent: Run, batch: Batch) -> None:
    key = start.options.ordering_key
    for above in (parent, *batch.ancestors.get(parent.id, ())):
        if key is not None and start.workflow == above.workflow:
            if key == options_of(above).ordering_key:
                kin = "parent" if above is parent else "ancestor"
                raise InvalidRequest(
                    f"a child of run {parent.id} with the ordering key {key!r} would wait for the "
                    f"end of its {kin} {above.id}, which waits for it"
                )


async def load_ancestors(parent_id: str, batch: Batch) -> None:
    """Read who waits for this run: its parent, and whoever waits for that one."""
    above: list[Run] = []
    child = await _peek(parent_id, batch)
    while child is not None and child.parent_id is not None:
        child = await _peek(child.parent_id, batch)
        if child is None or child.state.status in TERMINAL:
            break
        above.append(child)
    batch.ancestors[parent_id] = above


async def _peek(run_id: str, batch: Batch) -> Run | None:
    found = await batch.tx.peek_runs([run_id])
    return found[0] if found else None


def name_child(start: StartRun, namespace: str, batch: Batch) -> None:
    """Name a child by id and by reference."""
    batch.names.runs.add(start.id)
    reference = _reference(start, namespace)
    if reference is not None:
        batch.names.references.add(reference)


def check_children(starts: tuple[StartRun, ...], parent: Run, batch: Batch) -> None:
    """Raise what forbids these children, before anything is recorded."""
    _refuse_twins(starts)
    for start in starts:
        _check_start(start)
        _refuse_own_key(start, parent, batch)
        reference = _reference(start, parent.namespace)
        known = batch.references.get(reference, start.id) if reference else start.id
        if known != start.id:
            raise Conflict(
                f"a child's reference id {start.reference_id!r} of workflow {start.workflow} "
                f"is run {known} already"
            )
