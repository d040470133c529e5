"""A driver: one claimed run in this worker, from its claim to its park or end.

It holds the rules of who may do what and when:

- the holder of the claim numbers entries, one at a time, and delivers each when the run is at rest;
- nothing leaves the run before the entries that it follows from are on record: task starts,
  children, log lines and effects wait for the acknowledgement of their report;
- a refused report drops the run from memory; somebody else goes on from the records.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any, Literal

from aiki import failpoints
from aiki.clock import Instant
from aiki.ids import new_id
from aiki.model.failure import Failure
from aiki.model.task import Entry, Fact, Key, TaskAttempt, Wait
from aiki.operations.runs import StartRun
from aiki.operations.work import (
    ClaimedRun,
    Diverged,
    Ending,
    EventSend,
    Failed,
    Memo,
    Parked,
    Released,
    ReportOutcome,
    RunReport,
    StopRequest,
)
from aiki.worker.environment import Environment
from aiki.worker.inbox import Inbox
from aiki.worker.outcome import ending_of, stuck_ending
from aiki.worker.tasks import Attempt
from aiki.worker.tries import Tries
from aiki.workflow.calls import Call
from aiki.workflow.context import TaskContext
from aiki.workflow.definition import Workflow
from aiki.workflow.diff import with_diff
from aiki.workflow.execution import Execution
from aiki.workflow.run import Run, RunFacts
from aiki.workflow.task import Task

logger = logging.getLogger("aiki.worker")
Phase = Literal["active", "ending", "parked", "gone"]
NO_REST_SECONDS = 10.0
_REPORTED_START_MS = 100
_DELIVERIES_PER_TURN = 200


class Driver:
    """One run that this worker holds, or keeps in memory while it is parked."""

    def __init__(
        self, claim: ClaimedRun, memo: Memo, definition: Workflow[..., Any], env: Environment
    ) -> None:
        assert claim.input is not None
        self.claim = claim
        self.definition = definition
        self.phase: Phase = "active"
        self.memo_version = claim.memo_version
        self._env = env
        self._now = env.timekeeper.now
        self._input = claim.input
        self._entries: list[Entry] = list(memo.entries)
        self._decisions = memo.decisions
        self._last_number = self._entries[-1].number if self._entries else 0
        self._tries = Tries(memo.attempts)
        self._children = {child.key: child.id for child in memo.children}
        self._inbox = Inbox(claim.inbox)
        self._stop_delivered = any(entry.kind == "cancel" for entry in self._entries)
        self._in_flight: dict[Key, Attempt] = {}
        self._results: deque[tuple[Attempt, bytes | Failure]] = deque()
        self._retries: dict[Key, Instant] = {}
        self._changes = 0
        self._recorded_changes = 0
        self._reported_changes = 0
        self._command_id = ""
        self._gated: deque[tuple[int, Key]] = deque()
        self._logs: deque[tuple[int, logging.LogRecord]] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._restless_since: float | None = None
        self._resting = False
        """Nothing is left to do here but to wait; only then may the run be parked."""
        self._clear_pending()
        self._load()

    # Memory

    def _clear_pending(self) -> None:
        self._new_entries: list[Entry] = []
        self._new_attempts: list[TaskAttempt] = []
        self._new_children: list[tuple[str, StartRun]] = []
        self._new_sends: list[EventSend] = []
        self._new_stops: list[StopRequest] = []
        self._ending: Ending | None = None

    def _load(self) -> None:
        """Begin the workflow's code anew, with everything numbered so far as its memo."""
        claim, definition = self.claim, self.definition
        execution = Execution(self._entries, claim.started_at, claim.id)
        waived = {number for decision in self._decisions for number in decision.numbers}
        execution.leave_out(waived, definition.removed)
        recorded = {entry.key for entry in self._entries}
        execution.expected = self._tries.open - recorded
        execution.expected |= {_key(text) for text in self._children} - recorded
        names = tuple(event.name for event in definition.events)
        facts = RunFacts(claim.id, claim.reference_id, claim.attempt, claim.workflow, names)
        run = Run(facts, execution, self._keep_log)
        args, kwargs = definition.signature.decode(self._input)
        execution.start(lambda: definition.fn(run, *args, **kwargs))
        self._execution = execution
        self._dues: dict[Key, Call] = {}
        self._child_calls: dict[str, Call] = {}
        self._effects: deque[Call] = deque()
        self._gated.clear()

    def matches(self, claim: ClaimedRun) -> bool:
        """Whether this memory is what the records say, so that the run may go on without replay."""
        return (
            self.phase == "parked"
            and claim.epoch == self.claim.epoch + 1
            and claim.attempt == self.claim.attempt
            and claim.memo_version == self.memo_version
        )

    def resume(self, claim: ClaimedRun) -> None:
        """Go on under a new claim."""
        self.claim = claim
        self.phase = "active"
        self._resting = False
        self._inbox = Inbox(claim.inbox)
        self._env.soon(self.pump)

    def evict(self) -> None:
        """Leave memory: nothing of the run does anything any more."""
        if self.phase == "gone":
            return
        self.phase = "gone"
        self._disarm()
        self._cancel_tasks()
        self._execution.evict()

    def _cancel_tasks(self) -> None:
        for attempt in self._in_flight.values():
            attempt.cancel()
        self._in_flight.clear()
        self._results.clear()

    # Stepping

    def pump(self) -> None:
        """Let the run go on as far as it can; called from plain callbacks of the worker's loop."""
        if self.phase != "active":
            return
        self._env.stepping = self
        self._resting = False
        try:
            self._pump()
        except Exception as error:
            logger.exception("run %s: the worker failed on it and gives it back", self.claim.id)
            self._env.give_back(self, repr(error))
        finally:
            self._env.stepping = None

    def _pump(self) -> None:
        execution = self._execution
        for _ in range(_DELIVERIES_PER_TURN):
            if not self._turn():
                return self._go_on_later()
            if execution.outcome is not None:
                break
            live = not execution.replaying
            if not live:
                entry = execution.next_recorded()
                if entry is None:
                    return self._diverge()
            else:
                execution.release_held()
                if execution.held:
                    return self._diverge()
                entry = self._next_entry()
                if entry is None:
                    break
                self._number(entry)
            execution.deliver(entry)
            if live and self._env.replay_always:
                execution = self._forget()
        else:
            return self._env.soon(self.pump)
        if execution.outcome is not None:
            self._finish()
        else:
            self._rest()

    def _turn(self) -> bool:
        """Run the workflow's code to rest; False when it used up its turn."""
        try:
            return self._execution.loop.turn()
        except (KeyboardInterrupt, SystemExit):
            # asyncio keeps it as the result of the task that raised it, and that is enough.
            return False

    def _go_on_later(self) -> None:
        now = self._env.clock.monotonic()
        if self._restless_since is None:
            self._restless_since = now
        if now - self._restless_since > NO_REST_SECONDS:
            return self._end(stuck_ending("finds no rest", self._execution))
        self._env.soon(self.pump)

    def _forget(self) -> Execution:
        """In replay-always mode: the run's code is run again from its records after each entry."""
        if not self._execution.loop.turn() or self._execution.outcome is not None:
            return self._execution
        self._begin_fresh()
        self._drop_withdrawn()
        self._execution.evict()
        self._load()
        return self._execution

    def _next_entry(self) -> Entry | None:
        """What is to be numbered next: an effect, a result, or the oldest outside fact."""
        self._begin_fresh()
        self._drop_withdrawn()
        if self._effects:
            return self._effect_entry(self._effects.popleft())
        while self._results:
            attempt, result = self._results.popleft()
            call = self._execution.live.get(attempt.key)
            if call is not None:
                return self._result_entry(attempt, result)
        return self._fact_entry()

    # What the workflow asked for

    def _begin_fresh(self) -> None:
        fresh, self._execution.fresh = self._execution.fresh, []
        for call in fresh:
            if call.key not in self._execution.live:
                continue
            if call.due_at is not None:
                self._dues[call.key] = call
            if call.kind == "task":
                self._begin_task(call)
            elif call.kind == "child":
                self._begin_child(call)
            elif call.kind == "effect":
                self._effects.append(call)

    def _begin_task(self, call: Call) -> None:
        key = call.key
        if key in self._in_flight or any(a.key == key for a, _ in self._results):
            return
        failure = self._tries.given_up(call)
        if failure is not None:
            self._results.append((self._new_attempt(call), failure))
            return
        due_at = self._tries.due_at(key)
        if due_at is not None and due_at > self._now():
            self._retries[key] = due_at
            return
        self._retries.pop(key, None)
        if self._tries.must_record_start(call, self._env.lease_ms):
            self._add_attempt(self._start_record(self._new_attempt(call)))
        self._gated.append((self._changes, key))

    def _new_attempt(self, call: Call) -> Attempt:
        task: Task[..., Any] = call.details
        number = self._tries.next_number(call.key)
        run = self.claim
        name = f"{run.id}-{run.attempt}-{call.key.address}-{call.key.ordinal}"
        context = TaskContext(run.id, task.name, number, name)
        return Attempt(task, call.key, call.arguments, number, context)

    def _begin_child(self, call: Call) -> None:
        start: StartRun = call.details
        self._child_calls[start.id] = call
        if str(call.key) not in self._children:
            self._children[str(call.key)] = start.id
            self._new_children.append((str(call.key), start))
            self._changes += 1

    def _drop_withdrawn(self) -> None:
        withdrawn, self._execution.withdrawn = self._execution.withdrawn, []
        for call in withdrawn:
            self._dues.pop(call.key, None)
            self._retries.pop(call.key, None)
            attempt = self._in_flight.pop(call.key, None)
            if attempt is not None:
                attempt.cancel()
                if attempt.reported:
                    self._add_attempt(self._end_record(attempt, "discarded"))
            if call.kind == "child" and isinstance(call.details, StopRequest):
                self._withdraw_child(call)

    def _withdraw_child(self, call: Call) -> None:
        stop: StopRequest = call.details
        self._child_calls.pop(stop.run_id, None)
        if str(call.key) in self._children:
            self._new_stops.append(stop)
            self._changes += 1

    def _open_gates(self) -> None:
        """Start the tasks whose antecedents are on record."""
        while self._gated and self._gated[0][0] <= self._recorded_changes:
            _, key = self._gated.popleft()
            call = self._execution.live.get(key)
            if call is not None and key not in self._in_flight:
                self._start(call)

    def _start(self, call: Call) -> None:
        failpoints.hit("before_task")
        attempt = self._new_attempt(call)
        attempt.started_at = self._now()
        attempt.reported = self._tries.must_record_start(call, self._env.lease_ms)
        self._in_flight[call.key] = attempt
        self._env.attempts.start(attempt, self._attempt_ended)

    def _attempt_ended(self, attempt: Attempt, result: bytes | Failure) -> None:
        if self._in_flight.get(attempt.key) is not attempt or self.phase == "gone":
            return
        failpoints.hit("after_effect_before_report")
        del self._in_flight[attempt.key]
        delay_ms = None if isinstance(result, bytes) else self._tries.retry_in_ms(attempt, result)
        if delay_ms is None:
            self._results.append((attempt, result))
        else:
            assert not isinstance(result, bytes)
            self._retry_later(attempt, result, delay_ms)
        self.pump()

    def _retry_later(self, attempt: Attempt, failure: Failure, delay_ms: int) -> None:
        due_at = self._now() + delay_ms
        self._add_attempt(self._end_record(attempt, "failed", failure, due_at))
        self._retries[attempt.key] = due_at

    # Numbering

    def _number(self, entry: Entry) -> None:
        self._last_number = entry.number
        self.memo_version += 1
        self._entries.append(entry)
        self._new_entries.append(entry)
        self._changes += 1

    def _entry(self, call: Call | Attempt, kind: Any, **details: Any) -> Entry:
        at = max(self._execution.instant, self._now())
        return Entry(
            self._last_number + 1,
            kind,
            call.key.address,
            call.key.ordinal,
            at,
            epoch=self.claim.epoch,
            **details,
        )

    def _result_entry(self, attempt: Attempt, result: bytes | Failure) -> Entry:
        value, failure = (result, None) if isinstance(result, bytes) else (None, result)
        if attempt.reported or attempt.number > 1:
            status = "completed" if failure is None else "failed"
            self._add_attempt(self._end_record(attempt, status, failure))
        return self._entry(
            attempt,
            "task",
            name=attempt.task.name,
            value=value,
            failure=failure,
            task_attempt=attempt.number,
            started_at=attempt.started_at,
            arguments=attempt.arguments,
        )

    def _effect_entry(self, call: Call) -> Entry:
        if isinstance(call.details, EventSend):
            self._new_sends.append(call.details)
        else:
            self._new_stops.append(call.details)
        return self._entry(call, "effect", name=call.name)

    def _fact_entry(self) -> Entry | None:
        """The oldest fact for which a live wait exists: by instant; then cancel, event, child,
        timer; then id."""
        fact = self._inbox.first(self._is_wanted)
        timer = self._due_timer()
        if fact is None or (timer is not None and (timer.due_at or 0) < fact.at):
            if timer is None:
                return None
            self._dues.pop(timer.key, None)
            return self._entry(timer, "timer", name=timer.name, due_at=timer.due_at)
        self._inbox.take(fact)
        if fact.kind == "cancel":
            self._stop_delivered = True
            at = max(self._execution.instant, self._now())
            return Entry(
                self._last_number + 1,
                "cancel",
                "cancel",
                0,
                at,
                name=fact.name,
                value=fact.value,
                fact_id=fact.id,
                epoch=self.claim.epoch,
            )
        call = self._waiting_call(fact)
        assert call is not None
        self._dues.pop(call.key, None)
        return self._entry(
            call,
            fact.kind,
            name=call.name if fact.kind == "child" else fact.name,
            value=fact.value,
            failure=fact.failure,
            fact_id=fact.id,
            arguments=call.arguments or None,
        )

    def _is_wanted(self, fact: Fact) -> bool:
        if fact.kind == "cancel":
            return not self._stop_delivered
        return self._waiting_call(fact) is not None

    def _waiting_call(self, fact: Fact) -> Call | None:
        """The call that takes the fact: of several, the one that was made first."""
        if fact.kind == "child":
            call = self._child_calls.get(fact.name)
            return call if call is not None and call.waited and self._is_live(call) else None
        live = self._execution.live.values()
        return next((call for call in live if fact.name in call.events), None)

    def _is_live(self, call: Call) -> bool:
        return self._execution.live.get(call.key) is call

    def _due_timer(self) -> Call | None:
        if not self._dues:
            return None
        call = min(self._dues.values(), key=lambda call: call.due_at or 0)
        return call if (call.due_at or 0) <= self._now() else None

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

    def _end_record(
        self,
        attempt: Attempt,
        status: Any,
        failure: Failure | None = None,
        due_at: Instant | None = None,
    ) -> TaskAttempt:
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
        self._tries.note(record)
        return record

    def _add_attempt(self, record: TaskAttempt) -> None:
        self._new_attempts.append(record)
        self._changes += 1

    # Rest, park, end

    def _rest(self) -> None:
        """Nothing is left to deliver: start what may start, and report what is new."""
        self._restless_since = None
        self._resting = True
        self._open_gates()
        self._flush_logs()
        self._wake_retries()
        if self._changes > self._reported_changes or self._may_park():
            self._env.report(self)
        self._arm()

    def _wake_retries(self) -> None:
        now = self._now()
        for key, due_at in list(self._retries.items()):
            call = self._execution.live.get(key)
            if call is not None and due_at <= now:
                self._begin_task(call)
        self._open_gates()

    def _may_park(self) -> bool:
        busy = self._in_flight or self._gated or self._results or self._effects
        return self._resting and not busy and self.phase == "active"

    def _arm(self) -> None:
        """Look again when the next timer or retry is due."""
        self._disarm()
        dues = [call.due_at for call in self._dues.values() if call.due_at is not None]
        dues.extend(self._retries.values())
        if dues and self.phase == "active":
            seconds = self._env.timekeeper.seconds_until(min(dues))
            self._alarm = self._env.loop.call_later(seconds, self.pump)

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _waits(self) -> list[Wait]:
        """Everything that may make the run ready again."""
        waits: list[Wait] = []
        for call in self._execution.live.values():
            if call.kind == "event":
                waits += [Wait("event", name) for name in call.events]
            elif call.kind == "child" and call.waited and isinstance(call.details, StartRun):
                waits.append(Wait("child", call.details.id))
            if call.due_at is not None:
                waits.append(Wait("timer", str(call.key), call.due_at))
        waits += [Wait("task_retry", str(key), due) for key, due in self._retries.items()]
        return waits

    def _park(self) -> None:
        waits = self._waits()
        if not waits and self._inbox.first(self._is_wanted) is None:
            self._end(stuck_ending("waits for something that nobody can bring", self._execution))
            return
        self._ending = Parked(tuple(waits))

    def _finish(self) -> None:
        divergence = self._execution.divergence()
        if divergence is not None:
            return self._diverge()
        self._begin_fresh()
        self._drop_withdrawn()
        self._end(ending_of(self._execution, self.definition, self.claim, self._stop_delivered))

    def _diverge(self) -> None:
        divergence = self._execution.divergence()
        assert divergence is not None, "diverged without a difference"
        full = with_diff(divergence, self._execution, self.definition.fingerprint)
        logger.error("run %s has diverged: %s", self.claim.id, full.describe())
        self._end(Diverged(full))

    def _end(self, ending: Ending) -> None:
        self._ending = ending
        self._disarm()
        for attempt in self._in_flight.values():
            if attempt.reported:
                self._add_attempt(self._end_record(attempt, "discarded"))
        self._cancel_tasks()
        self._env.report(self)

    # Reports

    def compose(self) -> RunReport | None:
        """All that is new, with the run's end or park where it has come to that."""
        if self.phase != "active":
            return None
        if self._ending is None and self._may_park():
            self._park()
        if self._ending is None and self._changes == self._reported_changes:
            return None
        if self._ending is not None:
            self.phase = "ending"
            self._disarm()
        self._command_id = new_id() if self._ending is not None else ""
        self._reported_changes = self._changes
        return self._compose()

    def _compose(self) -> RunReport:
        claim, ending = self.claim, self._ending
        report = RunReport(
            run_id=claim.id,
            epoch=claim.epoch,
            attempt=claim.attempt,
            parent_id=claim.parent_id,
            entries=tuple(self._new_entries),
            attempts=tuple(self._new_attempts),
            children=tuple(start for _, start in self._new_children),
            child_keys=tuple(key for key, _ in self._new_children),
            sends=tuple(self._new_sends),
            stops=tuple(self._new_stops),
            ending=ending,
            command_id=self._command_id or None,
        )
        self._clear_pending()
        self._ending = ending
        return report

    def acknowledged(self, outcome: ReportOutcome, reported_changes: int) -> None:
        """The answer to the last report."""
        if self.phase == "gone":
            return
        if outcome.verdict != "recorded":
            self._env.refused(self, outcome)
            return
        self._recorded_changes = reported_changes
        self._flush_logs()
        if self.phase == "ending":
            self._settle()
        else:
            failpoints.hit("after_report_before_next")
            self._open_gates()
            if self._may_park() or self._changes > self._reported_changes:
                self.pump()

    def _settle(self) -> None:
        ending, self._ending = self._ending, None
        if isinstance(ending, Parked):
            self.phase = "parked"
            self._env.parked(self)
        else:
            self._env.ended(self)

    @property
    def reported_changes(self) -> int:
        """How many changes the last report covered."""
        return self._reported_changes

    def release(self) -> RunReport:
        """Give the run back, with what is already numbered; for shutdown."""
        self._ending = Released()
        self._command_id = new_id()
        self.phase = "ending"
        return self._compose()

    def fail(self, ending: Failed) -> RunReport:
        """End the run by a failure outside its code, such as a report that was refused."""
        self._clear_pending()
        self._ending = ending
        self._command_id = new_id()
        return self._compose()

    def tell(self, fact: Fact) -> None:
        """A fact was pushed."""
        if self.phase == "active" and self._inbox.add(fact):
            self._resting = False
            self._env.soon(self.pump)

    def note_long_starts(self, now: Instant) -> None:
        """Report starts that have been running for a while, so that they can be seen."""
        if self.phase != "active":
            return
        for attempt in self._in_flight.values():
            if not attempt.reported and now - attempt.started_at >= _REPORTED_START_MS:
                attempt.reported = True
                self._add_attempt(self._start_record(attempt))
        if self._changes > self._reported_changes:
            self._env.report(self)

    @property
    def executing(self) -> Sequence[Attempt]:
        """The task attempts in flight."""
        return tuple(self._in_flight.values())

    # Logs

    def _keep_log(self, record: logging.LogRecord) -> None:
        self._logs.append((self._changes, record))

    def _flush_logs(self) -> None:
        while self._logs and self._logs[0][0] <= self._recorded_changes:
            record = self._logs.popleft()[1]
            logging.getLogger(record.name).handle(record)


def _key(text: str) -> Key:
    address, _, ordinal = text.rpartition("#")
    return Key(address, int(ordinal))
