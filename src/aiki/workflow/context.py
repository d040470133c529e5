"""What a running task may ask of its surroundings."""

from __future__ import annotations

from contextvars import ContextVar

from aiki.errors import InvalidRequest


class TaskContext:
    """One attempt of a task."""

    def __init__(self, run_id: str, task: str, attempt: int, idempotency_key: str) -> None:
        self.run_id = run_id
        self.task = task
        self.attempt = attempt
        """1 for the first try."""
        self.idempotency_key = idempotency_key
        """The same for every attempt of this call: hand it to the services that you call."""
        self.cancelled = False
        """Nobody waits for the result any more: timed out, cancelled, or the claim was lost."""


_current: ContextVar[TaskContext] = ContextVar("aiki_task_context")


def task_context() -> TaskContext:
    """The surroundings of the task that runs here; raises `InvalidRequest` outside a task."""
    try:
        return _current.get()
    except LookupError:
        raise InvalidRequest("task_context() is for task functions; nothing runs here") from None


def enter(context: TaskContext) -> None:
    """Make this the context of the code that follows; for executors."""
    _current.set(context)
