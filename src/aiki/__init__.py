"""Aiki: durable workflows in Python.

Importing it loads nothing else: every name brings its module along when it is first used, so that a
command line, or a program that only imports, starts at once.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiki.client import Client, RunHandle
    from aiki.compose import connect
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
        IncompatiblePeer,
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
        ServerUnreachable,
        ServiceError,
        StoreUnavailable,
        TaskFailed,
        TaskInterrupted,
        TaskTimedOut,
        Unauthorized,
        UndoFailed,
        UsageError,
        WaitTimeout,
        WorkflowDeadlock,
        WorkflowError,
        WorkflowStuck,
    )
    from aiki.model.retry import Retry
    from aiki.queue.polling import AdaptivePolling, SimplePolling
    from aiki.queue.rabbitmq.subscriber import RabbitMQ
    from aiki.queue.redis.subscriber import RedisStreams
    from aiki.queue.subscriber import Ask, Interest, Subscriber
    from aiki.worker import Worker
    from aiki.workflow.context import TaskContext, task_context
    from aiki.workflow.definition import Start, Workflow, WorkflowFamily, workflow
    from aiki.workflow.event import Event, Received, event, is_event
    from aiki.workflow.run import ChildHandle, Run
    from aiki.workflow.saga import Saga
    from aiki.workflow.task import Task, task

__version__ = "0.1.0"

__all__ = [
    "AdaptivePolling",
    "AikiError",
    "Ask",
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
    "IncompatiblePeer",
    "Interest",
    "InvalidRequest",
    "InvalidTransition",
    "LimitExceeded",
    "NonRetryable",
    "NotFound",
    "PayloadError",
    "RabbitMQ",
    "Received",
    "RedisStreams",
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
    "ServerUnreachable",
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
    "Unauthorized",
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

_MODULES = {
    "AdaptivePolling": "aiki.queue.polling",
    "AikiError": "aiki.errors",
    "Ask": "aiki.queue.subscriber",
    "ChildFailed": "aiki.errors",
    "ChildHandle": "aiki.workflow.run",
    "ClaimLost": "aiki.errors",
    "Client": "aiki.client",
    "Closed": "aiki.errors",
    "ConfigurationError": "aiki.errors",
    "Conflict": "aiki.errors",
    "DefinitionError": "aiki.errors",
    "Event": "aiki.workflow.event",
    "Evicted": "aiki.errors",
    "ForbiddenInWorkflow": "aiki.errors",
    "IncompatiblePeer": "aiki.errors",
    "Interest": "aiki.queue.subscriber",
    "InvalidRequest": "aiki.errors",
    "InvalidTransition": "aiki.errors",
    "LimitExceeded": "aiki.errors",
    "NonRetryable": "aiki.errors",
    "NotFound": "aiki.errors",
    "PayloadError": "aiki.errors",
    "RabbitMQ": "aiki.queue.rabbitmq.subscriber",
    "Received": "aiki.workflow.event",
    "RedisStreams": "aiki.queue.redis.subscriber",
    "Retry": "aiki.model.retry",
    "RetryAfter": "aiki.errors",
    "Run": "aiki.workflow.run",
    "RunCancelled": "aiki.errors",
    "RunDeadLettered": "aiki.errors",
    "RunError": "aiki.errors",
    "RunFailed": "aiki.errors",
    "RunHandle": "aiki.client",
    "RunTimedOut": "aiki.errors",
    "Saga": "aiki.workflow.saga",
    "ServerBusy": "aiki.errors",
    "ServerUnreachable": "aiki.errors",
    "ServiceError": "aiki.errors",
    "SimplePolling": "aiki.queue.polling",
    "Start": "aiki.workflow.definition",
    "StoreUnavailable": "aiki.errors",
    "Subscriber": "aiki.queue.subscriber",
    "Task": "aiki.workflow.task",
    "TaskContext": "aiki.workflow.context",
    "TaskFailed": "aiki.errors",
    "TaskInterrupted": "aiki.errors",
    "TaskTimedOut": "aiki.errors",
    "Unauthorized": "aiki.errors",
    "UndoFailed": "aiki.errors",
    "UsageError": "aiki.errors",
    "WaitTimeout": "aiki.errors",
    "Worker": "aiki.worker",
    "Workflow": "aiki.workflow.definition",
    "WorkflowDeadlock": "aiki.errors",
    "WorkflowError": "aiki.errors",
    "WorkflowFamily": "aiki.workflow.definition",
    "WorkflowStuck": "aiki.errors",
    "connect": "aiki.compose",
    "event": "aiki.workflow.event",
    "is_event": "aiki.workflow.event",
    "task": "aiki.workflow.task",
    "task_context": "aiki.workflow.context",
    "workflow": "aiki.workflow.definition",
}

_EXTRAS = {"aiormq": "rabbitmq", "redis": "redis"}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'aiki' has no attribute {name!r}")
    try:
        value = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise ImportError(f"aiki.{name} needs a library: install aiki[{extra}]") from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Aiki(ModuleType):
    """This module, in which `workflow` is always the function.

    The package of the author's API has the same name, and importing any of its modules would put
    the package in the function's place.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name == "workflow" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Aiki
