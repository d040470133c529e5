"""A run: one execution of a workflow, from its start to its end."""

from __future__ import annotations

from typing import Literal

import msgspec

from aiki.clock import Instant
from aiki.model.failure import Failure
from aiki.model.retry import Retry

Status = Literal[
    "scheduled",
    "queued",
    "running",
    "waiting",
    "paused",
    "diverged",
    "stalled",
    "completed",
    "failed",
    "cancelled",
    "awaiting_turn",
]
STATUSES: tuple[Status, ...] = (
    "scheduled",
    "awaiting_turn",
    "queued",
    "running",
    "waiting",
    "paused",
    "diverged",
    "stalled",
    "completed",
    "failed",
    "cancelled",
)
TERMINAL: frozenset[str] = frozenset({"completed", "failed", "cancelled"})

PublicStatus = Literal[
    "scheduled",
    "queued",
    "running",
    "sleeping",
    "paused",
    "awaiting_event",
    "awaiting_retry",
    "awaiting_child",
    "diverged",
    "stalled",
    "completed",
    "failed",
    "cancelled",
    "awaiting_turn",
]

StopCause = Literal["cancel", "timeout"]


class RunState(msgspec.Struct, frozen=True):
    """What the state machine decides on, and nothing else: no payloads, no names."""

    status: Status
    revision: int = 0
    """Number of transitions so far, minus one."""
    attempt: int = 1
    """Workflow-level attempt; each has a memo of its own."""
    epoch: int = 0
    """Number of claims so far; every write of a worker carries it."""
    holder: str | None = None
    """Incarnation of the worker that holds the claim, or held it last."""
    claim_id: str | None = None
    losses: int = 0
    """Recoveries since the last progress."""
    alone_losses: int = 0
    """Those of them that happened while the run was executed alone."""
    pause_requested: bool = False
    stop_cause: StopCause | None = None
    """A request to stop is in the inbox, or was delivered."""
    stop_delivered: bool = False
    retry_pending: bool = False
    """The next claim starts a new attempt."""
    due_at: Instant | None = None
    """Scheduled start, or the earliest due of the waits."""
    deadline_at: Instant | None = None
    grace_until: Instant | None = None
    started_at: Instant | None = None
    """First claim."""
    ended_at: Instant | None = None
    command_id: str | None = None
    """The report that brought this state: repeated, it gets the same answer."""
    fingerprint: str | None = None
    """Source of the workflow that last advanced the run."""


class RunOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was chosen at the start and travels with every claim."""

    retry: Retry | None = None
    timeout_ms: int | None = None
    cancel_grace_ms: int = 60_000
    attributes: dict[str, str | int | float | bool] = {}
    traceparent: str | None = None
    canonical_form: int = 1
    """Form of the arguments that make the addresses of its calls."""
    ordering_key: str | None = None
    """Of the unfinished runs of a workflow with the same key, only the first is executed."""
    shard_key: str | None = None
    """What the shard was chosen by; it is never chosen again."""
    rerun_of: str | None = None
    """The ended run that this one repeats."""


class Run(msgspec.Struct, frozen=True):
    """A run's row: who it is, and its state."""

    id: str
    namespace: str
    workflow: str
    version: str
    shard: str
    priority: int
    reference_id: str | None
    parent_id: str | None
    parent_attempt: int
    digest: str
    """Of what was started: workflow, version and input."""
    options: bytes
    created_at: Instant
    state: RunState


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """A run as clients see it."""

    id: str
    namespace: str
    workflow: str
    version: str
    status: PublicStatus
    revision: int
    attempt: int
    shard: str = ""
    priority: int = 0
    reference_id: str | None = None
    parent_id: str | None = None
    worker: str | None = None
    created_at: Instant = 0
    started_at: Instant | None = None
    ended_at: Instant | None = None
    due_at: Instant | None = None
    stop_requested: StopCause | None = None
    attributes: dict[str, str | int | float | bool] = {}
    rerun_of: str | None = None
    ordering_key: str | None = None
    shard_key: str | None = None


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a run stands: its output or failure once it has ended."""

    run: RunView
    output: bytes | None = None
    failure: Failure | None = None

    @property
    def ended(self) -> bool:
        """Whether the run is in a terminal status."""
        return self.run.status in TERMINAL


class Transition(msgspec.Struct, frozen=True):
    """One step of a run through the state machine; never changed afterwards."""

    run_id: str
    revision: int
    status: Status
    reason: str
    at: Instant
    attempt: int
    epoch: int
    worker: str | None = None
