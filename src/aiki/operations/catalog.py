"""Operations that list what the server knows besides runs."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from aiki.clock import Instant
from aiki.model.run import Status
from aiki.model.worker import DeadLetter, WorkerView, WorkflowVersion
from aiki.operations.base import Operation, Role, operation

PROTOCOL = 1
"""Of the records on the wire; raised when an older peer would misread them."""


class ServerInfo(msgspec.Struct, frozen=True):
    """Version of the server, of its schema, and its instant."""

    version: str
    schema_version: int
    store: str
    now: Instant
    protocol: int = PROTOCOL


OVERLAP_MS = 2_000
"""A transaction that is longer under way may be missed by whoever follows changes."""


class Namespace(msgspec.Struct, frozen=True):
    """A namespace and what is chosen for it."""

    name: str
    retention_ms: int | None = None
    """How long its ended runs are kept; 0 keeps them for ever, None is the server's default."""


class Backlog(msgspec.Struct, frozen=True):
    """How much one queue holds: runs that are ready, and that no worker took yet."""

    workflow: str
    version: str
    shard: str
    ready: int
    oldest_ms: int
    """For how long the oldest of them has been ready."""


class Change(msgspec.Struct, frozen=True):
    """A transition of a run of the namespace."""

    run_id: str
    workflow: str
    revision: int
    status: Status
    reason: str
    at: Instant


class Changes(msgspec.Struct, frozen=True):
    """What happened in the namespace since the cursor, oldest first."""

    changes: tuple[Change, ...]
    cursor: Instant


class Redriven(msgspec.Struct, frozen=True):
    """What became of a dead letter."""

    run_id: str
    """The new run, or the one that was announced again."""
    verdict: Literal["started", "announced"]


@operation
class ListWorkflows(Operation[tuple[WorkflowVersion, ...]], frozen=True):
    """The workflow versions that workers have offered."""

    role: ClassVar[Role] = "viewer"
    route: ClassVar[str] = "GET /workflows"


@operation
class ListWorkers(Operation[tuple[WorkerView, ...]], frozen=True):
    """The workers, alive ones first."""

    role: ClassVar[Role] = "viewer"
    route: ClassVar[str] = "GET /workers"


@operation
class ListDeadLetters(Operation[tuple[DeadLetter, ...]], frozen=True, kw_only=True):
    """What could not be delivered, newest first."""

    role: ClassVar[Role] = "operator"
    route: ClassVar[str] = "GET /dead-letters"

    limit: int = 100
    before: str | None = None
    """For the next page: the id of the last letter of this one."""


@operation
class RedriveDeadLetter(Operation[Redriven], frozen=True, kw_only=True):
    """Deliver again what could not be delivered, and forget the letter.

    A run that ended because it killed its workers is started anew, as `RerunRun` does; one that is
    stalled is offered again, as `RedeliverRun` does. Of a message the run that it names is
    announced again, if it waits for a worker.
    """

    role: ClassVar[Role] = "operator"
    route: ClassVar[str] = "POST /dead-letters/{id}/redrive"
    mutates: ClassVar[bool] = True

    id: str
    command_id: str | None = None
    """Made by the caller: the same id is the same request, for a day."""


@operation
class GetServerInfo(Operation[ServerInfo], frozen=True):
    """What answers here."""

    role: ClassVar[Role] = "viewer"
    route: ClassVar[str] = "GET /version"


@operation
class GetBacklog(Operation[tuple[Backlog, ...]], frozen=True):
    """What waits for workers, by workflow, version and shard: to scale workers by."""

    role: ClassVar[Role] = "viewer"
    route: ClassVar[str] = "GET /backlog"


@operation
class GetNamespace(Operation[Namespace], frozen=True):
    """The caller's namespace."""

    role: ClassVar[Role] = "viewer"
    route: ClassVar[str] = "GET /namespace"


@operation
class SetRetention(Operation[Namespace], frozen=True, kw_only=True):
    """Choose how long ended runs of the caller's namespace are kept."""

    role: ClassVar[Role] = "admin"
    route: ClassVar[str] = "PUT /namespace/retention"
    mutates: ClassVar[bool] = True

    retention_ms: int | None
    """0 keeps them for ever; None is the server's default."""
    command_id: str | None = None
    """Made by the caller: the same id is the same request, for a day."""


@operation
class GetChanges(Operation[Changes], frozen=True, kw_only=True):
    """Transitions of the namespace's runs since a cursor; waits up to `wait_ms` for the first.

    Without a cursor it begins now. Servers commit side by side, so that what happened within
    `OVERLAP_MS` before the cursor comes once more: run id and revision tell a change from another.
    """

    role: ClassVar[Role] = "viewer"
    route: ClassVar[str] = "GET /changes"

    cursor: Instant | None = None
    wait_ms: int = 0
    limit: int = 10_000
