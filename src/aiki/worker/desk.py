"""The desk of a claimed run: its task calls, from their request to their result."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from aiki import failpoints
from aiki.clock import Instant
from aiki.model.failure import Failure
from aiki.model.task import AttemptStatus, Key, TaskAttempt, Wait
from aiki.operations.work import ClaimedRun
from aiki.worker.environment import Environment
from aiki.worker.journal import Journal
from aiki.worker.tasks import Attempt
from aiki.worker.tries import Tries
from aiki.workflow.calls import Call
from aiki.workflow.context import TaskContext
from aiki.workflow.task import Task

_REPORTED_START_MS = 100
"""A start that has been running for so long is reported, so that it can be seen."""

Result = tuple[Attempt, bytes | Failure]


class Desk:
    """Starts attempts when what they follow from is on record, and keeps what they came to."""

    def __init__(self, claim: ClaimedRun, tries: Tries, journal: Journal, env: Environment) -> None:
        self.claim = claim
        self.tries = tries
        self.results: deque[Result] = deque()
        """Ended attempts whose results are not numbered yet, in the order in which they ended."""
        self._journal = journal
        self._env = env
        self._now = env.timekeeper.now
        self._in_flight: dict[Key, Attempt] = {}
        self._retries: dict[Key, Instant] = {}
        self._gated: deque[tuple[int, Key]] = deque()
        self.on_result: Callable[[], None] = _nobody

    @property
    def busy(self) -> bool:
        """Whether anything runs, waits to run, or waits to be numbered."""
        return bool(self._in_flight or self._gated or self.results)

    def begin(self, call: Call) -> None:
        """The workflow calls a task, now or again after its memory was rebuilt."""
        key = call.key
        if key in self._in_flight or any(attempt.key == key for attempt, _ in self.results):
            return
        failure = self.tries.given_up(call)
        if failure is not None:
            self.results.append((self._attempt(call), failure))
            return
        due_at = self.tries.due_at(key)
        if due_at is not None and due_at > self._now():
            self._retries[key] = due_at
            return
        self._retries.pop(key, None)
        if self.tries.must_record_start(call, self._env.lease_ms):
            self._journal.add_attempt(self._start_record(self._attempt(call)))
        self._gated.append((self._journal.gate, key))

    def _attempt(self, call: Call) -> Attempt:
        task: Task[..., Any] = call.details
        number = self.tries.next_number(call.key)
        run = self.claim
        name = f"{run.id}-{run.attempt}-{call.key.address}-{call.key.ordinal}"
        context = TaskContext(run.id, task.name, number, name)
        return Attempt(task, call.key, call.arguments, number, context)

    def open_gates(self, live: dict[Key, Call]) -> None:
        """Start the tasks whose antecedents are on record."""
        while self._gated and self._journal.is_open(self._gated[0][0]):
            _, key = self._gated.popleft()
            call = live.get(key)
            if call is not None and key not in self._in_flight:
                self._start(call)

    def _start(self, call: Call) -> None:
        failpoints.hit("before_task")
        attempt = self._attempt(call)
        attempt.started_at = self._now()
        attempt.reported = self.tries.must_record_start(call, self._env.lease_ms)
        self._in_flight[call.key] = attempt
        self._env.attempts.start(attempt, self._ended)

    def _ended(self, attempt: Attempt, result: bytes | Failure) -> None:
        if self._in_flight.get(attempt.key) is not attempt:
            return
        failpoints.hit("after_effect_before_report")
        del self._in_flight[attempt.key]
        delay_ms = None if isinstance(result, bytes) else self.tries.retry_in_ms(attempt, result)
        if delay_ms is None or isinstance(result, bytes):
            self.results.append((attempt, result))
        else:
            due_at = self._now() + delay_ms
            self._note_end(attempt, "failed", result, due_at)
            self._retries[attempt.key] = due_at
        self.on_result()

    def wake_retries(self, live: dict[Key, Call]) -> None:
        """Begin the next attempts of what failed, where their pause is over."""
        if not self._retries:
            return
        now = self._now()
        for key in [key for key, due_at in self._retries.items() if due_at <= now]:
            call = live.get(key)
            if call is not None:
                self.begin(call)
        self.open_gates(live)

    def withdraw(self, key: Key) -> None:
        """The workflow gave the call up."""
        self._retries.pop(key, None)
        attempt = self._in_flight.pop(key, None)
        if attempt is not None:
            attempt.cancel()
            if attempt.reported:
                self._note_end(attempt, "discarded")

    def note_recorded(self, attempt: Attempt, failure: Failure | None) -> None:
        """The result was numbered: close the attempt where it is on record by itself."""
        if attempt.reported or attempt.number > 1:
            self._note_end(attempt, "completed" if failure is None else "failed", failure)

    def _note_end(
        self,
        attempt: Attempt,
        status: AttemptStatus,
        failure: Failure | None = None,
        due_at: Instant | None = None,
    ) -> None:
        record = TaskAttempt(
            *attempt.key,
            attempt.task.name,
            attempt.number,
            status,
            attempt.started_at,
            self._now(),
            due_at,
            failure,
            self.claim.epoch,
            attempt.task.at_most_once,
        )
        self.tries.note(record)
        self._journal.add_attempt(record)

    def _start_record(self, attempt: Attempt) -> TaskAttempt:
        return TaskAttempt(
            *attempt.key,
            attempt.task.name,
            attempt.number,
            "running",
            attempt.started_at or self._now(),
            epoch=self.claim.epoch,
            at_most_once=attempt.task.at_most_once,
        )

    def note_long_starts(self, now: Instant) -> None:
        """Report starts that have been running for a while."""
        for attempt in self._in_flight.values():
            if not attempt.reported and now - attempt.started_at >= _REPORTED_START_MS:
                attempt.reported = True
                self._journal.add_attempt(self._start_record(attempt))

    def waits(self) -> list[Wait]:
        """The retries that a parked run waits for."""
        return [Wait("task_retry", str(key), due) for key, due in self._retries.items()]

    def dues(self) -> list[Instant]:
        """When retries are due."""
        return list(self._retries.values())

    def forget_gates(self) -> None:
        """The workflow's memory is rebuilt: calls come again."""
        self._gated.clear()

    def stop(self, *, record: bool) -> None:
        """Cancel what runs; with `record`, its reported starts are closed."""
        for attempt in self._in_flight.values():
            attempt.cancel()
            if record and attempt.reported:
                self._note_end(attempt, "discarded")
        self._in_flight.clear()
        self.results.clear()
        self._gated.clear()


def _nobody() -> None:
    """Nobody waits for results."""
