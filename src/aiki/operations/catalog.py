"""Operations that list what the server knows besides runs."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from aiki.clock import Instant
from aiki.model.worker import DeadLetter, WorkerView, WorkflowVersion
from aiki.operations.base import Operation, Role, operation


class ServerInfo(msgspec.Struct, frozen=True):
    """Version of the server, of its schema, and its instant."""

    version: str
    schema_version: int
    store: str
    now: Instant


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


@operation
class GetServerInfo(Operation[ServerInfo], frozen=True):
    """What answers here."""

    role: ClassVar[Role] = "viewer"
    route: ClassVar[str] = "GET /version"
