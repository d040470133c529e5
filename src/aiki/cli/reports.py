"""Reports: runs and their records as rows of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aiki.cli.output import duration, payload, time
from aiki.model.failure import Cancelled, ChildEnded, Failure, Raised
from aiki.model.run import RunResult, RunView, Transition
from aiki.model.task import Divergence, Entry, Fact, TaskAttempt, Wait
from aiki.operations.runs import History

RUN_COLUMNS = ("run", "workflow", "version", "status", "created", "took", "reference")
HISTORY_COLUMNS = ("at", "kind", "number", "name", "what", "value")
Row = tuple[str, ...]


def run_rows(runs: Sequence[RunView]) -> list[Row]:
    """Runs under `RUN_COLUMNS`."""
    return [
        (run.id, run.workflow, run.version, run.status, time(run.created_at), took(run),
         run.reference_id or "")
        for run in runs
    ]  # fmt: skip


def took(run: RunView) -> str:
    """From the first claim to the end."""
    if run.started_at is None or run.ended_at is None:
        return ""
    return duration(run.ended_at - run.started_at)


def details(result: RunResult) -> Iterator[tuple[str, str]]:
    """Names and values of one run; a value may be empty."""
    run = result.run
    yield "run", run.id
    yield "workflow", f"{run.workflow} {run.version}"
    yield "status", run.status
    yield "attempt", str(run.attempt)
    yield "reference", run.reference_id or ""
    yield "parent", run.parent_id or ""
    yield "shard", run.shard
    yield "priority", str(run.priority) if run.priority else ""
    yield "attributes", ", ".join(f"{name}={value}" for name, value in run.attributes.items())
    yield "worker", run.worker or ""
    yield "stop", f"{run.stop_requested} requested" if run.stop_requested else ""
    yield "created", time(run.created_at)
    yield "started", time(run.started_at)
    yield "due", time(run.due_at) if run.ended_at is None else ""
    yield "ended", time(run.ended_at)
    yield "took", took(run)
    yield "output", payload(result.output)
    for reason in reasons(result.failure):
        yield "failure", reason
    if run.status == "diverged":
        yield "next", f"aiki runs history {run.id}; then waive, retry or terminate it"
    if run.status == "stalled":
        yield "next", f"start a worker of this version, or: aiki runs redeliver {run.id}"


def reasons(failure: Failure | None) -> Iterator[str]:
    """The failure and its chain of causes, one line each."""
    while failure is not None:
        yield failure.describe()
        match failure:
            case Raised() | Cancelled() | ChildEnded():
                failure = failure.cause
            case _:
                return


def history_rows(history: History) -> list[Row]:
    """Everything recorded, under `HISTORY_COLUMNS`, in the order of time."""
    timed = [
        *((each.at, _transition(each)) for each in history.transitions),
        *((each.at, _entry(each)) for each in history.entries),
        *((each.started_at, _attempt(each)) for each in history.attempts),
        *((each.at, _fact(each)) for each in history.facts),
    ]
    timed.sort(key=lambda pair: pair[0])
    return [(time(at), *row) for at, row in timed] + [_wait(each) for each in history.waits]


def _transition(each: Transition) -> Row:
    return "status", str(each.revision), each.status, each.reason, ""


def _entry(each: Entry) -> Row:
    what = each.failure.describe() if each.failure else "recorded"
    return each.kind, str(each.number), each.name or each.address, what, payload(each.value)


def _attempt(each: TaskAttempt) -> Row:
    took = duration(each.ended_at - each.started_at) if each.ended_at is not None else ""
    what = f"{each.status} {took}".strip()
    reason = each.failure.describe() if each.failure else ""
    return "attempt", str(each.number), each.name, what, reason


def _fact(each: Fact) -> Row:
    return "inbox", "", each.name, each.kind, payload(each.value)


def _wait(each: Wait) -> Row:
    return time(each.due_at), "wait", "", each.name, each.kind, ""


def divergence_lines(divergence: Divergence) -> list[str]:
    """Where the code and the records part."""
    return [divergence.describe(), *divergence.diff.splitlines()]
