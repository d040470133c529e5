"""The oracle: what a server must answer and keep, in plain dicts and lists.

Written from the state-machine text and the docstrings of the operations. One operation after the
other, no storage, no batches: every method answers a body or raises `Refused`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tests.differential.labour import Labour
from tests.differential.records import ENDED, Answer, Event, Fact, Kept, Query, Refused, Run, Start

DAY_MS = 24 * 3_600_000
RETENTION_MS = 30 * DAY_MS
UNFINISHED = ("scheduled", "queued", "running", "waiting", "paused", "diverged", "stalled")


class Oracle(Labour):
    """All runs and workers of one namespace, and what clients and operators ask."""

    def __init__(self, now: int, find_rerun: Callable[[str], str]) -> None:
        super().__init__(now)
        self.events: dict[str, tuple[str, str, bytes]] = {}
        self.keys: dict[tuple[str, str, str], str] = {}
        self.cancels: dict[str, str] = {}
        self.kept: dict[str, Kept] = {}
        self.retention: int | None = None
        self._find_rerun = find_rerun
        """The id that the server made for the new run of this one."""

    def answer(self, operation: Callable[[], Any]) -> Answer:
        """The operation's answer, or the name of its error."""
        try:
            return "ok", operation()
        except Refused as error:
            return str(error), None

    def once(self, command_id: str | None, asked: Any, act: Callable[[], Any]) -> Any:
        """A command that is repeated under its id gets its first answer, for a day."""
        if command_id is None:
            return act()
        known = self.kept.get(command_id)
        if known is None:
            known = self.kept[command_id] = Kept(asked, act(), self.now)
        elif known.asked != asked:
            raise Refused("Conflict")
        return known.answer

    # Starts and events

    def start(self, starts: Sequence[Start]) -> list[tuple[str, bool]]:
        """All or none."""
        found = [self._existing(start) for start in starts]
        named = [start.reference for start in starts if start.reference]
        if len(set(named)) < len(named) or len({start.id for start in starts}) < len(starts):
            raise Refused("Conflict")
        for start, known in zip(starts, found, strict=True):
            if known is None:
                run = self._born(start.id, start.delay, start.timeout, start.priority)
                run.reference, run.content = start.reference, start.content
        pairs = zip(starts, found, strict=True)
        return [(known or start.id, known is None) for start, known in pairs]

    def _existing(self, start: Start) -> str | None:
        known = self.runs.get(start.id)
        if known is not None:
            if known.content != start.content:
                raise Refused("Conflict")
            return known.id
        wanted = start.reference
        named = [run.id for run in self.runs.values() if wanted and run.reference == wanted]
        if named and not start.existing:
            raise Refused("Conflict")
        return named[0] if named else None

    def send(self, event: Event) -> str:
        run = self._run(event.run_id)
        known = event.id if event.id in self.events else None
        if known is None and event.key is not None:
            known = self.keys.get((event.run_id, event.name, event.key))
        if known is not None:
            if self.events[known] != (event.run_id, event.name, event.value):
                raise Refused("Conflict")
            return known
        if not run.live:
            raise Refused("InvalidTransition")
        self.events[event.id] = (event.run_id, event.name, event.value)
        if event.key is not None:
            self.keys[event.run_id, event.name, event.key] = event.id
        self._tell(run, Fact("event", event.name, self.now, event.value, event.id, event.key))
        return event.id

    def send_many(self, events: Sequence[Event]) -> Any:
        """Those that are kept, and those that are refused."""
        answers = [(event, self.answer(partial(self.send, event))) for event in events]
        kept = [body for _, (verdict, body) in answers if verdict == "ok"]
        refused = [(event.id, verdict) for event, (verdict, _) in answers if verdict != "ok"]
        return kept, refused

    # Controls

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

    def control(self, kind: str, run_id: str, command_id: str | None) -> str:
        """Pause, resume, redeliver, retry or waive."""
        run = self._run(run_id)
        if command_id is None or run.command != command_id:
            before = run.status, run.pausing
            {"pause": self._pause, "resume": self._resume, "redeliver": self._redeliver,
             "retry": self._reconsider, "waive": self._waive}[kind](run)  # fmt: skip
            if command_id is not None and (run.status, run.pausing) != before:
                run.command = command_id
        return run.status

    def _pause(self, run: Run) -> None:
        if run.status == "running":
            run.pausing = True
        elif run.status in ("scheduled", "queued", "waiting"):
            self._go(run, "paused", "paused")
        elif run.status != "paused":
            raise Refused("InvalidTransition")

    def _resume(self, run: Run) -> None:
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

    def _redeliver(self, run: Run) -> None:
        if run.status != "stalled":
            raise Refused("InvalidTransition")
        self._forget_letters(run.id)
        self._go(run, "queued", "redelivered")

    def _reconsider(self, run: Run) -> None:
        if run.status != "diverged":
            raise Refused("InvalidTransition")
        self._go(run, "queued", "decision")
        run.decisions += 1

    _waive = _reconsider

    # Many runs

    def matching(self, query: Query, *, newest: bool = False) -> list[Run]:
        """The runs that match, in the order of their ids."""
        found = [run for run in self.runs.values() if query.matches(run)]
        return sorted(found, key=lambda run: run.id, reverse=newest)

    def page(self, query: Query, limit: int, cursor: str | None, *, newest: bool) -> Any:
        """One page of a list, and where the next begins."""
        found = [run.id for run in self.matching(query, newest=newest)]
        if cursor is not None:
            found = [id for id in found if (id < cursor if newest else id > cursor)]
        return found[:limit], found[limit - 1] if len(found) > limit else None

    def cancel_many(self, query: Query, limit: int, *, dry: bool) -> Any:
        """What was matched, done and refused, and whether there is more."""
        chosen, more = self._chosen(query, UNFINISHED, limit)
        if dry:
            return len(chosen), [run.id for run in chosen], [], more
        done = [run for run in chosen if run.stop is None]
        family = self._below(*chosen)
        refused = [(run.id, "InvalidTransition") for run in chosen if run not in done]
        for run in done:
            self._ask_to_stop(run, "cancel", "many")
        if done:
            self._stop_family(family)
        return len(chosen), [run.id for run in done], refused, more

    def _chosen(self, query: Query, among: tuple[str, ...], limit: int) -> tuple[list[Run], bool]:
        if query.status and not set(query.status) & set(among):
            raise Refused("InvalidRequest")
        found = [run for run in self.matching(query) if run.status in among]
        return found[:limit], len(found) > limit

    def rerun(self, run_id: str) -> str:
        run = self._run(run_id)
        if run.live:
            raise Refused("InvalidTransition")
        made = self._born(self._find_rerun(run_id), 0, run.timeout, run.priority)
        made.content = run.content
        return made.id

    def rerun_many(self, query: Query, limit: int, *, dry: bool) -> Any:
        """As `cancel_many`, with the ids of the new runs."""
        chosen, more = self._chosen(query, ENDED, limit)
        done = [run.id if dry else self.rerun(run.id) for run in chosen]
        return len(chosen), done, [], more

    def backlog(self) -> list[tuple[int, int]]:
        """How many are ready, and for how long the oldest has been."""
        ready = [run.ready_at for run in self.runs.values() if run.ready_at is not None]
        return [(len(ready), self.now - min(ready))] if ready else []

    # Time

    def wake_due(self) -> None:
        """Whoever is due goes on, until nobody is."""
        while True:
            due = [run for run in self.runs.values() if (run.wake_at() or self.now + 1) <= self.now]
            due.sort(key=lambda run: (run.wake_at(), run.id))
            if not sum([self._wake(run) for run in due if run.live]):
                return

    def _wake(self, run: Run) -> bool:
        family = self._below(run)
        if run.grace is not None and run.grace <= self.now:
            self._end_grace(run)
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

    def _end_grace(self, run: Run) -> None:
        if run.stop == "timeout":
            self._end(run, "failed", "timeout", "timed_out", fence=True)
        else:
            self._end(run, "cancelled", "grace_over", "cancelled", fence=True)

    def stall(self, after: int) -> None:
        """Set aside what nobody took for so long."""
        for run in self.runs.values():
            if run.status == "queued" and (run.ready_at or 0) <= self.now - after:
                self.dead_letters.append(run.id)
                self._go(run, "stalled", "undeliverable")

    def forget(self) -> None:
        """Workers that left and answers that were kept are forgotten after a day."""
        before = self.now - DAY_MS
        self.kept = {id: kept for id, kept in self.kept.items() if kept.at >= before}
        self.workers = {
            name: worker
            for name, worker in self.workers.items()
            if worker.status == "alive" or worker.seen >= before
        }

    def retain(self) -> None:
        """Delete what ended long ago, once its parent has ended too."""
        keep = RETENTION_MS if self.retention is None else self.retention
        gone = [run for run in self.runs.values() if keep and self._expired(run, self.now - keep)]
        for run in gone:
            self._delete(run.id)
        if gone:
            self.forget()

    def _expired(self, run: Run, before: int) -> bool:
        parent = self.runs.get(run.parent or "")
        over = run.ended is not None and run.ended < before
        return over and (parent is None or not parent.live)

    def _delete(self, run_id: str) -> None:
        del self.runs[run_id]
        self._forget_letters(run_id)
        self.events = {id: event for id, event in self.events.items() if event[0] != run_id}
        self.keys = {key: id for key, id in self.keys.items() if key[0] != run_id}
        self.cancels = {id: run for id, run in self.cancels.items() if run != run_id}

    # What is kept

    def snapshot(self) -> dict[str, Any]:
        """Everything, in the shape in which the test reads the database."""
        workers = {
            name: (w.status, w.lease, w.seen, w.presence, w.suspect)
            for name, w in self.workers.items()
        }
        return {run.id: run.snapshot() for run in self.runs.values()} | {
            "dead letters": sorted(self.dead_letters),
            "workers": workers,
            "answers": set(self.kept),
            "retention": self.retention,
        }
