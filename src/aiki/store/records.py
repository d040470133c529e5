"""Records that only the engine and its stores exchange: keys, rows of the outbox, and news."""

from __future__ import annotations

import enum
from typing import Literal, NamedTuple

from aiki.clock import Instant
from aiki.model.run import Run
from aiki.model.task import Entry, TaskAttempt

RunAttempt = tuple[str, int]
"""A run's id and the number of its attempt."""


class News(enum.Flag):
    """What a transaction changed that other processes may wait for."""

    READY = enum.auto()
    """Runs became ready, and nobody took them yet."""
    RUNS = enum.auto()
    """Runs made a transition."""
    FACTS = enum.auto()
    """Runs that are executed were told something, or their claims were lost."""


NO_NEWS = News(0)
ALL_NEWS = News.READY | News.RUNS | News.FACTS


class Reference(NamedTuple):
    """A user's own name for a run: unique in its namespace and workflow."""

    namespace: str
    workflow: str
    reference_id: str


class EventKey(NamedTuple):
    """A sender's key: the same key is the same event."""

    run_id: str
    name: str
    key: str


class Ready(NamedTuple):
    """A run that may be claimed: its row in the outbox."""

    run: Run
    ready_at: Instant
    alone: bool
    fingerprint: str | None = None
    """Offered only to workers with this source."""


class Announcement(NamedTuple):
    """What a broker is told of a ready run."""

    run_id: str
    namespace: str
    workflow: str
    version: str
    shard: str
    ready_at: Instant
    """Tells this time that the run is ready from others."""


class Place(NamedTuple):
    """Where an announcement went: the broker's id of the message, and of the broker's data."""

    entry: str
    incarnation: str
    published_at: Instant = 0


class Turn(NamedTuple):
    """An unfinished run's place in the line of its ordering key."""

    run_id: str
    line: str
    sequence: int


class Held(NamedTuple):
    """A run that the database shows as claimed."""

    run_id: str
    epoch: int
    claim_id: str | None
    claimed_at: Instant | None = None


class Opening(NamedTuple):
    """What a claim meets before anything is picked for it."""

    now: Instant
    granted: list[str]
    """Runs that were granted before under its id, and are still executed."""
    alone_waiting: bool
    """Whether one is ready that must be executed alone."""


class EntryRow(NamedTuple):
    """An entry and the run's attempt that it belongs to."""

    run_id: str
    attempt: int
    entry: Entry


class AttemptRow(NamedTuple):
    """A task attempt and the run's attempt that it belongs to."""

    run_id: str
    attempt: int
    record: TaskAttempt


class Consumed(NamedTuple):
    """A fact that an entry takes."""

    number: int
    attempt: int
    fact_id: str
    run_id: str


class Page(NamedTuple):
    """Which part of a list."""

    limit: int
    cursor: str | None = None
    """Id of the last run of the page before."""
    order: Literal["newest", "oldest"] = "newest"
