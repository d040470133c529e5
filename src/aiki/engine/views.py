"""Runs as clients see them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from aiki.model.run import PublicStatus, Run, RunOptions, RunView
from aiki.model.task import Wait

_options = msgspec.json.Decoder(RunOptions)
_NAMES: dict[str, PublicStatus] = {
    "timer": "sleeping",
    "event": "awaiting_event",
    "child": "awaiting_child",
    "task_retry": "awaiting_retry",
    "run_retry": "awaiting_retry",
}


def options_of(run: Run) -> RunOptions:
    """What was chosen at the start."""
    return _options.decode(run.options)


def public_status(run: Run, waits: Sequence[Wait]) -> PublicStatus:
    """The status, and for a waiting run what it waits for.

    That is the kind of the wait with the earliest due; without any due an event, else a child.
    """
    if run.state.status != "waiting":
        return run.state.status
    dues = [wait for wait in waits if wait.due_at is not None]
    if dues:
        return _NAMES[min(dues, key=lambda wait: wait.due_at or 0).kind]
    kinds = {wait.kind for wait in waits}
    return "awaiting_event" if "event" in kinds or "child" not in kinds else "awaiting_child"


def view_of(run: Run, waits: Sequence[Wait] = ()) -> RunView:
    """The run for clients."""
    state = run.state
    options = options_of(run)
    return RunView(
        id=run.id,
        namespace=run.namespace,
        workflow=run.workflow,
        version=run.version,
        status=public_status(run, waits),
        revision=state.revision,
        attempt=state.attempt,
        shard=run.shard,
        priority=run.priority,
        reference_id=run.reference_id,
        parent_id=run.parent_id,
        worker=state.holder if state.status == "running" else None,
        created_at=run.created_at,
        started_at=state.started_at,
        ended_at=state.ended_at,
        due_at=state.due_at,
        stop_requested=state.stop_cause,
        attributes=options.attributes,
        rerun_of=options.rerun_of,
        ordering_key=options.ordering_key,
        shard_key=options.shard_key,
    )
