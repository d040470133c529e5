"""Rows of PostgreSQL as records, and records as rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from aiki.machine import wake_at
from aiki.model.failure import Failure, decode_failure, encode_failure
from aiki.model.run import Run, RunState
from aiki.model.task import Entry, Fact, TaskAttempt, Wait
from aiki.operations.work import Offer
from aiki.store.postgres.statements import Row
from aiki.store.records import AttemptRow, EntryRow, Ready, RunAttempt

Values = tuple[Any, ...]
encode_json = msgspec.json.Encoder().encode
_RUN_COLUMNS = 12
_ALL_RUN_COLUMNS = 31


def run_from(row: Row) -> Run:
    """A row that begins with the columns of a run."""
    state: Any = row[_RUN_COLUMNS:_ALL_RUN_COLUMNS]
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


def state_row(run: Run) -> Values:
    """A row of `update_states`."""
    return (run.id, *_state(run.state))


def _state(state: RunState) -> Values:
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


def attempt_rows(attempts: Iterable[AttemptRow]) -> list[Values]:
    """Rows of `save_attempts`: of one attempt told twice, what telling them in turn would leave."""
    found: dict[Values, Values] = {}
    for attempt in attempts:
        row = _attempt_row(attempt)
        known = found.get(row[:5])
        if known is None:
            found[row[:5]] = row
        elif known[6] == "running":
            found[row[:5]] = (*known[:6], row[6], known[7], *row[8:11], *known[11:])
    return list(found.values())


def _attempt_row(row: AttemptRow) -> Values:
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
    values: Any = (*row[1:9], _failure(row[9]), *row[10:12])
    return TaskAttempt(*values)


def wait_rows(waits: dict[str, Sequence[Wait]]) -> list[Values]:
    """Rows of `replace_waits`: one for each name, with the earliest due; no due beats any."""
    found: dict[Values, Values] = {}
    for run_id, of_run in waits.items():
        for wait in of_run:
            key = (run_id, wait.kind, wait.name)
            due_at = wait.due_at
            if key in found:
                known = found[key][3]
                due_at = None if due_at is None or known is None else min(due_at, known)
            found[key] = (*key, due_at)
    return list(found.values())


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
    )


def attempt_keys(of: Iterable[RunAttempt]) -> tuple[list[str], list[int]]:
    """Ids of runs and numbers of their attempts, as two columns."""
    pairs = list(of)
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def queue_columns(
    offers: Sequence[Offer], shards: Sequence[str]
) -> tuple[list[str], list[str], list[str], list[str]]:
    """Each offer in each shard: workflows, versions, shards and fingerprints, as four columns."""
    queues = [(offer, shard) for offer in offers for shard in shards or ("",)]
    return (
        [offer.workflow for offer, _ in queues],
        [offer.version for offer, _ in queues],
        [shard for _, shard in queues],
        [offer.fingerprint for offer, _ in queues],
    )
