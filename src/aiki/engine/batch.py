"""A batch: what one transaction has loaded, decided and is going to save.

Handlers first add the rows that they may touch to `Names`; the batch loads the union once. They
then decide in memory, one after the other, and `flush` saves all of it with one statement a kind.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from aiki.clock import Instant
from aiki.ids import new_id
from aiki.machine import Command, Wake, decide, is_alone
from aiki.model.audit import AuditRecord, Principal
from aiki.model.failure import ChildEnded, Failure, encode_failure
from aiki.model.run import TERMINAL, Run, RunState, Transition
from aiki.model.task import Decision, Divergence, Fact, Wait
from aiki.model.worker import DeadLetter
from aiki.store.protocol import Transaction
from aiki.store.records import (
    NO_NEWS,
    Announcement,
    AttemptRow,
    Consumed,
    EntryRow,
    EventKey,
    Held,
    News,
    Ready,
    Reference,
)

_replace = msgspec.structs.replace


class Names:
    """The rows that a batch may touch."""

    def __init__(self) -> None:
        self.runs: set[str] = set()
        self.references: set[Reference] = set()
        self.inboxes: set[str] = set()
        self.waits: set[str] = set()
        self.facts: set[str] = set()
        self.event_keys: set[EventKey] = set()


class Batch:
    """The unit of work of one transaction; also tells afterwards whom to wake."""

    def __init__(self, tx: Transaction) -> None:
        self.tx = tx
        self.now: Instant = 0
        """Of the decisions: read after the rows were locked. To name rows, ask `tx.now()`."""
        self.names = Names()
        self.runs: dict[str, Run] = {}
        self.references: dict[Reference, str] = {}
        self.inboxes: dict[str, list[Fact]] = {}
        self.waits: dict[str, Sequence[Wait]] = {}
        self.facts: dict[str, Fact] = {}
        self.event_keys: dict[EventKey, Fact] = {}
        self.families: dict[str, list[str]] = {}
        self._origins: dict[str, Sequence[str]] = {}
        self.divergences: dict[str, Divergence] = {}
        self.matched: dict[str, list[str]] = {}
        """Runs that a filter matched, by the command that asked."""
        self.ancestors: dict[str, list[Run]] = {}
        """The unfinished runs above those that start children with an ordering key."""
        self.originals: dict[str, bytes] = {}
        """Inputs of runs that are to be rerun."""
        self.answers: dict[tuple[str, str], bytes] = {}
        """Answers to operators' bulk calls, by namespace and command."""
        self.held: dict[str, list[Held]] = {}
        self.alive: set[str] = set()
        self.gone: set[str] = set()
        """Workers that this batch finds lost: their waiting claims must be asked anew."""
        self.left: set[tuple[str, str]] = set()
        """Workers that say goodbye in this batch: their claims are given nothing any more."""
        self.stale: set[str] = set()
        self.results: dict[str, bytes | Failure] = {}
        self.letters: dict[str, DeadLetter] = {}
        """Dead letters that are to be redriven."""
        self.circles: list[Sequence[Run]] = []
        """Runs that wait for each other, as they were found."""
        self.again: set[str] = set()
        """Ready runs that did not change, and are to be announced again."""
        self.inputs: dict[str, bytes] = {}
        """Of the runs that begin in this batch."""
        self.changed: set[str] = set()
        self.touched: set[str] = set()
        """Runs with another state, with a transition or without: their dues may have changed."""
        self.readied: set[tuple[str, str, str, str]] = set()
        self.told: set[str] = set()
        self.lost: set[str] = set()
        self._clear()

    def _clear(self) -> None:
        self._born: list[str] = []
        self._dirty: dict[str, None] = {}
        self.entries: list[EntryRow] = []
        self.attempts: list[AttemptRow] = []
        self._transitions: list[Transition] = []
        self._payloads: list[tuple[str, str, bytes]] = []
        self._new_facts: list[Fact] = []
        self._consumed: list[Consumed] = []
        self._new_waits: dict[str, Sequence[Wait]] = {}
        self._children: list[tuple[str, int, str, str]] = []
        self._queued: dict[str, Ready] = {}
        self._unqueued: list[str] = []
        self._audit: list[AuditRecord] = []
        self._new_answers: list[tuple[str, str, bytes]] = []
        self._retentions: dict[str, int | None] = {}
        self._dead_letters: list[DeadLetter] = []
        self._dropped_letters: list[str] = []
        self._delivered: list[str] = []
        self._decisions: list[tuple[str, int, Decision]] = []
        self._divergences: list[tuple[str, Divergence]] = []
        self._discarded: list[str] = []
        self.deleted: list[str] = []

    async def load(self) -> None:
        """Load what was named, each kind with one statement."""
        names, tx = self.names, self.tx
        if names.references:
            self.references = await tx.find_references(names.references)
            names.runs.update(self.references.values())
        if names.runs:
            # An inbox and a family change without their run's row: they are read under its lock.
            locked = names.inboxes or self._origins
            load = tx.load_runs if locked else tx.guard_runs
            self.runs = {run.id: run for run in await load(sorted(names.runs))}
            await self._complete_families()
        self.now = await tx.now()
        if names.inboxes:
            self.inboxes = await tx.load_facts(sorted(names.inboxes))
        if names.waits:
            self.waits.update(await tx.load_waits(sorted(names.waits)))
        if names.facts:
            self.facts = {fact.id: fact for fact in await tx.find_facts(names.facts)}
        if names.event_keys:
            self.event_keys = await tx.find_facts_by_key(names.event_keys)

    async def name_family(self, key: str, origins: Sequence[str] = ()) -> None:
        """Name a run, its unfinished descendants, and the parents that their ends would tell.

        With `origins` these runs instead, as one family under the key.
        """
        self._origins[key] = origins or (key,)
        everyone = await self._family(key)
        self.names.runs |= everyone
        self.names.waits |= everyone

    async def _family(self, key: str) -> set[str]:
        origins = self._origins[key]
        below = await self.tx.descendants(origins)
        self.families[key] = below
        family = {*origins, *below}
        parents = {run.parent_id for run in await self.tx.peek_runs(sorted(family))}
        return family | {parent for parent in parents if parent is not None}

    async def _complete_families(self) -> None:
        """Children that were started before their parent was locked belong to its family too."""
        for key in self._origins:
            while missing := (await self._family(key)) - self.names.runs:
                self.names.runs |= missing
                self.names.waits |= missing
                for run in await self.tx.load_runs(sorted(missing)):
                    self.runs[run.id] = run

    # Decisions

    def add_run(self, run: Run, input: bytes, key: str | None = None) -> None:
        """A run that begins; `key` is the call of its parent."""
        self.runs[run.id] = run
        self.touched.add(run.id)
        self._born.append(run.id)
        self._payloads.append((run.id, "input", input))
        self.inputs[run.id] = input
        if run.reference_id is not None:
            reference = Reference(run.namespace, run.workflow, run.reference_id)
            self.references[reference] = run.id
        if key is not None and run.parent_id is not None:
            self._children.append((run.parent_id, run.parent_attempt, key, run.id))
            for origin, below in self.families.items():
                if run.parent_id == origin or run.parent_id in below:
                    below.append(run.id)
        self._note(run, "new")
        if run.state.status == "queued":
            self._queue(run, None)

    def move(self, run: Run, command: Command, *, fingerprint: str | None = None) -> Run:
        """Take a run through the state machine; answers it in its next state."""
        before = run.state
        after, reason = decide(before, command, self.now)
        if after is before:
            return run
        run = self.set_state(run, after)
        if reason is not None:
            self._note(run, reason)
            self._route(run, before, fingerprint)
        return run

    def set_state(self, run: Run, state: RunState) -> Run:
        """The run with another state, to be saved."""
        run = _replace(run, state=state)
        self.runs[run.id] = run
        self.touched.add(run.id)
        self._dirty[run.id] = None
        return run

    def _note(self, run: Run, reason: str) -> None:
        state = run.state
        self.changed.add(run.id)
        self._transitions.append(
            Transition(
                run.id,
                state.revision,
                state.status,
                reason,
                self.now,
                state.attempt,
                state.epoch,
                state.holder,
            )
        )

    def _route(self, run: Run, before: RunState, fingerprint: str | None) -> None:
        status = run.state.status
        if status == "queued":
            self._queue(run, fingerprint)
        elif before.status == "queued":
            if self._queued.pop(run.id, None) is None:
                self._unqueued.append(run.id)
        if before.status == "running" and run.state.epoch != before.epoch and before.holder:
            self.lost.add(before.holder)

    def _queue(self, run: Run, fingerprint: str | None) -> None:
        self._queued[run.id] = Ready(run, self.now, is_alone(run.state), fingerprint)
        self.readied.add((run.namespace, run.workflow, run.version, run.shard))

    def newborn_ready(self) -> list[Run]:
        """Runs that begin in this batch and may be claimed, in the order of their claims."""
        ready = [self.runs[run_id] for run_id in self._queued if run_id in self.inputs]
        return sorted(ready, key=lambda run: -run.priority) if len(ready) > 1 else ready

    def end(self, run: Run, result: bytes | Failure) -> None:
        """Keep the result of a run that has just ended, and tell its parent."""
        if isinstance(result, bytes):
            self._payloads.append((run.id, "output", result))
        else:
            self._payloads.append((run.id, "failure", encode_failure(result)))
            self._discarded.append(run.id)
        self.results[run.id] = result
        self._new_waits[run.id] = self.waits[run.id] = ()
        self._tell_parent(run, result)

    def _tell_parent(self, run: Run, result: bytes | Failure) -> None:
        if run.parent_id is None:
            return
        parent = self.runs.get(run.parent_id)
        if parent is None and run.parent_id not in self.names.runs:
            # It would wait for ever; the batch fails instead, and nothing of it is saved.
            raise RuntimeError(f"run {run.id} ends in a batch that does not name its parent")
        if parent is None or parent.state.status in TERMINAL:
            return
        if parent.state.attempt != run.parent_attempt:
            return
        value, failure = (result, None) if isinstance(result, bytes) else (None, result)
        if failure is not None and not isinstance(failure, ChildEnded):
            failure = ChildEnded(run.workflow, run.id, run.state.status, failure)
        elif failure is not None:
            failure = ChildEnded(run.workflow, run.id, run.state.status, failure.cause)
        self.add_fact(parent, Fact(new_id(), parent.id, "child", run.id, self.now, value, failure))

    def add_fact(self, run: Run, fact: Fact) -> Run:
        """Put a fact into a run's inbox, and wake the run if it waits for that."""
        self._new_facts.append(fact)
        self.facts[fact.id] = fact
        if fact.key is not None:
            self.event_keys[EventKey(fact.run_id, fact.name, fact.key)] = fact
        self.inboxes.setdefault(run.id, []).append(fact)
        status = run.state.status
        if status == "running" and run.state.holder:
            self.told.add(run.state.holder)
        elif status == "waiting" and any(
            wait.kind == fact.kind and wait.name == fact.name for wait in self.waits.get(run.id, ())
        ):
            run = self.move(run, Wake(fact.kind))
        return run

    def consume(self, run: Run, fact_id: str, number: int) -> None:
        """An entry takes a fact out of the inbox."""
        self._consumed.append(Consumed(number, run.state.attempt, fact_id, run.id))
        inbox = self.inboxes.get(run.id)
        if inbox:
            inbox[:] = [fact for fact in inbox if fact.id != fact_id]

    def set_waits(self, run: Run, waits: Sequence[Wait]) -> None:
        """What a parked run waits for."""
        self._new_waits[run.id] = self.waits[run.id] = waits

    def discard_attempts(self, run: Run) -> None:
        """Open attempts of this run will not be continued."""
        self._discarded.append(run.id)

    def add_audit(self, principal: Principal, operation: str, object_id: str, detail: str) -> None:
        """Note who did what."""
        self._audit.append(
            AuditRecord(
                new_id(),
                self.now,
                principal.namespace,
                principal.name,
                operation,
                object_id,
                detail,
            )
        )

    def add_answer(self, namespace: str, command_id: str, answer: bytes) -> None:
        """Keep the answer to a bulk call, to give it again."""
        self.answers[namespace, command_id] = answer
        self._new_answers.append((namespace, command_id, answer))

    def set_retention(self, namespace: str, retention_ms: int | None) -> None:
        """How long a namespace keeps its ended runs."""
        self._retentions[namespace] = retention_ms

    def add_dead_letter(self, run: Run, reason: str, detail: str) -> None:
        """Keep what could not be delivered."""
        self._dead_letters.append(
            DeadLetter(
                id=new_id(),
                namespace=run.namespace,
                run_id=run.id,
                reason=reason,
                at=self.now,
                detail=detail,
            )
        )

    def drop_dead_letter(self, letter: DeadLetter) -> None:
        """It was delivered after all."""
        del self.letters[letter.id]
        self._dropped_letters.append(letter.id)

    def drop_letters_of(self, run: Run) -> None:
        """It was delivered after all, by another way than its letters."""
        self._delivered.append(run.id)

    def add_decision(self, run: Run, decision: Decision) -> None:
        """An operator's answer to a divergence."""
        self._decisions.append((run.id, run.state.attempt, decision))

    def add_divergence(self, run: Run, divergence: Divergence) -> None:
        """Where code and records part."""
        self._divergences.append((run.id, divergence))

    # Saving

    def news(self) -> News:
        """What other processes may wait for."""
        news = NO_NEWS
        if self.leaves_ready:
            news |= News.READY
        if self.changed:
            news |= News.RUNS
        if self.told or self.lost or self.gone:
            news |= News.FACTS
        return news

    def announcements(self) -> list[Announcement]:
        """What this batch leaves ready, for a broker, in the order of its readiness."""
        ready = [
            self.runs[run_id]
            for run_id in self.changed | self.again
            if run_id in self.runs and self.runs[run_id].state.status == "queued"
        ]
        ready.sort(key=lambda run: run.id)
        return [
            Announcement(run.id, run.namespace, run.workflow, run.version, run.shard, self.now)
            for run in ready
        ]

    @property
    def leaves_ready(self) -> bool:
        """Whether runs became ready that nobody was given."""
        return any(
            run_id in self.runs and self.runs[run_id].state.status == "queued"
            for run_id in self.changed
        )

    async def flush(self) -> None:
        """Save everything decided so far, each kind with one statement."""
        await self._flush_runs()
        await self._flush_memo()
        await self._flush_rest()
        self._clear()

    async def _flush_runs(self) -> None:
        tx = self.tx
        if self._born:
            await tx.insert_runs([self.runs[run_id] for run_id in self._born])
        for run_id in self._born:
            self._dirty.pop(run_id, None)
        dirty = [self.runs[run_id] for run_id in self._dirty]
        if dirty:
            await tx.update_states(dirty)
        if self._transitions:
            await tx.insert_transitions(self._transitions)
        if self._payloads:
            await tx.insert_payloads(self._payloads)
        if self._unqueued:
            await tx.delete_outbox(self._unqueued)
        if self._queued:
            await tx.insert_outbox(list(self._queued.values()))

    async def _flush_memo(self) -> None:
        tx = self.tx
        if self.entries:
            await tx.insert_entries(self.entries)
        if self.attempts:
            await tx.save_attempts(self.attempts)
        if self._discarded:
            await tx.close_attempts(self._discarded, "discarded", self.now)
        if self._new_facts:
            await tx.insert_facts(self._new_facts)
        if self._consumed:
            await tx.consume_facts(self._consumed)
        if self._new_waits:
            await tx.replace_waits(self._new_waits)
        if self._children:
            await tx.insert_children(self._children)

    async def _flush_rest(self) -> None:
        tx = self.tx
        if self._audit:
            await tx.insert_audit(self._audit)
        if self._dead_letters:
            await tx.insert_dead_letters(self._dead_letters)
        if self._dropped_letters:
            await tx.delete_dead_letters(self._dropped_letters)
        if self._delivered:
            await tx.delete_letters_of(self._delivered)
        for namespace, retention_ms in self._retentions.items():
            await tx.set_retention(namespace, retention_ms)
        for namespace, command_id, answer in self._new_answers:
            await tx.save_answer(namespace, command_id, answer, self.now)
        for run_id, attempt, decision in self._decisions:
            await tx.insert_decision((run_id, attempt), decision, self.now)
        if self.deleted:
            await tx.delete_runs(self.deleted)
        for run_id, divergence in self._divergences:
            await tx.save_divergence(run_id, divergence, self.now)
