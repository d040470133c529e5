"""Aiki: durable workflows in Python.

Importing it loads no database, network or server library; those load when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiki.client import Client, RunHandle
from aiki.errors import (
    AikiError,
    ChildFailed,
    ClaimLost,
    Closed,
    ConfigurationError,
    Conflict,
    DefinitionError,
    Evicted,
    ForbiddenInWorkflow,
    InvalidRequest,
    InvalidTransition,
    LimitExceeded,
    NonRetryable,
    NotFound,
    PayloadError,
    RetryAfter,
    RunCancelled,
    RunDeadLettered,
    RunError,
    RunFailed,
    RunTimedOut,
    ServerBusy,
    ServiceError,
    StoreUnavailable,
    TaskFailed,
    TaskInterrupted,
    TaskTimedOut,
    UndoFailed,
    UsageError,
    WaitTimeout,
    WorkflowDeadlock,
    WorkflowError,
    WorkflowStuck,
)
from aiki.model.retry import Retry
from aiki.queue.polling import AdaptivePolling, SimplePolling
from aiki.queue.subscriber import Subscriber
from aiki.worker import Worker
from aiki.workflow.context import TaskContext, task_context
from aiki.workflow.definition import Start, Workflow, WorkflowFamily, workflow
from aiki.workflow.event import Event, Received, event, is_event
from aiki.workflow.run import ChildHandle, Run
from aiki.workflow.saga import Saga
from aiki.workflow.task import Task, task

if TYPE_CHECKING:
    from aiki.compose import connect

__version__ = "0.1.0"

__all__ = [
    "AdaptivePolling",
    "AikiError",
    "ChildFailed",
    "ChildHandle",
    "ClaimLost",
    "Client",
    "Closed",
    "ConfigurationError",
    "Conflict",
    "DefinitionError",
    "Event",
    "Evicted",
    "ForbiddenInWorkflow",
    "InvalidRequest",
    "InvalidTransition",
    "LimitExceeded",
    "NonRetryable",
    "NotFound",
    "PayloadError",
    "Received",
    "Retry",
    "RetryAfter",
    "Run",
    "RunCancelled",
    "RunDeadLettered",
    "RunError",
    "RunFailed",
    "RunHandle",
    "RunTimedOut",
    "Saga",
    "ServerBusy",
    "ServiceError",
    "SimplePolling",
    "Start",
    "StoreUnavailable",
    "Subscriber",
    "Task",
    "TaskContext",
    "TaskFailed",
    "TaskInterrupted",
    "TaskTimedOut",
    "UndoFailed",
    "UsageError",
    "WaitTimeout",
    "Worker",
    "Workflow",
    "WorkflowDeadlock",
    "WorkflowError",
    "WorkflowFamily",
    "WorkflowStuck",
    "__version__",
    "connect",
    "event",
    "is_event",
    "task",
    "task_context",
    "workflow",
]


def __getattr__(name: str) -> Any:
    """`connect` brings the stores along, so it is loaded when it is asked for."""
    if name == "connect":
        from aiki.compose import connect

        return connect
    raise AttributeError(f"module 'aiki' has no attribute {name!r}")
