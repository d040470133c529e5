"""Rows of MySQL as records, and records as rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from aiki.machine import wake_at
from aiki.model.failure import Failure, decode_failure, encode_failure
from aiki.model.run import Run, RunState
from aiki.model.task import Entry, Fact, TaskAttempt, Wait
from aiki.operations.work import Offer
from aiki.store.mysql.connection import Row
from aiki.store.mysql.template import Values
from aiki.store.records import AttemptRow, EntryRow, Ready

encode_json = msgspec.json.Encoder().encode
_RUN_COLUMNS = 12
_STATE_NAMES = (*RunState.__struct_fields__, "wake_at")
_FLAGS = tuple(
    place for place, name in enumerate(RunState.__struct_fields__)
    if name in ("pause_requested", "stop_delivered", "retry_pending")
)  # fmt: skip


def as_json(value: Any) -> str:
    """What `JSON_TABLE` reads."""
    return encode_json(value).decode()


def each_json(values: Iterable[Any]) -> str:
    """Each of these once, in order: so rows are locked, and none is answered twice."""
    return as_json(sorted(set(values)))


def run_from(row: Row) -> Run:
    """A row with the columns of a run."""
    state: list[Any] = list(row[_RUN_COLUMNS:])
    for place in _FLAGS:
        state[place] = bool(state[place])
    columns: Any = (*row[:_RUN_COLUMNS], RunState(*state))
    return Run(*columns)


def run_row(run: Run) -> Values:
    """A row of `insert_runs`."""
    return (
        run.id,
        run.namespace,
        run.workflow,
        run.version,
        run.shard,
        run.priority,
        run.reference_id,
        run.parent_id,
        run.parent_attempt,
        run.digest,
        run.options,
        run.created_at,
        *_state(run.state),
    )


def state_object(run: Run) -> dict[str, Any]:
    """An object of `update_states`: without what has no value, numbers for flags."""
    values = zip(_STATE_NAMES, _state(run.state), strict=True)
    return {
        "id": run.id,
        **{
            name: int(value) if isinstance(value, bool) else value
            for name, value in values
            if value is not None
        },
    }


def _state(state: RunState) -> tuple[Any, ...]:
    return (*msgspec.structs.astuple(state), wake_at(state))


def _failure(data: bytes | None) -> Failure | None:
    return None if data is None else decode_failure(data)


def _encoded(failure: Failure | None) -> bytes | None:
    return None if failure is None else encode_failure(failure)


def entry_row(row: EntryRow) -> Values:
    """A row of `insert_entries`."""
    e = row.entry
    return (
        row.run_id,
        row.attempt,
        e.number,
        e.kind,
        e.address,
        e.ordinal,
        e.at,
        e.name,
        e.value,
        _encoded(e.failure),
        e.fact_id,
        e.due_at,
        e.task_attempt,
        e.started_at,
        e.epoch,
        e.arguments,
    )


def entry_from(row: Row) -> Entry:
    """A row of `load_entries`."""
    values: Any = (*row[1:8], _failure(row[8]), *row[9:15])
    return Entry(*values)


def attempt_row(row: AttemptRow) -> Values:
    """A row of `save_attempts`."""
    t = row.record
    return (
        row.run_id,
        row.attempt,
        t.address,
        t.ordinal,
        t.number,
        t.name,
        t.status,
        t.started_at,
        t.ended_at,
        t.due_at,
        _encoded(t.failure),
        t.epoch,
        t.at_most_once,
    )


def attempt_from(row: Row) -> TaskAttempt:
    """A row of `load_attempts`."""
    values: Any = (*row[1:9], _failure(row[9]), row[10], bool(row[11]))
    return TaskAttempt(*values)


def wait_rows(waits: dict[str, Sequence[Wait]]) -> list[Values]:
    """Rows of `insert_waits`: one for each name, with the earliest due; no due beats any."""
    found: dict[tuple[str, str, str], int | None] = {}
    for run_id, of_run in waits.items():
        for wait in of_run:
            key = (run_id, wait.kind, wait.name)
            due_at = wait.due_at
            if key in found:
                known = found[key]
                due_at = None if due_at is None or known is None else min(due_at, known)
            found[key] = due_at
    return [(*key, due_at) for key, due_at in found.items()]


def fact_row(f: Fact) -> Values:
    """A row of `insert_facts`."""
    return (f.id, f.run_id, f.kind, f.name, f.at, f.value, _encoded(f.failure), f.key)


def fact_from(row: Row) -> Fact:
    """A row of `load_facts`."""
    values: Any = (*row[:6], _failure(row[6]), row[7])
    return Fact(*values)


def ready_row(ready: Ready) -> Values:
    """A row of `insert_outbox`."""
    run = ready.run
    return (
        run.id,
        run.namespace,
        run.workflow,
        run.version,
        run.shard,
        run.priority,
        ready.ready_at,
        ready.alone,
        ready.fingerprint,
        run.state.fingerprint,
        _queue(run.namespace, run.workflow, run.version, run.shard),
    )


def _queue(*names: str) -> bytes:
    """The one value that stands for a queue in its index."""
    return hashlib.sha256(encode_json(names)).digest()


def queues(
    namespace: str, offers: Sequence[Offer], shards: Sequence[str]
) -> list[tuple[bytes, str]]:
    """Each offer in each shard: its queue, and the source that is offered."""
    return [
        (_queue(namespace, offer.workflow, offer.version, shard), offer.fingerprint)
        for offer in offers
        for shard in shards or ("",)
    ]


def queues_json(queues: Iterable[tuple[bytes, str]]) -> str:
    """Queues as `any_alone` reads them."""
    return as_json([(queue.hex(), fingerprint) for queue, fingerprint in queues])
