"""Every error that Aiki raises, as one tree; a docstring is the message when none is given.

    AikiError
    ├── UsageError                  the caller's mistake: retrying the same call cannot help
    │   ├── DefinitionError         a task or workflow that cannot be defined like this
    │   ├── ConfigurationError      a setting, a URL or a file that cannot be used
    │   ├── PayloadError            a value that cannot be encoded or decoded
    │   ├── LimitExceeded           larger, deeper or more than Aiki accepts
    │   ├── InvalidRequest          an operation whose fields contradict each other
    │   ├── NotFound                no such run, workflow, worker or event
    │   ├── Conflict                the same id or key with another content
    │   ├── InvalidTransition       the run's state does not allow this command
    │   ├── Unauthorized            the server does not accept this caller
    │   └── IncompatiblePeer        client and server speak different protocols
    ├── RunError                    how a run ended, raised by `RunHandle.result()`
    │   ├── RunFailed, RunCancelled, RunTimedOut, RunDeadLettered
    ├── TaskFailed                  a task, raised inside a workflow
    │   ├── TaskTimedOut, TaskInterrupted
    ├── ChildFailed                 a child workflow that did not complete, raised inside its parent
    ├── WorkflowError               the workflow's code cannot go on
    │   ├── WorkflowStuck, WorkflowDeadlock, ForbiddenInWorkflow, UndoFailed
    ├── ClaimLost                   another claim owns the run: stop, do not retry
    └── ServiceError                the service's trouble: the same call may succeed later
        ├── ServerBusy              a bounded queue is full
        ├── StoreUnavailable        the database cannot answer
        ├── QueueUnavailable        the broker cannot answer; workers poll meanwhile
        ├── ServerUnreachable       no server answers, or not in a way that can be understood
        └── Closed                  the client or the engine was closed

`WaitTimeout` is a `TimeoutError`; `NonRetryable` and `RetryAfter` are raised by users' tasks;
`Evicted` is a `BaseException` and a signal, not an error: a run leaves memory.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiki.model.failure import Failure


class AikiError(Exception):
    """Something went wrong in Aiki."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)

    @property
    def message(self) -> str:
        """What went wrong and the way out, as one text."""
        return str(self.args[0])


class UsageError(AikiError):
    """The call cannot succeed as it was made."""


class DefinitionError(UsageError):
    """This task or workflow cannot be defined like this."""


class ConfigurationError(UsageError):
    """A setting, a URL or a file cannot be used."""


class PayloadError(UsageError):
    """A value cannot be encoded or decoded."""


class LimitExceeded(UsageError):
    """Larger, deeper or more than Aiki accepts."""


class InvalidRequest(UsageError):
    """The fields of this operation contradict each other."""


class NotFound(UsageError):
    """No such thing."""


class Conflict(UsageError):
    """The same id or key was used with another content."""


class InvalidTransition(UsageError):
    """The state does not allow this command."""


class Unauthorized(UsageError):
    """The server does not accept this caller: check the token and the namespace."""


class IncompatiblePeer(UsageError):
    """Client and server speak different protocols: bring both to versions that fit."""


class ClaimLost(AikiError):
    """Another claim owns this run now; whatever this claim still reports is refused."""


class ServiceError(AikiError):
    """The service could not do it now; the same call may succeed later."""

    retry_after_seconds: float = 0.0
    """How long the server asks to be left alone; 0 where it did not say."""


class ServerBusy(ServiceError):
    """The server's queue is full; repeat the call after a moment."""


class StoreUnavailable(ServiceError):
    """The database cannot answer now."""


class QueueUnavailable(ServiceError):
    """The broker cannot answer now."""


class ServerUnreachable(ServiceError):
    """No server answers."""


class Closed(ServiceError):
    """The client is closed."""


class _Ended(AikiError):
    """Carries the recorded failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.describe())
        self.failure = failure

    def __reduce__(self) -> tuple[type[_Ended], tuple[Failure]]:
        return type(self), (self.failure,)


class RunError(_Ended):
    """The run did not complete."""


class RunFailed(RunError):
    """The workflow raised."""


class RunCancelled(RunError):
    """The run was cancelled."""


class RunTimedOut(RunError):
    """The run did not end in time."""


class RunDeadLettered(RunError):
    """The run lost its workers again and again, and was set aside."""


class TaskFailed(_Ended):
    """A task failed for good: `failure` holds type, message, traceback and cause."""


class TaskTimedOut(TaskFailed):
    """A task did not end in time."""


class TaskInterrupted(TaskFailed):
    """The worker of an at-most-once task died; nobody knows whether the task had its effect."""


class ChildFailed(_Ended):
    """A child workflow did not complete."""


class WorkflowError(AikiError):
    """The workflow's code cannot go on."""


class WorkflowStuck(WorkflowError):
    """The workflow finds no rest: its code spins or blocks."""


class WorkflowDeadlock(WorkflowError):
    """The workflow waits for something that nobody can bring."""


class ForbiddenInWorkflow(WorkflowError):
    """This cannot be replayed; put it in a task."""


class UndoFailed(WorkflowError):
    """A saga could not undo all that was done; the others were undone."""


class WaitTimeout(TimeoutError):
    """A wait ended by its time-out."""


class NonRetryable(Exception):
    """Raised by a task or a workflow: failed for good, whatever its retry policy says."""


class RetryAfter(Exception):
    """Raised by a task: failed, to be tried again no sooner than `delay` (attempts still count)."""

    def __init__(self, delay: timedelta, message: str = "retry later") -> None:
        super().__init__(message)
        self.delay = delay


class Evicted(BaseException):
    """The run leaves this process's memory; it goes on from its records elsewhere or later."""
