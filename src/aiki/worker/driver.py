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
from typing import Any, Literal

from aiki import failpoints
from aiki.clock import Instant
from aiki.ids import derived_id
from aiki.model.task import Entry, Fact, Key, Wait
from aiki.operations.runs import StartRun
from aiki.operations.work import (
    ClaimedRun,
    Diverged,
    Ending,
    Failed,
    Memo,
    Parked,
    Released,
    ReportOutcome,
    RunReport,
    StopRequest,
)
from aiki.worker.desk import Desk
from aiki.worker.environment import Environment
from aiki.worker.inbox import Inbox
from aiki.worker.journal import Journal
from aiki.worker.outcome import ending_of, stuck_ending
from aiki.worker.outside import Outside
from aiki.worker.tries import Tries
from aiki.workflow.calls import Call
from aiki.workflow.definition import Workflow
from aiki.workflow.diff import with_diff
from aiki.workflow.execution import Execution
from aiki.workflow.run import Run, RunFacts

logger = logging.getLogger("aiki.worker")
Phase = Literal["active", "ending", "parked", "gone"]
NO_REST_SECONDS = 10.0
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
        self._input = claim.input
        self._entries: list[Entry] = list(memo.entries)
        self._decisions = memo.decisions
        self._last_number = self._entries[-1].number if self._entries else 0
        self._children = {child.key: child.id for child in memo.children}
        self._journal = Journal()
        self._desk = Desk(claim, Tries(memo.attempts), self._journal, env)
        self._desk.on_result = self.pump
        stopped = any(entry.kind == "cancel" for entry in self._entries)
        self._outside = Outside(claim.inbox, stop_delivered=stopped)
        self._effects: deque[Call] = deque()
        self._ending: Ending | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._restless_since: float | None = None
        self._rebuilding = False
        self._resting = False
        """Nothing is left to do here but to wait; only then may the run be parked."""
        self._load()

    # Memory

    def _load(self) -> None:
        """Begin the workflow's code anew, with everything numbered so far as its memo."""
        claim, definition = self.claim, self.definition
        execution = Execution(self._entries, claim.started_at, claim.id)
        execution.repeating = self._rebuilding or claim.rested
        waived = {number for decision in self._decisions for number in decision.numbers}
        execution.leave_out(waived, definition.removed)
        recorded = {entry.key for entry in self._entries}
        started = self._desk.tries.open | {_key(text) for text in self._children}
        dropped = {_key(text) for decision in self._decisions for text in decision.starts}
        execution.expected = {
            key for key in started - recorded - dropped if key.name not in definition.removed
        }
        names = tuple(event.name for event in definition.events)
        facts = RunFacts(claim.id, claim.reference_id, claim.attempt, claim.workflow, names)
        run = Run(facts, execution, self._journal.keep_log)
        args, kwargs = definition.signature.decode(self._input)
        execution.start(lambda: definition.fn(run, *args, **kwargs))
        self._execution = execution
        self._effects.clear()
        self._desk.forget_gates()
        self._outside.forget_calls()

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
        self.claim = self._desk.claim = claim
        self.phase = "active"
        self._resting = False
        self._outside.inbox = Inbox(claim.inbox)
        self._env.soon(self.pump)

    def evict(self) -> None:
        """Leave memory: nothing of the run does anything any more."""
        if self.phase == "gone":
            return
        self.phase = "gone"
        self._disarm()
        self._desk.stop(record=False)
        self._execution.evict()

    def _forget(self) -> Execution:
        """In replay-always mode: the code is run again from its records after each entry."""
        if not self._turn() or self._execution.outcome is not None:
            return self._execution
        self._begin_fresh()
        self._drop_withdrawn()
        self._execution.evict()
        self._rebuilding = True
        self._load()
        return self._execution

    # Stepping

    def pump(self) -> None:
        """Let the run go on as far as it can; called from plain callbacks of the worker's loop."""
        if self.phase != "active" or self._ending is not None:
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
            self._restless_since = None
            if execution.outcome is not None:
                return self._finish()
            live = not execution.replaying
            entry = self._next_entry() if live else execution.next_recorded()
            if live and execution.held:
                return self._diverge()
            if entry is None:
                return self._rest() if live else self._diverge()
            if live:
                self._number(entry)
            execution.deliver(entry)
            if live and self._env.replay_always:
                execution = self._forget()
        return self._env.soon(self.pump)

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
        return self._env.soon(self.pump)

    def _next_entry(self) -> Entry | None:
        """What is to be numbered next: an effect, a result, or the oldest outside fact."""
        self._execution.release_held()
        if self._execution.held:
            return None
        self._begin_fresh()
        self._drop_withdrawn()
        while self._effects:
            call = self._effects.popleft()
            if call.key in self._execution.live:
                self._journal.add_effect(call.details)
                return self._entry(call.key, "effect", name=call.name)
        return self._result_entry() or self._outside.next_entry(
            self._env.now(),
            self._entry,
            # Children that come before a request to stop are stopped by it: the server has to
            # know them first.
            stop_waits=self._journal.has_children,
        )

    def _result_entry(self) -> Entry | None:
        results = self._desk.results
        while results:
            attempt, result = results.popleft()
            if attempt.key not in self._execution.live:
                continue
            value, failure = (result, None) if isinstance(result, bytes) else (None, result)
            self._desk.note_recorded(attempt, failure)
            return self._entry(
                attempt.key,
                "task",
                name=attempt.task.name,
                value=value,
                failure=failure,
                task_attempt=attempt.number,
                started_at=attempt.started_at,
                arguments=attempt.arguments,
            )
        return None

    def _entry(self, key: Key, kind: Any, **details: Any) -> Entry:
        at = max(self._execution.instant, self._env.now())
        number = self._last_number + 1
        return Entry(number, kind, *key, at, epoch=self.claim.epoch, **details)

    def _number(self, entry: Entry) -> None:
        self._last_number = entry.number
        self.memo_version += 1
        self._entries.append(entry)
        self._journal.add_entry(entry)

    # What the workflow asked for

    def _begin_fresh(self) -> None:
        fresh, self._execution.fresh = self._execution.fresh, []
        for call in fresh:
            if call.key not in self._execution.live:
                continue
            self._outside.begin(call)
            if call.kind == "task":
                self._desk.begin(call)
            elif call.kind == "child":
                self._begin_child(call)
            elif call.kind == "effect":
                self._effects.append(call)

    def _begin_child(self, call: Call) -> None:
        start: StartRun = call.details
        self._outside.begin_child(start.id, call)
        if str(call.key) not in self._children:
            self._children[str(call.key)] = start.id
            self._journal.add_child(str(call.key), start)

    def _drop_withdrawn(self) -> None:
        withdrawn, self._execution.withdrawn = self._execution.withdrawn, []
        for call in withdrawn:
            self._outside.withdraw(call)
            self._desk.withdraw(call.key)
            if call.kind == "child" and isinstance(call.details, StopRequest):
                self._outside.withdraw_child(call.details.run_id)
                if str(call.key) in self._children:
                    self._journal.add_effect(call.details)

    # Rest, park, end

    def _rest(self) -> None:
        """Nothing is left to deliver: start what may start, and report what is new."""
        self._restless_since = None
        self._resting = True
        live = self._execution.live
        self._desk.open_gates(live)
        self._desk.wake_retries(live)
        self._journal.flush_logs()
        if self._journal.unreported or self._may_park():
            self._env.report(self)
        self._arm()

    def _may_park(self) -> bool:
        busy = self._desk.busy or self._effects
        return self._resting and not busy and self.phase == "active"

    def _arm(self) -> None:
        """Look again when the next timer or retry is due."""
        self._disarm()
        dues = self._outside.dues() + self._desk.dues()
        if dues and self.phase == "active":
            seconds = self._env.timekeeper.seconds_until(min(dues))
            self._alarm = self._env.loop.call_later(seconds, self.pump)

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _waits(self) -> list[Wait]:
        """Everything that may make the run ready again."""
        waits = self._desk.waits()
        for call in self._execution.live.values():
            if call.kind == "event":
                waits += [Wait("event", name, call.due_at) for name in call.events]
            elif call.kind == "child" and call.waited and isinstance(call.details, StartRun):
                waits.append(Wait("child", call.details.id))
            elif call.due_at is not None:
                waits.append(Wait("timer", str(call.key), call.due_at))
        return waits

    def _park(self) -> Ending:
        waits = self._waits()
        if not waits and not self._outside.has_news:
            return stuck_ending("waits for something that nobody can bring", self._execution)
        return Parked(tuple(waits))

    def _finish(self) -> None:
        if self._execution.divergence() is not None:
            return self._diverge()
        self._begin_fresh()
        self._drop_withdrawn()
        self._stop_called_children()
        request = next((entry for entry in self._entries if entry.kind == "cancel"), None)
        return self._end(ending_of(self._execution, self.definition, self.claim, request))

    def _stop_called_children(self) -> None:
        """The workflow ended while calls of children were open: nobody waits for them any more.

        Children that were started by `run.start` and are not awaited go on by themselves.
        """
        for call in self._execution.live.values():
            start = call.details
            if call.kind == "child" and call.waited and isinstance(start, StartRun):
                stop_id = derived_id(start.id, "withdrawn", str(self.claim.attempt))
                self._journal.add_effect(StopRequest(stop_id, start.id, "its parent ended"))

    def _diverge(self) -> None:
        divergence = self._execution.divergence()
        assert divergence is not None, "diverged without a difference"
        full = with_diff(divergence, self._execution, self.definition.fingerprint)
        logger.error("run %s has diverged: %s", self.claim.id, full.describe())
        self._end(Diverged(full))

    def _end(self, ending: Ending) -> None:
        self._ending = ending
        self._disarm()
        self._desk.stop(record=True)
        self._env.report(self)

    # Reports

    def compose(self) -> RunReport | None:
        """All that is new, with the run's end or park where it has come to that."""
        if self.phase != "active":
            return None
        if self._ending is None and self._may_park():
            self._ending = self._park()
        if self._ending is None and not self._journal.unreported:
            return None
        if self._ending is not None:
            self.phase = "ending"
            self._disarm()
        return self._journal.report(self.claim, self._ending)

    @property
    def reported(self) -> int:
        """The last change that the last report covered."""
        return self._journal.reported

    def acknowledged(self, outcome: ReportOutcome, reported: int) -> None:
        """The answer to the last report."""
        if self.phase == "gone":
            return
        if outcome.verdict != "recorded":
            self._env.refused(self, outcome)
            return
        self._journal.acknowledge(reported)
        if self.phase == "ending":
            self._settle()
            return
        failpoints.hit("after_report_before_next")
        self._desk.open_gates(self._execution.live)
        if self._may_park() or self._journal.unreported or self._outside.has_news:
            self._env.soon(self.pump)

    def _settle(self) -> None:
        ending, self._ending = self._ending, None
        if isinstance(ending, Parked):
            self.phase = "parked"
            self._env.parked(self)
        else:
            self._env.ended(self)

    def release(self) -> RunReport:
        """Give the run back, with what is already numbered; for shutdown."""
        self.phase = "ending"
        self._ending = Released()
        return self._journal.report(self.claim, self._ending)

    def fail(self, ending: Failed) -> RunReport:
        """End the run by a failure outside its code, such as a report that was refused."""
        self._journal.clear()
        return self._journal.report(self.claim, ending)

    def tell(self, fact: Fact) -> None:
        """A fact was pushed."""
        if self.phase == "active" and self._outside.inbox.add(fact):
            self._resting = False
            self._env.soon(self.pump)

    def note_long_starts(self, now: Instant) -> None:
        """Report starts that have been running for a while, so that they can be seen."""
        if self.phase == "active":
            self._desk.note_long_starts(now)
            if self._journal.unreported:
                self._env.report(self)


def _key(text: str) -> Key:
    address, _, ordinal = text.rpartition("#")
    return Key(address, int(ordinal))
