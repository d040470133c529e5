"""Which functions answer which operation: one line each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiki.engine import bulk as bulks
from aiki.engine import (
    circles,
    controls,
    events,
    letters,
    namespaces,
    publications,
    reads,
    reports,
    starts,
    upkeep,
    workers,
)
from aiki.engine.answers import once
from aiki.engine.claims import load_memo
from aiki.engine.handler import Handler
from aiki.model.audit import Principal
from aiki.operations import bulk, catalog, runs, work
from aiki.operations.base import Operation
from aiki.store.protocol import Transaction

HANDLERS: dict[type[Operation[Any]], Handler] = {
    runs.StartRuns: once(runs.StartRuns, Handler(starts.prepare_starts, starts.apply_starts)),
    runs.SendEvent: once(runs.SendEvent, Handler(events.prepare_event, events.apply_event)),
    runs.CancelRun: once(runs.CancelRun, Handler(controls.prepare_stop, controls.apply_cancel)),
    runs.TerminateRun: once(
        runs.TerminateRun, Handler(controls.prepare_stop, controls.apply_terminate)
    ),
    runs.PauseRun: once(runs.PauseRun, Handler(controls.prepare_control, controls.apply_pause)),
    runs.ResumeRun: once(runs.ResumeRun, Handler(controls.prepare_control, controls.apply_resume)),
    runs.RedeliverRun: once(
        runs.RedeliverRun, Handler(controls.prepare_control, controls.apply_redeliver)
    ),
    runs.WaiveEntries: once(
        runs.WaiveEntries, Handler(controls.prepare_decision, controls.apply_waive)
    ),
    runs.RetryDiverged: once(
        runs.RetryDiverged, Handler(controls.prepare_decision, controls.apply_retry_diverged)
    ),
    bulk.SendEvents: once(bulk.SendEvents, Handler(bulks.prepare_events, bulks.apply_events)),
    bulk.CancelRuns: once(bulk.CancelRuns, Handler(bulks.prepare_cancels, bulks.apply_cancels)),
    bulk.RerunRun: once(bulk.RerunRun, Handler(bulks.prepare_rerun, bulks.apply_rerun)),
    bulk.RerunRuns: once(bulk.RerunRuns, Handler(bulks.prepare_reruns, bulks.apply_reruns)),
    catalog.SetRetention: once(
        catalog.SetRetention, Handler(namespaces.prepare_retention, namespaces.apply_retention)
    ),
    catalog.RedriveDeadLetter: once(
        catalog.RedriveDeadLetter, Handler(letters.prepare_redrive, letters.apply_redrive)
    ),
    work.RegisterWorker: Handler(workers.prepare_registration, workers.apply_registration),
    work.Heartbeat: Handler(workers.prepare_heartbeat, workers.apply_heartbeat),
    work.LeaveWorker: Handler(workers.prepare_leave, workers.apply_leave),
    workers.SeeWorker: Handler(workers.prepare_presence, workers.apply_presence),
    workers.SuspectWorker: Handler(workers.prepare_presence, workers.apply_presence),
    work.RefuseMessages: Handler(letters.prepare_refusals, letters.apply_refusals),
    work.Report: Handler(reports.prepare_report, reports.apply_report),
    publications.NotePublished: Handler(publications.prepare_note, publications.apply_note),
    publications.ForgetPublications: Handler(
        publications.prepare_forget, publications.apply_forget
    ),
    circles.UntangleRuns: Handler(circles.prepare_untangling, circles.apply_untangling),
    upkeep.WakeDue: Handler(upkeep.prepare_wake, upkeep.apply_wake),
    upkeep.RecoverRuns: Handler(upkeep.prepare_recovery, upkeep.apply_recovery),
    upkeep.StallRuns: Handler(upkeep.prepare_stall, upkeep.apply_stall),
    upkeep.DeleteRuns: Handler(upkeep.prepare_deletion, upkeep.apply_deletion),
}
"""Operations that change something. `ClaimRuns` has a phase of its own: `claims.serve_claim`."""

READERS: dict[type[Operation[Any]], Callable[[Any, Principal, Transaction], Awaitable[Any]]] = {
    runs.ListRuns: reads.list_runs,
    runs.GetHistory: reads.get_history,
    work.LoadMemo: load_memo,
    catalog.ListWorkflows: reads.list_workflows,
    catalog.ListWorkers: reads.list_workers,
    catalog.ListDeadLetters: reads.list_dead_letters,
    catalog.GetBacklog: reads.get_backlog,
    catalog.GetNamespace: reads.get_namespace,
    catalog.GetChanges: reads.get_changes,
}
"""Operations that only read. `GetRun`, `Listen` and `GetChanges` can wait: `engine.watchers`."""

BROWSED: frozenset[type[Operation[Any]]] = frozenset(
    {
        runs.ListRuns,
        catalog.GetBacklog,
        catalog.ListWorkflows,
        catalog.ListWorkers,
        catalog.ListDeadLetters,
    }
)
"""Lists for people: a replica may answer them."""
