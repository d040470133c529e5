"""The oracle's workers: register, claim, report, heartbeat, presence, leave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.differential.records import (
    GRACE_MS,
    LEASE_MS,
    Child,
    Ending,
    Entry,
    Refused,
    Run,
    Worker,
    facts_of,
)
from tests.differential.rules import Rules

SUSPECT_MS = 500


class Labour(Rules):
    """All runs and workers of one namespace."""

    def __init__(self, now: int) -> None:
        super().__init__(now)
        self.workers: dict[str, Worker] = {}

    # Life

    def register(self, name: str) -> None:
        known = self.workers.setdefault(name, Worker("alive", 0, 0))
        known.status = "alive"
        self._renew(known)

    def _renew(self, worker: Worker) -> None:
        worker.status, worker.lease, worker.seen = "alive", self.now + LEASE_MS, self.now

    def _known(self, name: str) -> Worker:
        worker = self.workers.get(name)
        if worker is None or worker.status == "stopped":
            raise Refused("NotFound")
        return worker

    def leave(self, name: str) -> None:
        worker = self.workers.get(name)
        if worker is not None:
            worker.status, worker.suspect = "stopped", None
        for run in self._held(name):
            self._release(run)

    def _held(self, name: str) -> list[Run]:
        return [r for r in self.runs.values() if r.status == "running" and r.holder == name]

    def heartbeat(
        self, name: str, held: Sequence[tuple[str, int]], claiming: Sequence[str]
    ) -> list[tuple[str, int]]:
        worker = self._known(name)
        self._renew(worker)
        worker.suspect = None
        listed = {run_id for run_id, _ in held}
        for run in self._held(name):
            if run.id not in listed and run.claim_id not in claiming:
                self._release(run)
        mine = {(run.id, run.epoch) for run in self._held(name)}
        return [holding for holding in held if holding not in mine]

    def see(self, name: str, presence: int) -> None:
        worker = self.workers.get(name)
        if worker is not None and worker.presence <= presence:
            worker.presence, worker.suspect = presence, None

    def suspect(self, name: str, presence: int) -> None:
        worker = self.workers.get(name)
        if worker is not None and worker.presence == presence and worker.status == "alive":
            worker.suspect = self.now

    def recover(self) -> None:
        """Free the runs of the workers that are silent, suspected for too long, or gone."""
        for worker in self.workers.values():
            suspect = worker.suspect is not None and worker.suspect <= self.now - SUSPECT_MS
            if worker.status == "alive" and (worker.lease < self.now or suspect):
                worker.status, worker.suspect = "lost", None
        for run in sorted(self.runs.values(), key=lambda run: run.id):
            holder = self.workers.get(run.holder or "")
            if run.status == "running" and (holder is None or holder.status != "alive"):
                self._lose(run)

    # Claims

    def claim(self, name: str, claim_id: str, limit: int, *, idle: bool) -> Any:
        worker = self._known(name)
        if worker.status != "alive":
            raise Refused("NotFound")
        self._renew(worker)
        repeated = [run for run in self._held(name) if run.claim_id == claim_id]
        if repeated:
            return [self._granted(run, False) for run in sorted(repeated, key=lambda r: r.id)]
        ready = [run for run in self.runs.values() if run.status == "queued"]
        ready.sort(key=lambda run: (-run.priority, run.ready_at, run.id))
        alone = [run for run in ready if run.alone]
        if alone and not idle:
            return "a run waits that must be executed alone"
        taken = alone[:1] or ready[:limit]
        return [self._take(run, name, claim_id) for run in taken]

    def _take(self, run: Run, name: str, claim_id: str) -> Any:
        resident = run.holder == name and not run.retrying
        run.epoch += 1
        run.holder, run.claim_id, run.started, run.due = name, claim_id, True, None
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

    # Reports

    def report(
        self, name: str, run_id: str, epoch: int, *, entries: Sequence[Entry] = (),
        tasks: Sequence[tuple[str, str]] = (), children: Sequence[Child] = (),
        ending: Ending | None = None,
    ) -> str:  # fmt: skip
        run = self.runs.get(run_id)
        if run is None:
            return "claim_lost"
        if ending is not None and run.command == ending.command_id:
            return "recorded"
        if run.status != "running" or run.epoch != epoch or run.holder != name:
            return "claim_lost"
        if any(entry.due is not None and entry.due > self.now for entry in entries):
            return "early"
        self._record(run, entries)
        for task, status in tasks:
            if run.tasks.get((run.attempt, task), "running") == "running":
                run.tasks[run.attempt, task] = status
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
            self._retry(run, ending.delay)
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

    def _retry(self, run: Run, delay: int) -> None:
        self._stop_family(self._below(run))
        self._close_tasks(run, "discarded")
        run.losses = run.alone_losses = 0
        run.retrying, run.due = True, self.now + delay
        run.waits = [("run_retry", "", run.due)]
        self._go(run, "waiting", "retry")
