"""The journal of a claimed run: what is to be reported, and how much of it is on record.

Every change has a number. What leaves the run because of changes waits until the report that covers
them was acknowledged: `gate` is the number to wait for, `is_open` tells whether it was reached.
"""

from __future__ import annotations

import logging
from collections import deque

from aiki.ids import new_id
from aiki.model.task import Entry, TaskAttempt
from aiki.operations.runs import StartRun
from aiki.operations.work import ClaimedRun, Ending, EventSend, RunReport, StopRequest


class Journal:
    """Collects what happened since the last report."""

    def __init__(self) -> None:
        self._changes = 0
        self._reported = 0
        self._recorded = 0
        self._logs: deque[tuple[int, logging.LogRecord]] = deque()
        self.clear()

    def clear(self) -> None:
        """Forget what was not reported."""
        self._entries: list[Entry] = []
        self._attempts: list[TaskAttempt] = []
        self._children: list[tuple[str, StartRun]] = []
        self._sends: list[EventSend] = []
        self._stops: list[StopRequest] = []

    def add_entry(self, entry: Entry) -> None:
        """A fact was numbered."""
        self._entries.append(entry)
        self._changes += 1

    def add_attempt(self, record: TaskAttempt) -> None:
        """A task attempt began or ended."""
        self._attempts.append(record)
        self._changes += 1

    def add_child(self, key: str, start: StartRun) -> None:
        """A child is to be started."""
        self._children.append((key, start))
        self._changes += 1

    @property
    def has_children(self) -> bool:
        """Whether children are to be started of which the server was not told."""
        return bool(self._children)

    def add_effect(self, effect: EventSend | StopRequest) -> None:
        """Something is to be told to another run."""
        if isinstance(effect, EventSend):
            self._sends.append(effect)
        else:
            self._stops.append(effect)
        self._changes += 1

    @property
    def gate(self) -> int:
        """The number of the last change."""
        return self._changes

    def is_open(self, gate: int) -> bool:
        """Whether everything up to this change is on record."""
        return gate <= self._recorded

    @property
    def unreported(self) -> bool:
        """Whether there is anything to report."""
        return self._changes > self._reported

    def report(self, claim: ClaimedRun, ending: Ending | None) -> RunReport:
        """Everything since the last report, with the run's end if it has one."""
        report = RunReport(
            run_id=claim.id,
            epoch=claim.epoch,
            attempt=claim.attempt,
            parent_id=claim.parent_id,
            entries=tuple(self._entries),
            attempts=tuple(self._attempts),
            children=tuple(start for _, start in self._children),
            child_keys=tuple(key for key, _ in self._children),
            sends=tuple(self._sends),
            stops=tuple(self._stops),
            ending=ending,
            command_id=new_id() if ending is not None else None,
        )
        self.clear()
        self._reported = self._changes
        return report

    @property
    def reported(self) -> int:
        """The number of the last change that was reported."""
        return self._reported

    def acknowledge(self, reported: int) -> None:
        """Changes up to this one are on record: log lines that follow from them may leave."""
        self._recorded = reported
        self.flush_logs()

    def keep_log(self, record: logging.LogRecord) -> None:
        """A line waits for the record of what it follows from."""
        self._logs.append((self._changes, record))

    def flush_logs(self) -> None:
        """Let lines go that wait for nothing."""
        while self._logs and self._logs[0][0] <= self._recorded:
            record = self._logs.popleft()[1]
            logging.getLogger(record.name).handle(record)
