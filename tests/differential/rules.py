"""The oracle's state machine: how runs begin, end, stop, and are told something."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.differential.records import GRACE_MS, Fact, Refused, Run, WaitRow


class Rules:
    """All runs of one namespace, and the instant."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.runs: dict[str, Run] = {}
        self.dead_letters: list[str] = []
        """The runs that they are about."""

    def _run(self, run_id: str) -> Run:
        if run_id not in self.runs:
            raise Refused("NotFound")
        return self.runs[run_id]

    def _born(self, run_id: str, delay: int, timeout: int | None, priority: int) -> Run:
        run = Run(run_id, priority, None, timeout, self.now, "")
        self.runs[run_id] = run
        self._go(run, "scheduled" if delay else "queued", "new")
        run.due = self.now + delay if delay else None
        run.deadline = self.now + delay + timeout if timeout else None
        return run

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
        run.ended = self.now
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

    # Stopping

    def _ask_to_stop(self, run: Run, cause: str, command: str) -> None:
        if not run.started:
            self._stop_unstarted(run, cause, command)
        elif run.stop is not None and cause == "timeout":
            run.deadline = None
            run.grace = self.now + GRACE_MS if run.grace is None else run.grace
        elif run.stop is not None:
            run.command = command
            self._end(run, "cancelled", "forced", "cancelled", fence=True)
        else:
            self._stop_first(run, cause)

    def _stop_unstarted(self, run: Run, cause: str, command: str) -> None:
        run.stop, run.command = cause, command
        if cause == "timeout":
            self._end(run, "failed", "timeout", "timed_out", fence=True)
        else:
            self._end(run, "cancelled", "cancelled", "cancelled", fence=True)

    def _stop_first(self, run: Run, cause: str) -> None:
        run.stop, run.pausing = cause, False
        if cause == "timeout":
            run.deadline = None
        if cause == "timeout" or run.status == "diverged":
            run.grace = self.now + GRACE_MS
        if run.status in ("waiting", "paused", "stalled"):
            run.due = None
            self._go(run, "queued", "stop")
        self._tell(run, Fact("cancel", cause, self.now))

    def _forget_letters(self, run_id: str) -> None:
        self.dead_letters = [about for about in self.dead_letters if about != run_id]

    def _below(self, *origins: Run) -> list[Run]:
        """Unfinished children, then theirs, and so on: parents come before their children."""
        found: list[Run] = []
        level = list(origins)
        while level:
            ids = [child for run in level for child in run.children.values()]
            level = [self.runs[child] for child in ids if child in self.runs]
            found += [run for run in level if run not in found]
        return [run for run in found if run.live]

    def _stop_family(self, family: Iterable[Run]) -> None:
        for child in family:
            if child.live and child.stop is None:
                self._ask_to_stop(child, "cancel", "family")

    # How a claim ends

    def _release(self, run: Run) -> None:
        run.losses = run.alone_losses = 0
        run.command = None
        if run.pausing:
            run.pausing = False
            self._go(run, "paused", "paused")
        else:
            self._go(run, "queued", "released")

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

    def _lose(self, run: Run) -> None:
        run.alone_losses += run.alone
        run.losses += 1
        if run.alone_losses >= 3:
            self.dead_letters.append(run.id)
            self._end(run, "failed", "dead_letter", "dead_letter", fence=True)
        else:
            self._go(run, "queued", "recovered")
