"""Operations on runs: start, read, list, cancel, pause, decide."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from aiki.clock import Instant
from aiki.model.run import RunOptions, RunResult, RunView, Transition
from aiki.model.task import Divergence, Entry, Fact, TaskAttempt, Wait
from aiki.operations.base import Operation, Role, operation


class StartRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run to start. The caller makes the id, so that a repeated call starts nothing new."""

    id: str
    workflow: str
    version: str
    input: bytes
    shard: str = ""
    shards: tuple[str, ...] = ()
    """Where the options give a shard key instead of a shard: the shards it chooses from."""
    priority: int = 0
    reference_id: str | None = None
    on_conflict: Literal["error", "return_existing"] = "error"
    delay_ms: int = 0
    options: RunOptions = RunOptions()


class Started(msgspec.Struct, frozen=True):
    """What became of one start."""

    id: str
    created: bool


class RunQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs: every given field must match."""

    workflow: str | None = None
    version: str | None = None
    status: tuple[str, ...] = ()
    reference_id: str | None = None
    parent_id: str | None = None
    shard: str | None = None
    created_after: Instant | None = None
    """Created at this instant or later."""
    created_before: Instant | None = None
    """Created before this instant."""


class RunPage(msgspec.Struct, frozen=True):
    """Runs in the order that was asked for, and where the next page begins."""

    runs: tuple[RunView, ...]
    next_cursor: str | None = None


class History(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a run: never changed, only continued."""

    run: RunView
    transitions: tuple[Transition, ...]
    entries: tuple[Entry, ...]
    attempts: tuple[TaskAttempt, ...]
    waits: tuple[Wait, ...]
    facts: tuple[Fact, ...]
    divergence: Divergence | None = None

    def worker_of(self, epoch: int) -> str | None:
        """Incarnation of the worker that held the run in this epoch; records carry their epoch."""
        held = (t.worker for t in self.transitions if t.epoch == epoch and t.status == "running")
        return next(held, None)


@operation
class StartRuns(Operation[tuple[Started, ...]], frozen=True, kw_only=True):
    """Start runs, all or none; each is durable when this answers."""

    role: ClassVar[Role] = "client"
    route: ClassVar[str] = "POST /runs"
    mutates: ClassVar[bool] = True

    starts: tuple[StartRun, ...]
    command_id: str | None = None
    """Repeated under the same id, whatever the runs' ids, it gets the first answer for a day."""


@operation
class GetRun(Operation[RunResult], frozen=True, kw_only=True):
    """One run, with its output or failure once it has ended.

    Waits up to `wait_ms` for the run to end, or, with `after_revision`, for any later transition.
    """

    role: ClassVar[Role] = "viewer"
    route: ClassVar[str] = "GET /runs/{id}"

    id: str
    wait_ms: int = 0
    after_revision: int | None = None


Order = Literal["newest", "oldest"]


@operation
class ListRuns(Operation[RunPage], frozen=True, kw_only=True):
    """Runs that match, a page at a time, in the order in which they were created."""

    role: ClassVar[Role] = "viewer"
    route: ClassVar[str] = "GET /runs"

    query: RunQuery = RunQuery()
    order: Order = "newest"
    limit: int = 50
    cursor: str | None = None
    """What the page before answered as `next_cursor`."""


@operation
class GetHistory(Operation[History], frozen=True, kw_only=True):
    """Everything that is recorded of a run's current attempt, and all its transitions."""

    role: ClassVar[Role] = "viewer"
    route: ClassVar[str] = "GET /runs/{id}/history"

    id: str


@operation
class CancelRun(Operation[RunView], frozen=True, kw_only=True):
    """Ask a run to stop: it may clean up within its grace. A second request ends it at once."""

    role: ClassVar[Role] = "client"
    route: ClassVar[str] = "POST /runs/{id}/cancel"
    mutates: ClassVar[bool] = True

    id: str
    command_id: str
    """Made by the caller: the same id is the same request."""
    reason: str = ""


@operation
class TerminateRun(Operation[RunView], frozen=True, kw_only=True):
    """End a run at once, without clean-up; its children are asked to stop."""

    role: ClassVar[Role] = "operator"
    route: ClassVar[str] = "POST /runs/{id}/terminate"
    mutates: ClassVar[bool] = True

    id: str
    command_id: str
    reason: str = ""


@operation
class PauseRun(Operation[RunView], frozen=True, kw_only=True):
    """Hold a run: a running one goes on to its next park."""

    role: ClassVar[Role] = "operator"
    route: ClassVar[str] = "POST /runs/{id}/pause"
    mutates: ClassVar[bool] = True

    id: str
    command_id: str | None = None
    """Made by the caller: the same id is the same request."""


@operation
class ResumeRun(Operation[RunView], frozen=True, kw_only=True):
    """Let a paused run go on."""

    role: ClassVar[Role] = "operator"
    route: ClassVar[str] = "POST /runs/{id}/resume"
    mutates: ClassVar[bool] = True

    id: str
    command_id: str | None = None
    """Made by the caller: the same id is the same request."""


@operation
class RedeliverRun(Operation[RunView], frozen=True, kw_only=True):
    """Offer a stalled run to workers again."""

    role: ClassVar[Role] = "operator"
    route: ClassVar[str] = "POST /runs/{id}/redeliver"
    mutates: ClassVar[bool] = True

    id: str
    command_id: str | None = None
    """Made by the caller: the same id is the same request."""


@operation
class WaiveEntries(Operation[RunView], frozen=True, kw_only=True):
    """Answer a divergence: replay the run without these recorded entries.

    Without `numbers`: all that the divergence names as recorded but not asked for.
    """

    role: ClassVar[Role] = "operator"
    route: ClassVar[str] = "POST /runs/{id}/waive"
    mutates: ClassVar[bool] = True

    id: str
    numbers: tuple[int, ...] = ()
    command_id: str | None = None
    """Made by the caller: the same id is the same request."""


@operation
class RetryDiverged(Operation[RunView], frozen=True, kw_only=True):
    """Offer a diverged run to workers again as it is, after the code was mended."""

    role: ClassVar[Role] = "operator"
    route: ClassVar[str] = "POST /runs/{id}/retry"
    mutates: ClassVar[bool] = True

    id: str
    command_id: str | None = None
    """Made by the caller: the same id is the same request."""


@operation
class SendEvent(Operation[str], frozen=True, kw_only=True):
    """Put an event into a run's inbox; kept until a wait takes it. Answers the event's id.

    The same `key` for the same run and name is the same event; another payload is a `Conflict`.
    """

    role: ClassVar[Role] = "client"
    route: ClassVar[str] = "POST /runs/{run_id}/events"
    mutates: ClassVar[bool] = True

    id: str
    run_id: str
    name: str
    value: bytes = b"null"
    key: str | None = None
    command_id: str | None = None
    """Repeated under the same id, whatever the event's id, it gets the first answer for a day."""
