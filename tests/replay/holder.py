"""A holder of a claim in memory: it plays worker, server and world for one `Execution`.

It follows the contract and not the worker's code: at rest, something is chosen to happen next, gets
the next number, and is delivered. What is chosen comes from a list of numbers, so that two holders
with the same list make the same things happen as long as the run asks for the same things.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from aiki.model.failure import ChildEnded, Raised
from aiki.model.task import Divergence, Entry, Key
from aiki.workflow.calls import Call
from aiki.workflow.execution import Execution, Returned
from aiki.workflow.execution import Raised as RaisedOutcome
from aiki.workflow.run import Run, RunFacts

START = 1_700_000_000_000
RUN_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
Main = Callable[[Run], Coroutine[Any, Any, Any]]
Choice = tuple[str, Call | None]


class HasDiverged(Exception):
    """Nothing recorded could be delivered, and something was left."""

    def __init__(self, divergence: Divergence) -> None:
        super().__init__(divergence.describe())
        self.divergence = divergence


class Holder:
    """Executes `main` from its entries, and goes on."""

    def __init__(
        self,
        main: Main,
        choices: Sequence[int] = (),
        *,
        entries: Sequence[Entry] = (),
        started: Sequence[Key] = (),
        removed: Sequence[str] = (),
        cancel: bool = False,
        run_id: str = RUN_ID,
        begun_at: int = START,
    ) -> None:
        self.main = main
        self.choices = list(choices)
        self.entries = list(entries)
        self.started = list(started)
        self.removed = removed
        self.may_cancel = cancel
        self.run_id = run_id
        self.begun_at = begun_at
        self.now = max((entry.at for entry in entries), default=begun_at)
        self.counter = 0
        self.executed: list[Key] = []
        self.effects: list[Key] = []
        self.logs: list[logging.LogRecord] = []
        self.tasks: dict[Key, Call] = {}
        self.replays = 0
        self.load()

    def load(self) -> None:
        """From the records alone."""
        self.execution = Execution(self.entries, self.begun_at, self.run_id)
        self.execution.leave_out((), self.removed)
        recorded = {entry.key for entry in self.entries}
        self.execution.expected = set(self.started) - recorded
        facts = RunFacts(self.run_id, None, 1, "random", ())
        run = Run(facts, self.execution, self.logs.append)
        self.execution.start(lambda: self.main(run))

    def settle(self) -> None:
        """Let the run come to rest."""
        for _ in range(1_000):
            if self.execution.loop.turn():
                return
        raise AssertionError("the run finds no rest")

    def replay(self) -> None:
        """Deliver all that is recorded; raises `HasDiverged` before anything new has begun."""
        self.replays += 1
        execution = self.execution
        self.settle()
        while execution.replaying and execution.outcome is None:
            assert not execution.fresh, "something new began during replay"
            entry = execution.next_recorded()
            if entry is None:
                break
            execution.deliver(entry)
            self.settle()
        if execution.outcome is None:
            execution.release_held()
        if execution.replaying or execution.held:
            divergence = execution.divergence()
            if divergence is not None:
                raise HasDiverged(divergence)
        self.begin()

    def begin(self) -> None:
        """Whatever was asked for anew, unless the run has ended."""
        execution = self.execution
        if execution.outcome is not None:
            return
        for call in execution.fresh:
            if call.key not in execution.live:
                continue
            assert not any(entry.key == call.key for entry in self.entries), f"{call.key} again"
            if call.kind == "task":
                if call.key not in self.tasks:
                    self.executed.append(call.key)
                self.tasks[call.key] = call
        execution.fresh = []
        for call in execution.withdrawn:
            self.tasks.pop(call.key, None)
        execution.withdrawn = []

    # What may happen next

    def possible(self) -> list[Choice]:
        live = self.execution.live
        choices: list[Choice] = [("task", live[key]) for key in self.tasks if key in live]
        timers = []
        for call in live.values():
            if call.kind == "event":
                choices.append(("event", call))
            elif call.kind == "effect":
                choices.append(("effect", call))
            elif call.kind == "child" and call.waited:
                choices.append(("child", call))
            if call.due_at is not None:
                timers.append(call)
        if timers:
            choices.append(("timer", min(timers, key=lambda call: call.due_at or 0)))
        if self.may_cancel and not any(entry.kind == "cancel" for entry in self.entries):
            choices.append(("cancel", None))
        return choices

    def choose(self) -> int:
        return self.choices.pop(0) if self.choices else len(self.entries) * 7

    def next_entry(self) -> Entry:
        possible = self.possible()
        assert possible, "the run waits for something that nobody can bring"
        drawn = self.choose()
        kind, call = possible[drawn % len(possible)]
        number = len(self.entries) + 1
        if call is None:
            return Entry(number, "cancel", "cancel", 0, self.now)
        if kind == "timer":
            self.now = max(self.now, call.due_at or 0)
        else:
            self.now += (0, 0, 3)[drawn % 3]
        details = self.answer(kind, call, drawn)
        at = max(self.execution.instant, self.now)
        return Entry(number, kind, *call.key, at, **details)  # type: ignore[arg-type]

    def answer(self, kind: str, call: Call, drawn: int) -> dict[str, Any]:
        self.counter += 1
        name = call.name
        if kind in ("timer", "effect"):
            return {"name": name, "due_at": call.due_at if kind == "timer" else None}
        if kind == "event":
            name = call.events[drawn % len(call.events)]
        elif kind == "task":
            self.tasks.pop(call.key, None)
        if kind != "event" and drawn % 5 == 4:
            cause = Raised("OSError", f"failure {self.counter}")
            ended = ChildEnded(name, "child", "failed", cause)
            return {"name": name, "failure": ended if kind == "child" else cause}
        return {"name": name, "value": b"%d" % (7_000 + self.counter), "arguments": call.arguments}

    def step(self) -> bool:
        """One thing happens; False when the run has ended."""
        self.begin()
        if self.execution.outcome is not None:
            return False
        entry = self.next_entry()
        self.entries.append(entry)
        self.execution.deliver(entry)
        self.settle()
        return self.execution.outcome is None

    def finish(self, limit: int = 200) -> Holder:
        """From wherever it is to the end."""
        self.replay()
        for _ in range(limit):
            if not self.step():
                return self
        raise AssertionError("the run does not end")

    def evict(self) -> None:
        """Forget the run, and execute it anew from its records; tasks in flight go on."""
        self.execution.evict()
        self.load()

    def crash(self, recorded: int) -> None:
        """Lose the process, the tasks in flight, and what was numbered but not recorded."""
        self.execution.evict()
        del self.entries[recorded:]
        self.tasks.clear()
        self.load()

    def close(self) -> None:
        """Leave nothing to the garbage collector."""
        self.execution.evict()

    @property
    def ending(self) -> str:
        outcome = self.execution.outcome
        if isinstance(outcome, Returned):
            return f"returned {outcome.value}"
        assert isinstance(outcome, RaisedOutcome)
        return f"raised {outcome.error!r}"
