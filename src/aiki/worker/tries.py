"""Tries of tasks: what earlier attempts came to, and whether there is another."""

from __future__ import annotations

from collections.abc import Iterable

from aiki.clock import Instant, jitter
from aiki.errors import RetryAfter
from aiki.model.failure import AttemptsLost, Failure, Interrupted
from aiki.model.task import Key, TaskAttempt
from aiki.worker.tasks import Attempt
from aiki.workflow.calls import Call
from aiki.workflow.task import Task


class Tries:
    """The attempts of each task call of one run so far."""

    def __init__(self, attempts: Iterable[TaskAttempt] = ()) -> None:
        self._last: dict[Key, TaskAttempt] = {}
        self._lost: dict[Key, int] = {}
        for attempt in attempts:
            self._last[attempt.key] = attempt
            if attempt.status == "lost":
                self._lost[attempt.key] = self._lost.get(attempt.key, 0) + 1

    @property
    def open(self) -> set[Key]:
        """Calls that were started and have no end on record."""
        return {key for key, last in self._last.items() if last.status in ("lost", "failed")}

    def next_number(self, key: Key) -> int:
        """The number of the next attempt."""
        last = self._last.get(key)
        return last.number + 1 if last is not None else 1

    def due_at(self, key: Key) -> Instant | None:
        """When the next attempt may start, if the last one failed."""
        last = self._last.get(key)
        return last.due_at if last is not None and last.status == "failed" else None

    def given_up(self, call: Call) -> Failure | None:
        """Why there is no further attempt after those that were lost with their workers.

        Lost attempts count against a limit that allows several; a task without a retry policy is
        repeated until it is recorded, and what keeps killing workers becomes a dead letter.
        """
        task: Task[..., object] = call.details
        lost = self._lost.get(call.key, 0)
        if lost and task.at_most_once:
            return Interrupted(task.name)
        last = self._last.get(call.key)
        tried = last.number if last is not None else 0
        if lost and task.retry.attempts > 1 and tried >= task.retry.attempts:
            return AttemptsLost(task.name, lost)
        return None

    def must_record_start(self, call: Call, lease_ms: int) -> bool:
        """Whether the start must be durable before the function is entered."""
        task: Task[..., object] = call.details
        if task.at_most_once or (task.retry.attempts > 1 and self._lost.get(call.key)):
            return True
        return task.executor == "thread" and (task.timeout_ms or 0) > lease_ms

    def retry_in_ms(self, attempt: Attempt, failure: Failure) -> int | None:
        """The pause before the next attempt, or None when the failure is final."""
        error, policy = attempt.error, attempt.task.retry
        if error is None or not policy.covers(error):
            return None
        delay_ms = policy.delay_ms(attempt.number, jitter(policy.jitter))
        if delay_ms is not None and isinstance(error, RetryAfter):
            delay_ms = max(delay_ms, round(error.delay.total_seconds() * 1000))
        return delay_ms

    def note(self, record: TaskAttempt) -> None:
        """An attempt ended, or began."""
        self._last[record.key] = record
