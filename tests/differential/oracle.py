"""The oracle: what a server must answer and keep, in plain dicts and lists.

Written from the state-machine text and the docstrings of the operations. One operation after the
other, no storage, no batches: every method answers `("ok", body)` or `(error's name, None)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

Answer = tuple[str, Any]
ENDED = ("completed", "failed", "cancelled")
LEASE_MS = 5_000
GRACE_MS = 1_000
WaitRow = tuple[str, str, int | None]
"""Kind, name and due of a wait."""


class Refused(Exception):
    """The operation is refused with this error and has no effect."""


@dataclass
class Fact:
    """Something that came from outside."""

    kind: str
    name: str
    at: int
    value: bytes | None = None
    event_id: str | None = None
    key: str | None = None


@dataclass
class Entry:
    """A recorded fact of a run."""

    number: int
    kind: str
    takes: Fact | None = None
    due: int | None = None


@dataclass
class Child:
    """A child that a report starts."""

    id: str
    key: str


@dataclass
class Ending:
    """How a claim ends: park, complete, fail, retry, release or diverge."""

    kind: str
    command_id: str
    waits: Sequence[WaitRow] = ()
    delay: int = 0


@dataclass
class Run:
    """A run, with all that is known of it."""

    id: str
    priority: int
    reference: str | None
    timeout: int | None
    born: int
    status: str
    parent: str | None = None
    parent_attempt: int = 0
    content: bytes = b"{}"
    history: list[tuple[str, str]] = field(default_factory=list)
    attempt: int = 1
    epoch: int = 0
    holder: str | None = None
    claim_id: str | None = None
    losses: int = 0
    alone_losses: int = 0
    pausing: bool = False
    stop: str | None = None
    stop_heard: bool = False
    retrying: bool = False
    due: int | None = None
    deadline: int | None = None
    grace: int | None = None
    started: bool = False
    command: str | None = None
    ready_at: int | None = None
    waits: list[WaitRow] = field(default_factory=list)
    inbox: list[Fact] = field(default_factory=list)
    entries: dict[int, list[int]] = field(default_factory=dict)
    tasks: dict[tuple[int, str], str] = field(default_factory=dict)
    children: dict[tuple[int, str], str] = field(default_factory=dict)
    result: str | None = None
    decisions: int = 0

    @property
    def live(self) -> bool:
        return self.status not in ENDED

    @property
    def alone(self) -> bool:
        return self.losses >= 2

    def wake_at(self) -> int | None:
        dues = [self.grace, self.deadline]
        if self.status in ("scheduled", "waiting"):
            dues.append(self.due)
        known = [due for due in dues if due is not None]
        return min(known) if known and self.live else None


class Oracle:
    """All runs and workers of one namespace."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.runs: dict[str, Run] = {}
        self.workers: dict[str, tuple[str, int]] = {}
        self.events: dict[str, tuple[str, str, bytes]] = {}
        self.keys: dict[tuple[str, str, str], str] = {}
        self.cancels: dict[str, str] = {}
        self.dead_letters = 0

    def answer(self, operation: Callable[[], Any]) -> Answer:
        """The operation's answer, or the name of its error."""
        try:
            return "ok", operation()
        except Refused as error:
            return str(error), None

    def _run(self, run_id: str) -> Run:
        if run_id not in self.runs:
            raise Refused("NotFound")
        return self.runs[run_id]

    # The state machine

    def _go(self, run: Run, status: str, reason: str) -> None:
        run.status = status
        run.history.append((status, reason))
        run.ready_at = self.now if status == "queued" else None

    def _end(self, run: Run, status: str, reason: str, result: str, *, fence: bool) -> None:
        self._go(run, status, reason)
        run.epoch += fence
        run.due = run.deadline = run.grace = None
        run.pausing = False
        run.waits = []
        run.result = result
        if result != "output":
            self._close_tasks(run, "discarded")
        parent = self.runs.get(run.parent or "")
        if parent is not None and parent.live and parent.attempt == run.parent_attempt:
            self._tell(parent, Fact("child", run.id, self.now))

    def _close_tasks(self, run: Run, status: str) -> None:
        for key, known in run.tasks.items():
            if known == "running":
                run.tasks[key] = status

    def _tell(self, run: Run, fact: Fact) -> None:
        run.inbox.append(fact)
        waited = any((kind, name) == (fact.kind, fact.name) for kind, name, _ in run.waits)
        if run.status == "waiting" and waited:
            run.due = None
            self._go(run, "queued", fact.kind)

    def _ask_to_stop(self, run: Run, cause: str, command: str) -> None:
        if not run.started:
            run.stop, run.command = cause, command
            status, result = ("failed", "timed_out") if cause == "timeout" else (
                "cancelled", "cancelled",
            )  # fmt: skip
            self._end(run, status, "timeout" if cause == "timeout" else "cancelled", result,
                      fence=True)  # fmt: skip
        elif run.stop is not None and cause == "timeout":
            run.deadline = None
            run.grace = self.now + GRACE_MS if run.grace is None else run.grace
        elif run.stop is not None:
            run.command = command
            self._end(run, "cancelled", "forced", "cancelled", fence=True)
        else:
            run.stop, run.pausing = cause, False
            if cause == "timeout":
                run.deadline = None
            if cause == "timeout" or run.status == "diverged":
                run.grace = self.now + GRACE_MS
            if run.status in ("waiting", "paused", "stalled"):
                run.due = None
                self._go(run, "queued", "stop")
            self._tell(run, Fact("cancel", cause, self.now))

    def _below(self, run: Run) -> list[Run]:
        """Unfinished children, theirs, and so on."""
        found: list[Run] = []
        for child_id in run.children.values():
            child = self.runs[child_id]
            found += [child, *self._below(child)]
        return sorted((child for child in found if child.live), key=lambda child: child.id)

    def _stop_family(self, family: Iterable[Run]) -> None:
        for child in family:
            if child.live and child.stop is None:
                self._ask_to_stop(child, "cancel", "family")

    # Clients

    def start(
        self, run_id: str, content: bytes, *, reference: str | None, existing: bool, delay: int,
        timeout: int | None, priority: int,
    ) -> tuple[str, bool]:  # fmt: skip
        known = self.runs.get(run_id)
        if known is not None:
            if known.content != content:
                raise Refused("Conflict")
            return run_id, False
        named = [run.id for run in self.runs.values() if reference and run.reference == reference]
        if named and not existing:
            raise Refused("Conflict")
        if named:
            return named[0], False
        run = self._born(run_id, delay, timeout, priority)
        run.reference, run.content = reference, content
        return run_id, True

    def _born(self, run_id: str, delay: int, timeout: int | None, priority: int) -> Run:
        run = Run(run_id, priority, None, timeout, self.now, "")
        self.runs[run_id] = run
        self._go(run, "scheduled" if delay else "queued", "new")
        run.due = self.now + delay if delay else None
        run.deadline = self.now + delay + timeout if timeout else None
        return run

    def send(self, event_id: str, run_id: str, name: str, value: bytes, key: str | None) -> str:
        run = self._run(run_id)
        known = event_id if event_id in self.events else None
        if known is None and key is not None:
            known = self.keys.get((run_id, name, key))
        if known is not None:
            if self.events[known] != (run_id, name, value):
                raise Refused("Conflict")
            return known
        if not run.live:
            raise Refused("InvalidTransition")
        self.events[event_id] = (run_id, name, value)
        if key is not None:
            self.keys[run_id, name, key] = event_id
        self._tell(run, Fact("event", name, self.now, value, event_id, key))
        return event_id

    def cancel(self, run_id: str, command_id: str) -> str:
        run = self._run(run_id)
        if self.cancels.get(command_id, run_id) != run_id:
            raise Refused("Conflict")
        if command_id in self.cancels or run.command == command_id:
            return run.status
        if not run.live:
            raise Refused("InvalidTransition")
        family = self._below(run)
        if run.started and run.stop is None:
            self.cancels[command_id] = run_id
        self._ask_to_stop(run, "cancel", command_id)
        self._stop_family(family)
        return run.status

    def terminate(self, run_id: str, command_id: str) -> str:
        run = self._run(run_id)
        if run.command == command_id:
            return run.status
        if not run.live:
            raise Refused("InvalidTransition")
        family = self._below(run)
        self._end(run, "cancelled", "terminated", "cancelled", fence=True)
        run.command = command_id
        self._stop_family(family)
        return run.status

    def pause(self, run_id: str) -> str:
        run = self._run(run_id)
        if run.status == "running":
            run.pausing = True
        elif run.status in ("scheduled", "queued", "waiting"):
            self._go(run, "paused", "paused")
        elif run.status != "paused":
            raise Refused("InvalidTransition")
        return run.status

    def resume(self, run_id: str) -> str:
        run = self._run(run_id)
        if run.status == "running":
            run.pausing = False
        elif run.status != "paused":
            raise Refused("InvalidTransition")
        elif not run.started and run.due is not None and run.due > self.now:
            self._go(run, "scheduled", "resumed")
        elif run.retrying and run.due is not None and run.due > self.now:
            self._go(run, "waiting", "resumed")
        else:
            run.due = None
            self._go(run, "queued", "resumed")
        return run.status

    def redeliver(self, run_id: str) -> str:
        run = self._run(run_id)
        if run.status != "stalled":
            raise Refused("InvalidTransition")
        self._go(run, "queued", "redelivered")
        return run.status

    def retry_diverged(self, run_id: str) -> str:
        run = self._run(run_id)
        if run.status != "diverged":
            raise Refused("InvalidTransition")
        self._go(run, "queued", "decision")
        run.decisions += 1
        return run.status

    # Workers

    def register(self, worker: str) -> None:
        self.workers[worker] = ("alive", self.now + LEASE_MS)

    def leave(self, worker: str) -> None:
        if worker in self.workers:
            self.workers[worker] = ("stopped", self.workers[worker][1])
        for run in self._held(worker):
            self._release(run)
            run.command = None

    def _held(self, worker: str) -> list[Run]:
        return [r for r in self.runs.values() if r.status == "running" and r.holder == worker]

    def heartbeat(
        self, worker: str, held: Sequence[tuple[str, int]], claiming: Sequence[str]
    ) -> list[tuple[str, int]]:
        if self.workers.get(worker, ("stopped", 0))[0] == "stopped":
            raise Refused("NotFound")
        self.workers[worker] = ("alive", self.now + LEASE_MS)
        listed = {run_id for run_id, _ in held}
        for run in self._held(worker):
            if run.id not in listed and run.claim_id not in claiming:
                self._release(run)
                run.command = None
        mine = {(run.id, run.epoch) for run in self._held(worker)}
        return [holding for holding in held if holding not in mine]

    def claim(self, worker: str, claim_id: str, limit: int, *, idle: bool) -> Any:
        if self.workers.get(worker, ("stopped", 0))[0] == "stopped":
            raise Refused("NotFound")
        self.workers[worker] = ("alive", self.now + LEASE_MS)
        repeated = [run for run in self._held(worker) if run.claim_id == claim_id]
        if repeated:
            return [self._granted(run, False) for run in sorted(repeated, key=lambda r: r.id)]
        ready = [run for run in self.runs.values() if run.status == "queued"]
        ready.sort(key=lambda run: (-run.priority, run.ready_at, run.id))
        alone = [run for run in ready if run.alone]
        if alone and not idle:
            return "a run waits that must be executed alone"
        taken = alone[:1] or ready[:limit]
        return [self._take(run, worker, claim_id) for run in taken]

    def _take(self, run: Run, worker: str, claim_id: str) -> Any:
        resident = run.holder == worker and not run.retrying
        run.epoch += 1
        run.holder, run.claim_id, run.started, run.due = worker, claim_id, True, None
        if run.retrying:
            run.attempt, run.retrying, run.decisions = run.attempt + 1, False, 0
        if run.epoch > 1:
            self._close_tasks(run, "lost")
        self._go(run, "running", "claimed")
        return self._granted(run, resident)

    def _granted(self, run: Run, resident: bool) -> Any:
        numbers = run.entries.get(run.attempt, [])
        memo = None if resident else numbers
        return (run.id, run.epoch, run.attempt, memo, facts_of(run), run.stop,
                len(numbers) + run.decisions)  # fmt: skip

    def _release(self, run: Run) -> None:
        run.losses = run.alone_losses = 0
        if run.pausing:
            run.pausing = False
            self._go(run, "paused", "paused")
        else:
            self._go(run, "queued", "released")

    def report(
        self, worker: str, run_id: str, epoch: int, *, entries: Sequence[Entry] = (),
        tasks: Sequence[tuple[str, str]] = (), children: Sequence[Child] = (),
        ending: Ending | None = None,
    ) -> str:  # fmt: skip
        run = self.runs.get(run_id)
        if run is None:
            return "claim_lost"
        if ending is not None and run.command == ending.command_id:
            return "recorded"
        if run.status != "running" or run.epoch != epoch or run.holder != worker:
            return "claim_lost"
        if any(entry.due is not None and entry.due > self.now for entry in entries):
            return "early"
        self._record(run, entries)
        for name, status in tasks:
            if run.tasks.get((run.attempt, name), "running") == "running":
                run.tasks[run.attempt, name] = status
        for child in children:
            self._start_child(run, child)
        if ending is not None:
            self._finish(run, ending)
        return "recorded"

    def _record(self, run: Run, entries: Sequence[Entry]) -> None:
        numbers = run.entries.setdefault(run.attempt, [])
        for entry in entries:
            if entry.number not in numbers:
                numbers.append(entry.number)
            if entry.takes is not None:
                run.inbox = [fact for fact in run.inbox if fact is not entry.takes]
            if entry.kind == "cancel":
                run.stop_heard = True
                run.grace = self.now + GRACE_MS if run.grace is None else run.grace
        if entries:
            run.losses = run.alone_losses = 0

    def _start_child(self, parent: Run, child: Child) -> None:
        if child.id not in self.runs:
            born = self._born(child.id, 0, None, 0)
            born.parent, born.parent_attempt = parent.id, parent.attempt
            parent.children[parent.attempt, child.key] = child.id
            if parent.stop is not None and not parent.stop_heard:
                self._ask_to_stop(born, "cancel", "parent")

    def _finish(self, run: Run, ending: Ending) -> None:
        if ending.kind == "complete":
            self._end(run, "completed", "returned", "output", fence=False)
        elif ending.kind == "retry" and run.stop is None:
            self._stop_family(self._below(run))
            self._close_tasks(run, "discarded")
            run.losses = run.alone_losses = 0
            run.retrying, run.due = True, self.now + ending.delay
            run.waits = [("run_retry", "", run.due)]
            self._go(run, "waiting", "retry")
        elif ending.kind in ("fail", "retry"):
            self._fail(run)
        elif ending.kind == "park":
            self._park(run, ending.waits)
        elif ending.kind == "release":
            self._release(run)
        else:
            run.pausing = False
            self._go(run, "diverged", "diverged")
        run.command = ending.command_id

    def _fail(self, run: Run) -> None:
        if not run.stop_heard:
            self._end(run, "failed", "raised", "raised", fence=False)
        elif run.stop == "timeout":
            self._end(run, "failed", "timeout", "timed_out", fence=False)
        else:
            self._end(run, "cancelled", "cancelled", "cancelled", fence=False)

    def _park(self, run: Run, waits: Sequence[WaitRow]) -> None:
        run.losses = run.alone_losses = 0
        names = {(kind, name) for kind, name, _ in waits}
        dues = [due for _, _, due in waits if due is not None]
        run.due = min(dues) if dues else None
        there = any(f.kind == "cancel" or (f.kind, f.name) in names for f in run.inbox)
        run.waits = list(waits)
        if run.pausing:
            run.pausing = False
            self._go(run, "paused", "paused")
        elif there or (run.due is not None and run.due <= self.now):
            run.due, run.waits = None, []
            self._go(run, "queued", "woken")
        else:
            self._go(run, "waiting", "parked")

    # Time

    def wake_due(self) -> None:
        """Whoever is due goes on, until nobody is."""
        while True:
            due = [run for run in self.runs.values() if (run.wake_at() or self.now + 1) <= self.now]
            due.sort(key=lambda run: (run.wake_at(), run.id))
            if not sum([self._wake(run) for run in due if run.live]):
                return

    def _wake(self, run: Run) -> bool:
        if not run.live:
            return False
        family = self._below(run)
        if run.grace is not None and run.grace <= self.now:
            timed_out = run.stop == "timeout"
            self._end(
                run, "failed" if timed_out else "cancelled",
                "timeout" if timed_out else "grace_over",
                "timed_out" if timed_out else "cancelled", fence=True,
            )  # fmt: skip
            self._stop_family(family)
        elif run.deadline is not None and run.deadline <= self.now:
            self._ask_to_stop(run, "timeout", "deadline")
            self._stop_family(family)
        elif run.due is None or run.due > self.now or run.status not in ("scheduled", "waiting"):
            return False
        else:
            retry = any(kind == "run_retry" for kind, _, _ in run.waits)
            reason = "retry" if retry else "timer"
            reason = "new" if run.status == "scheduled" else reason
            run.due = None
            self._go(run, "queued", reason)
        return True

    def recover(self) -> None:
        """Free the runs of the workers that are silent, stopped or unknown."""
        for worker, (status, lease) in self.workers.items():
            if status == "alive" and lease < self.now:
                self.workers[worker] = ("lost", lease)
        for run in sorted(self.runs.values(), key=lambda run: run.id):
            holder = self.workers.get(run.holder or "", ("unknown", 0))[0]
            if run.status == "running" and holder != "alive":
                self._lose(run)

    def _lose(self, run: Run) -> None:
        run.alone_losses += run.alone
        run.losses += 1
        if run.alone_losses >= 3:
            self.dead_letters += 1
            self._end(run, "failed", "dead_letter", "dead_letter", fence=True)
        else:
            self._go(run, "queued", "recovered")

    def stall(self, after: int) -> None:
        """Set aside what nobody took for so long."""
        for run in self.runs.values():
            if run.status == "queued" and (run.ready_at or 0) <= self.now - after:
                self.dead_letters += 1
                self._go(run, "stalled", "undeliverable")

    # What is kept

    def snapshot(self) -> dict[str, Any]:
        """Everything, in the shape in which the test reads the database."""
        return {run.id: self._snapshot(run) for run in self.runs.values()} | {
            "dead letters": self.dead_letters
        }

    def _snapshot(self, run: Run) -> dict[str, Any]:
        parked = run.status in ("waiting", "paused") or not run.live
        return {
            "state": (run.status, run.attempt, run.epoch, run.holder, run.losses,
                      run.alone_losses, run.pausing, run.stop, run.stop_heard, run.retrying,
                      run.due, run.deadline, run.grace),
            "history": run.history,
            "waits": sorted(run.waits, key=str) if parked else None,
            "inbox": facts_of(run),
            "entries": sorted((a, n) for a, numbers in run.entries.items() for n in numbers),
            "tasks": run.tasks,
            "children": run.children,
            "ready": None if run.ready_at is None else (run.ready_at, run.alone),
            "result": run.result,
        }  # fmt: skip


def facts_of(run: Run) -> list[tuple[int, str, str]]:
    """What is in the inbox, oldest first."""
    return sorted((fact.at, fact.kind, fact.name) for fact in run.inbox)
