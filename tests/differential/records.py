"""What the oracle keeps: runs, facts and workers in plain classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Answer = tuple[str, Any]
"""`ok` and a body, or the name of an error and None."""
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
class Start:
    """One run to start."""

    id: str
    content: bytes = b"{}"
    reference: str | None = None
    existing: bool = False
    delay: int = 0
    timeout: int | None = None
    priority: int = 0

    @property
    def nameless(self) -> tuple[Any, ...]:
        """What is asked for, whatever the run's id."""
        return (self.content, self.reference, self.existing, self.delay, self.timeout,
                self.priority)  # fmt: skip


@dataclass
class Event:
    """One event to send."""

    id: str
    run_id: str
    name: str
    value: bytes
    key: str | None

    @property
    def nameless(self) -> tuple[Any, ...]:
        """What is asked for, whatever the event's id."""
        return self.run_id, self.name, self.value, self.key


@dataclass
class Query:
    """Which runs: every given field must match."""

    status: tuple[str, ...] = ()
    reference: str | None = None
    parent: str | None = None
    after: int | None = None
    before: int | None = None

    def matches(self, run: Run) -> bool:
        wanted = [
            not self.status or run.status in self.status,
            self.reference is None or run.reference == self.reference,
            self.parent is None or run.parent == self.parent,
            self.after is None or run.born >= self.after,
            self.before is None or run.born < self.before,
        ]
        return all(wanted)


@dataclass
class Worker:
    """A worker as the server knows it."""

    status: str
    lease: int
    seen: int
    presence: int = 0
    suspect: int | None = None


@dataclass
class Kept:
    """The answer to a command, what was asked, and when."""

    asked: Any
    answer: Any
    at: int


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
    ended: int | None = None
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

    def snapshot(self) -> dict[str, Any]:
        """Everything, in the shape in which the test reads the database."""
        parked = self.status in ("waiting", "paused") or not self.live
        return {
            "state": (self.status, self.attempt, self.epoch, self.holder, self.losses,
                      self.alone_losses, self.pausing, self.stop, self.stop_heard, self.retrying,
                      self.due, self.deadline, self.grace, self.ended),
            "history": self.history,
            "waits": sorted(self.waits, key=str) if parked else None,
            "inbox": facts_of(self),
            "entries": sorted((a, n) for a, numbers in self.entries.items() for n in numbers),
            "tasks": self.tasks,
            "children": self.children,
            "ready": None if self.ready_at is None else (self.ready_at, self.alone),
            "result": self.result,
        }  # fmt: skip


def facts_of(run: Run) -> list[tuple[int, str, str]]:
    """What is in the inbox, oldest first."""
    return sorted((fact.at, fact.kind, fact.name) for fact in run.inbox)
