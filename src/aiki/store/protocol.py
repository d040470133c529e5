"""What a database must do for the engine: about fifty domain verbs over lists of records.

A verb that loads answers what exists; what is missing is left out. A verb that saves takes the
whole list in one statement. Everything inside one `transact` is one transaction: all of it is
durable when it returns, or nothing happened.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from aiki.clock import Instant
from aiki.model.audit import AuditRecord
from aiki.model.failure import Failure
from aiki.model.run import Run, Transition
from aiki.model.task import AttemptStatus, Decision, Divergence, Entry, Fact, TaskAttempt, Wait
from aiki.model.worker import DeadLetter, WorkerView, WorkflowSpec, WorkflowVersion
from aiki.operations.catalog import Backlog, Namespace
from aiki.operations.runs import RunQuery
from aiki.operations.work import ChildRef, Offer
from aiki.store.records import (
    Announcement,
    AttemptRow,
    Consumed,
    EntryRow,
    EventKey,
    Held,
    News,
    Opening,
    Page,
    Place,
    Ready,
    Reference,
    RunAttempt,
    Turn,
)

R = TypeVar("R")


class Transaction(Protocol):
    """One transaction's view of the database."""

    repeated: bool
    """An earlier try of the same work may have been committed: its answer was lost."""

    async def now(self) -> Instant:
        """The instant of this transaction; never goes back.

        Read once, and once more after rows were locked: whoever held them before saw an earlier
        instant.
        """
        ...

    async def signal(self, news: News) -> None:
        """Tell other processes, once this transaction commits."""
        ...

    # Runs

    async def load_runs(self, ids: Iterable[str]) -> list[Run]:
        """These runs, locked in the order of their ids where the database locks rows."""
        ...

    async def guard_runs(self, ids: Iterable[str]) -> list[Run]:
        """These runs; whoever changes one before this transaction is committed has it repeated.

        Cheaper than a lock over a network. It holds for the runs' rows and for what changes only
        together with them, their waits, but not for inboxes and children. A store may lock instead.
        """
        ...

    async def peek_runs(self, ids: Iterable[str]) -> list[Run]:
        """These runs, unlocked: to learn which others must be named before all are locked."""
        ...

    async def find_references(self, keys: Iterable[Reference]) -> dict[Reference, str]:
        """The ids of the runs that users named so."""
        ...

    async def insert_runs(self, runs: Sequence[Run]) -> None: ...

    async def update_states(self, runs: Sequence[Run]) -> None: ...

    async def insert_payloads(self, payloads: Sequence[tuple[str, str, bytes]]) -> None:
        """Rows of run id, kind (`input`, `output`, `failure`) and bytes; the last one stays."""
        ...

    async def load_payloads(self, ids: Iterable[str], kind: str) -> dict[str, bytes]: ...

    async def insert_transitions(self, transitions: Sequence[Transition]) -> None: ...

    async def load_transitions(self, run_id: str) -> list[Transition]: ...

    async def recent_transitions(
        self, namespace: str, since: Instant, limit: int
    ) -> list[tuple[str, Transition]]:
        """The namespace's transitions from an instant on, oldest first, with workflows' names."""
        ...

    async def descendants(self, ids: Iterable[str]) -> list[str]:
        """Unfinished children of these runs, their children, and so on."""
        ...

    async def due_runs(self, now: Instant, limit: int) -> list[str]:
        """Those to be looked at by now: the earliest first, at the same instant by their ids."""
        ...

    async def next_wake(self) -> Instant | None: ...

    async def list_runs(self, namespace: str, query: RunQuery, page: Page) -> list[str]: ...

    async def expired_runs(
        self, namespace: str, ended_before: Instant, limit: int
    ) -> list[str]: ...

    async def delete_runs(self, ids: Sequence[str]) -> None: ...

    # What a run recorded, waits for, and was told

    async def insert_entries(self, entries: Sequence[EntryRow]) -> None:
        """A number that is there already is the same entry, reported again: ignored."""
        ...

    async def load_entries(self, of: Iterable[RunAttempt]) -> dict[str, list[Entry]]: ...

    async def load_entry_page(
        self, run_id: str, attempt: int, from_number: int, limit: int
    ) -> list[Entry]: ...

    async def last_numbers(self, of: Iterable[RunAttempt]) -> dict[str, int]: ...

    async def save_attempts(self, attempts: Sequence[AttemptRow]) -> None: ...

    async def close_attempts(
        self, run_ids: Iterable[str], status: AttemptStatus, now: Instant
    ) -> None:
        """End every open attempt of these runs."""
        ...

    async def load_attempts(self, of: Iterable[RunAttempt]) -> dict[str, list[TaskAttempt]]: ...

    async def replace_waits(self, waits: dict[str, Sequence[Wait]]) -> None:
        """For each run: these waits instead of those it had."""
        ...

    async def load_waits(self, run_ids: Iterable[str]) -> dict[str, list[Wait]]: ...

    async def insert_facts(self, facts: Sequence[Fact]) -> None: ...

    async def load_facts(self, run_ids: Iterable[str]) -> dict[str, list[Fact]]:
        """What nobody has taken yet, oldest first."""
        ...

    async def find_facts(self, ids: Iterable[str]) -> list[Fact]: ...

    async def find_facts_by_key(self, keys: Iterable[EventKey]) -> dict[EventKey, Fact]: ...

    async def pushed_facts(self, namespace: str, incarnation: str) -> list[Fact]:
        """Untaken facts of the runs that this worker executes, oldest first."""
        ...

    async def consume_facts(self, consumed: Sequence[Consumed]) -> None: ...

    async def insert_children(self, children: Sequence[tuple[str, int, str, str]]) -> None:
        """Rows of parent id, parent attempt, call key and child id."""
        ...

    async def load_children(self, of: Iterable[RunAttempt]) -> dict[str, list[ChildRef]]: ...

    async def insert_decision(self, of: RunAttempt, decision: Decision, now: Instant) -> None: ...

    async def load_decisions(self, of: Iterable[RunAttempt]) -> dict[str, list[Decision]]: ...

    async def save_divergence(self, run_id: str, record: Divergence, now: Instant) -> None: ...

    async def load_divergence(self, run_id: str) -> Divergence | None: ...

    async def diverged_runs(self, namespace: str, spec: WorkflowSpec, limit: int) -> list[str]: ...

    # Work and workers

    async def insert_outbox(self, ready: Sequence[Ready]) -> None: ...

    async def delete_outbox(self, run_ids: Sequence[str]) -> None: ...

    async def pick_ready(
        self,
        namespace: str,
        offers: Sequence[Offer],
        shards: Sequence[str],
        limit: int,
        *,
        alone: bool = False,
    ) -> list[str]:
        """Ready runs that these offers serve: by priority, then by age; locked where rows are.

        What another transaction has locked is left out.
        Within a priority, those that the offered source advanced last go first. `alone`: those
        that must be executed alone, instead of the others.
        """
        ...

    async def any_alone(
        self, namespace: str, offers: Sequence[Offer], shards: Sequence[str]
    ) -> bool: ...

    async def count_ready(self, namespace: str, now: Instant) -> list[Backlog]:
        """How many runs of each queue are ready, by workflow, version and shard."""
        ...

    async def stale_outbox(self, ready_before: Instant, limit: int) -> list[str]: ...

    async def unpublished(
        self, after: str, ready_before: Instant, examined: int
    ) -> tuple[list[Announcement], str | None]:
        """Ready runs that no broker is known to have been told of, and where to go on.

        Looked at are so many rows of the outbox, however many there are, in the order of their
        runs' ids; None says that there are no more.
        """
        ...

    async def published(
        self, after: str, published_before: Instant, limit: int
    ) -> list[tuple[Announcement, Place]]:
        """Those that are still ready, in the order of their ids, after this one."""
        ...

    async def note_published(
        self, noted: Sequence[tuple[Announcement, Place]], now: Instant
    ) -> None:
        """Keep where these were announced; those that are not ready any more are left out."""
        ...

    async def forget_publications(self) -> None:
        """Drop those of runs that are not ready any more."""
        ...

    async def live_runs(self, ids: Sequence[str]) -> list[str]:
        """Those of these runs that are ready or being executed."""
        ...

    async def take_duty(self, name: str, holder: str, now: Instant, until: Instant) -> bool:
        """Have this duty until then, unless another holder has it now; so one has it at a time."""
        ...

    async def line_up(self, added: Mapping[str, int]) -> dict[str, int]:
        """Lock these lines until the end of the transaction, and lengthen them by so many.

        Answers the last sequence of each that was ever taken.
        """
        ...

    async def take_turns(self, turns: Sequence[Turn]) -> None: ...

    async def end_turns(self, run_ids: Sequence[str]) -> None: ...

    async def first_turns(self, lines: Sequence[str]) -> dict[str, str]:
        """The first run of each line that has any."""
        ...

    async def waiting_in_line(self, after: str, limit: int) -> list[str]:
        """Runs that wait for children while others may await their turn behind them; by id."""
        ...

    async def drop_lines(self, lines: Sequence[str]) -> None:
        """Forget these lines: they are locked, and empty."""
        ...

    async def claimed_by(self, namespace: str, incarnation: str, claim_id: str) -> list[str]: ...

    async def held_runs(self, namespace: str, incarnation: str) -> list[Held]: ...

    async def held_by_many(self, incarnations: Sequence[str], limit: int) -> list[str]: ...

    async def orphans(self, limit: int) -> list[str]:
        """Running runs whose worker is not alive."""
        ...

    async def save_worker(
        self, worker: WorkerView, offers: Sequence[Offer], shards: Sequence[str]
    ) -> None: ...

    async def renew_worker(
        self, namespace: str, incarnation: str, stuck: Sequence[str], now: Instant
    ) -> bool:
        """Begin its lease anew: it gave a sign of life. False for one unknown, or that has left."""
        ...

    async def open_claim(
        self,
        namespace: str,
        incarnation: str,
        claim_id: str,
        offers: Sequence[Offer],
        shards: Sequence[str],
    ) -> Opening | None:
        """Begin its lease anew by a claim, and lock the worker until the end of the transaction.

        The claim may have waited since its worker died: it clears no suspicion and revives nobody.
        None for a worker that is unknown, has left, or was lost.
        """
        ...

    async def stop_worker(self, namespace: str, incarnation: str) -> None:
        """It said goodbye."""
        ...

    async def see_worker(self, namespace: str, incarnation: str, presence: int) -> None:
        """Its streaming request number `presence` is open: nobody suspects it any more."""
        ...

    async def suspect_worker(
        self, namespace: str, incarnation: str, presence: int, now: Instant
    ) -> None:
        """Its streaming request closed without a goodbye; ignored if a later one is open."""
        ...

    async def silent_workers(self, now: Instant, suspect_before: Instant) -> list[str]:
        """Alive ones whose lease is over, or that are suspected since before an instant."""
        ...

    async def lose_workers(
        self, dead: Iterable[str], now: Instant, suspect_before: Instant
    ) -> list[str]:
        """Mark as lost those that are dead, and those that `silent_workers` would answer now."""
        ...

    async def alive_workers(self) -> dict[str, Instant]:
        """Incarnations with the ends of their leases."""
        ...

    async def list_workers(self, namespace: str) -> list[WorkerView]: ...

    async def expire_workers(self, seen_before: Instant) -> None: ...

    async def save_workflow_versions(
        self, namespace: str, specs: Sequence[WorkflowSpec], now: Instant
    ) -> None: ...

    async def retarget_outbox(self, namespace: str, specs: Sequence[WorkflowSpec]) -> None:
        """Offer to these sources what was offered to another source of the version alone."""
        ...

    async def load_workflow_versions(self, namespace: str) -> list[WorkflowVersion]: ...

    async def save_namespace(self, namespace: str, now: Instant) -> None:
        """Make it known; one that is known keeps what was chosen for it."""
        ...

    async def set_retention(self, namespace: str, retention_ms: int | None) -> None: ...

    async def load_namespaces(self) -> list[Namespace]: ...

    async def save_answer(
        self, namespace: str, command_id: str, answer: bytes, now: Instant
    ) -> None:
        """Keep the answer to a command, to give it again; there must be none yet."""
        ...

    async def load_answer(self, namespace: str, command_id: str) -> bytes | None: ...

    async def expire_answers(self, before: Instant) -> None: ...

    async def insert_audit(self, records: Sequence[AuditRecord]) -> None: ...

    async def insert_dead_letters(self, letters: Sequence[DeadLetter]) -> None: ...

    async def load_dead_letters(self, ids: Sequence[str]) -> list[DeadLetter]:
        """Those of these ids that exist."""
        ...

    async def delete_dead_letters(self, ids: Sequence[str]) -> None: ...

    async def delete_letters_of(self, run_ids: Sequence[str]) -> None:
        """Delete the letters about these runs."""
        ...

    async def expire_letters(self, before: Instant) -> None:
        """Delete older letters that are about no run; the others go with their runs."""
        ...

    async def list_dead_letters(
        self, namespace: str, before: str | None, limit: int
    ) -> list[DeadLetter]:
        """Newest first; with `before` those that follow this letter."""
        ...

    async def load_failures(self, ids: Iterable[str]) -> dict[str, Failure]: ...


Work = Callable[[Transaction], Awaitable[R]]


class Store(Protocol):
    """A database that keeps runs."""

    name: str
    schema_version: int
    shared: bool
    """Other hosts may use the same database: nothing local proves that a worker is dead."""

    @property
    def statements_executed(self) -> int:
        """Statements so far, transaction brackets included: what benchmarks and tests count."""
        ...

    async def open(self) -> None:
        """Connect, and bring the schema up to date."""
        ...

    async def close(self) -> None: ...

    async def transact(self, work: Work[R]) -> R:
        """Run `work` in one write transaction; the whole of it is repeated on transient errors.

        Raises `StoreUnavailable` when the database cannot answer in time.
        """
        ...

    async def read(self, work: Work[R]) -> R:
        """Run `work` on one consistent snapshot; it must not write."""
        ...

    async def glance(self, work: Work[R]) -> R:
        """Like `read`, but each statement sees what is committed when it begins: no snapshot is
        made, which saves a network its round trips. For looks after which one looks again.
        """
        ...

    async def browse(self, work: Work[R]) -> R:
        """Like `read`, but a replica may answer, a moment behind: for lists that people read."""
        ...

    async def wait_for_news(self, waiting: Callable[[], bool]) -> News:
        """Return when other processes may have committed something: soon where they tell, after
        a pause where they have to be asked; the pause is short while anybody is `waiting` here.
        """
        ...

    async def shift_clock(self, milliseconds: int) -> None:
        """Move the database's clock; only tests may."""
        ...

    async def announce(self, incarnation: str) -> None:
        """Prove, by something that ends with this process, that the incarnation lives."""
        ...

    async def withdraw(self, incarnation: str) -> None:
        """End the proof; of an incarnation that is dead, forget it."""
        ...

    async def dead(self, incarnations: Iterable[str]) -> list[str]:
        """Those of them whose process is provably gone."""
        ...
