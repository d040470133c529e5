"""Tasks and entries: what a run did, what came of it, and what it waits for."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from aiki.clock import Instant
from aiki.model.failure import Failure

EntryKind = Literal["task", "timer", "event", "child", "cancel", "effect"]
AttemptStatus = Literal["running", "completed", "failed", "lost", "discarded"]
WaitKind = Literal["event", "timer", "child", "task_retry", "run_retry"]
FactKind = Literal["cancel", "event", "child"]


class Key(NamedTuple):
    """A call's identity within one attempt of a run: what was asked, and how often before."""

    address: str
    """Name and hash of the arguments as passed: `charge:5f3a...`."""
    ordinal: int
    """How many calls at this address the run had made before."""

    def __str__(self) -> str:
        return f"{self.address}#{self.ordinal}"

    @property
    def name(self) -> str:
        """The task or the child workflow that was called."""
        return self.address.rpartition(":")[0].removeprefix("child:")


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A recorded fact of a run; numbered 1 upwards without gaps by the holder of the claim."""

    number: int
    kind: EntryKind
    address: str
    ordinal: int
    at: Instant
    """The holder's bound of the database instant; the run's clock once it is delivered."""
    name: str = ""
    value: bytes | None = None
    failure: Failure | None = None
    fact_id: str | None = None
    """The inbox fact that this entry takes."""
    due_at: Instant | None = None
    """Of a timer: never recorded before."""
    task_attempt: int = 0
    started_at: Instant | None = None
    epoch: int = 0
    arguments: bytes | None = None
    """Of a task or child: canonical, as they made the address."""

    @property
    def size(self) -> int:
        """Bytes of the recorded value."""
        return len(self.value or b"")

    @property
    def key(self) -> Key:
        """The call that this entry answers."""
        return Key(self.address, self.ordinal)


class TaskAttempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One execution of a task: its start, and how it ended."""

    address: str
    ordinal: int
    name: str
    number: int
    """1 for the first try."""
    status: AttemptStatus
    started_at: Instant
    ended_at: Instant | None = None
    due_at: Instant | None = None
    """When the next attempt may start."""
    failure: Failure | None = None
    epoch: int = 0
    at_most_once: bool = False

    @property
    def key(self) -> Key:
        """The call that this attempt serves."""
        return Key(self.address, self.ordinal)


class Wait(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that makes a parked run ready: an event's name, a child's id, or a due."""

    kind: WaitKind
    name: str
    due_at: Instant | None = None


class Fact(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something from outside, in a run's inbox; unnumbered until a claim holder takes it."""

    id: str
    run_id: str
    kind: FactKind
    name: str
    at: Instant
    value: bytes | None = None
    failure: Failure | None = None
    key: str | None = None
    """Given by the sender: the same key is the same fact."""


FACT_ORDER: dict[str, int] = {"cancel": 0, "event": 1, "child": 2, "timer": 3}
"""Among facts of one instant."""


class Decision(msgspec.Struct, frozen=True):
    """An operator's answer to a divergence; appended, never edited."""

    kind: Literal["waive", "retry"]
    numbers: tuple[int, ...] = ()
    """Entries that replay leaves out."""
    starts: tuple[str, ...] = ()
    """Calls that were started, and that replay does not expect any more."""


class Divergence(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the code and the records part: what was not reached, and what was asked for instead."""

    left: tuple[str, ...]
    asked: tuple[str, ...]
    left_numbers: tuple[int, ...] = ()
    left_starts: tuple[str, ...] = ()
    diff: str = ""
    fingerprint: str = ""

    def describe(self) -> str:
        """One line for people."""
        left, asked = ", ".join(self.left), ", ".join(self.asked)
        return f"recorded but not asked for: {left}; asked for: {asked}"
