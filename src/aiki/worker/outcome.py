"""How a workflow's code ended, as the ending that is reported."""

from __future__ import annotations

import asyncio
import io
from typing import Any, cast

import msgspec

from aiki.clock import jitter
from aiki.errors import (
    ChildFailed,
    LimitExceeded,
    PayloadError,
    TaskFailed,
    WorkflowDeadlock,
    WorkflowStuck,
)
from aiki.model.failure import Cancelled, Raised, raised
from aiki.model.task import Entry
from aiki.operations.work import ClaimedRun, Completed, Ending, Failed
from aiki.workflow.definition import Workflow
from aiki.workflow.execution import Execution, Returned


def ending_of(
    execution: Execution, definition: Workflow[..., Any], claim: ClaimedRun, request: Entry | None
) -> Ending:
    """Completed with the encoded output, failed, cancelled, or to be tried again.

    `request` is the request to stop that was delivered, if there was one.
    """
    outcome = execution.outcome
    assert outcome is not None
    if isinstance(outcome, Returned):
        try:
            return Completed(definition.signature.returns.encode(outcome.value))
        except (PayloadError, LimitExceeded) as error:
            return Failed(raised(error))
    if request is not None:
        return Failed(_cancelled(request, outcome.error))
    return Failed(failure_of(outcome.error), _retry_in_ms(outcome.error, definition, claim))


def _cancelled(request: Entry, error: BaseException) -> Cancelled:
    """The end of a run that was asked to stop, with the reason that was given."""
    reason = msgspec.json.decode(request.value or b"{}").get("reason", "")
    clean = isinstance(error, asyncio.CancelledError)
    return Cancelled(reason, cause=None if clean else failure_of(error))


def failure_of(error: BaseException) -> Raised:
    """The record of what a workflow raised; a task's failure stays its cause."""
    record = raised(error)
    error = _innermost(error)
    if isinstance(error, (TaskFailed, ChildFailed)) and record.cause is None:
        cause = error.failure
        if isinstance(cause, Raised):
            record = msgspec.structs.replace(record, cause=cause)
    return record


def _innermost(error: Any) -> BaseException:
    """The first error of a group, as deep as it goes."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return cast("BaseException", error)


def _retry_in_ms(
    error: BaseException, definition: Workflow[..., Any], claim: ClaimedRun
) -> int | None:
    policy = claim.options.retry or definition.retry
    if not policy.covers(error):
        return None
    return policy.delay_ms(claim.attempt, jitter(policy.jitter))


def stuck_ending(what: str, execution: Execution) -> Failed:
    """A workflow whose code cannot go on, with the stacks of its tasks."""
    kind = WorkflowStuck if "rest" in what else WorkflowDeadlock
    stacks = io.StringIO()
    for task in sorted(execution.loop.tasks, key=lambda task: task.number):
        if not task.done():
            task.print_stack(file=stacks)
    return Failed(Raised(kind.__name__, f"the workflow {what}", stacks.getvalue()))
