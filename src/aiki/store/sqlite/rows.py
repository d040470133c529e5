"""Rows of SQLite as records, and records as rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from aiki.machine import wake_at
from aiki.model.failure import Failure, decode_failure, encode_failure
from aiki.model.run import Run, RunState
from aiki.model.task import Entry, Fact, TaskAttempt

Row = tuple[Any, ...]
encode_json = msgspec.json.Encoder().encode


def ids_json(ids: Iterable[Any]) -> str:
    """A list as the one parameter of `json_each`."""
    return as_json(list(ids))


def as_json(value: Any) -> str:
    """What `json_each` reads."""
    return encode_json(value).decode()


def run_from(row: Row) -> Run:
    """A row of `load_runs`."""
    state = RunState(
        row[12],
        row[13],
        row[14],
        row[15],
        row[16],
        row[17],
        row[18],
        row[19],
        bool(row[20]),
        row[21],
        bool(row[22]),
        bool(row[23]),
        *row[24:31],
    )
    columns: Any = (*row[:12], state)
    return Run(*columns)


def state_row(run: Run) -> Row:
    """The parameters of `update_states`."""
    return (*_state(run.state), wake_at(run.state), run.id)


def run_row(run: Run) -> Row:
    """The parameters of `insert_runs`."""
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
        wake_at(run.state),
    )


def _state(state: RunState) -> Row:
    return msgspec.structs.astuple(state)


def _failure(data: bytes | None) -> Failure | None:
    return None if data is None else decode_failure(data)


def _encoded(failure: Failure | None) -> bytes | None:
    return None if failure is None else encode_failure(failure)


def entry_row(run_id: str, attempt: int, e: Entry) -> Row:
    """The parameters of `insert_entries`."""
    return (
        run_id,
        attempt,
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
    return Entry(
        row[1],
        row[2],
        row[3],
        row[4],
        row[5],
        row[6],
        row[7],
        _failure(row[8]),
        row[9],
        row[10],
        row[11],
        row[12],
        row[13],
        row[14],
    )


def attempt_row(run_id: str, attempt: int, t: TaskAttempt) -> Row:
    """The parameters of `save_attempts`."""
    return (
        run_id,
        attempt,
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
    return TaskAttempt(
        row[1],
        row[2],
        row[3],
        row[4],
        row[5],
        row[6],
        row[7],
        row[8],
        _failure(row[9]),
        row[10],
        bool(row[11]),
    )


def fact_row(f: Fact) -> Row:
    """The parameters of `insert_facts`."""
    return (f.id, f.run_id, f.kind, f.name, f.at, f.value, _encoded(f.failure), f.key)


def fact_from(row: Row) -> Fact:
    """A row of `load_facts`."""
    return Fact(row[0], row[1], row[2], row[3], row[4], row[5], _failure(row[6]), row[7])
