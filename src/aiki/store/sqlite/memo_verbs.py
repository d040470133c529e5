"""SQLite's verbs on what a run recorded, waits for, and was told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from aiki.clock import Instant
from aiki.model.task import AttemptStatus, Decision, Divergence, Entry, Fact, TaskAttempt, Wait
from aiki.model.worker import WorkflowSpec
from aiki.operations.work import ChildRef
from aiki.store.records import AttemptRow, Consumed, EntryRow, EventKey, RunAttempt
from aiki.store.sqlite import rows
from aiki.store.sqlite.run_verbs import RunVerbs


class MemoVerbs(RunVerbs):
    """Verbs whose nouns are entry, attempt, wait, fact, child and decision."""

    async def insert_entries(self, entries: Sequence[EntryRow]) -> None:
        self._sql.many("insert_entries", [rows.entry_row(*row) for row in entries])

    async def load_entries(self, of: Iterable[RunAttempt]) -> dict[str, list[Entry]]:
        found: defaultdict[str, list[Entry]] = defaultdict(list)
        for row in self._sql.rows("load_entries", rows.ids_json(of)):
            found[row[0]].append(rows.entry_from(row))
        return found

    async def load_entry_page(
        self, run_id: str, attempt: int, from_number: int, limit: int
    ) -> list[Entry]:
        found = self._sql.rows("load_entry_page", run_id, attempt, from_number, limit)
        return [rows.entry_from(row) for row in found]

    async def last_numbers(self, of: Iterable[RunAttempt]) -> dict[str, int]:
        found = self._sql.rows("last_numbers", rows.ids_json(of))
        return {run_id: number or 0 for run_id, number in found}

    async def save_attempts(self, attempts: Sequence[AttemptRow]) -> None:
        self._sql.many("save_attempts", [rows.attempt_row(*row) for row in attempts])

    async def close_attempts(
        self, run_ids: Iterable[str], status: AttemptStatus, now: Instant
    ) -> None:
        self._sql.run("close_attempts", status, now, rows.ids_json(run_ids))

    async def load_attempts(self, of: Iterable[RunAttempt]) -> dict[str, list[TaskAttempt]]:
        found: defaultdict[str, list[TaskAttempt]] = defaultdict(list)
        for row in self._sql.rows("load_attempts", rows.ids_json(of)):
            found[row[0]].append(rows.attempt_from(row))
        return found

    async def replace_waits(self, waits: dict[str, Sequence[Wait]]) -> None:
        self._sql.run("delete_waits", rows.ids_json(waits))
        inserts = [(id, w.kind, w.name, w.due_at) for id, ws in waits.items() for w in ws]
        if inserts:
            self._sql.many("insert_waits", inserts)

    async def load_waits(self, run_ids: Iterable[str]) -> dict[str, list[Wait]]:
        found: defaultdict[str, list[Wait]] = defaultdict(list)
        for run_id, kind, name, due_at in self._sql.rows("load_waits", rows.ids_json(run_ids)):
            found[run_id].append(Wait(kind, name, due_at))
        return found

    async def insert_facts(self, facts: Sequence[Fact]) -> None:
        self._sql.many("insert_facts", [rows.fact_row(fact) for fact in facts])

    async def load_facts(self, run_ids: Iterable[str]) -> dict[str, list[Fact]]:
        found: defaultdict[str, list[Fact]] = defaultdict(list)
        for row in self._sql.rows("load_facts", rows.ids_json(run_ids)):
            found[row[1]].append(rows.fact_from(row))
        return found

    async def find_facts(self, ids: Iterable[str]) -> list[Fact]:
        return [rows.fact_from(row) for row in self._sql.rows("find_facts", rows.ids_json(ids))]

    async def find_facts_by_key(self, keys: Iterable[EventKey]) -> dict[EventKey, Fact]:
        facts = map(rows.fact_from, self._sql.rows("find_facts_by_key", rows.ids_json(keys)))
        return {EventKey(fact.run_id, fact.name, fact.key or ""): fact for fact in facts}

    async def pushed_facts(self, namespace: str, incarnation: str) -> list[Fact]:
        found = self._sql.rows("pushed_facts", namespace, incarnation)
        return [rows.fact_from(row) for row in found]

    async def consume_facts(self, consumed: Sequence[Consumed]) -> None:
        self._sql.many("consume_facts", consumed)

    async def insert_children(self, children: Sequence[tuple[str, int, str, str]]) -> None:
        self._sql.many("insert_children", children)

    async def load_children(self, of: Iterable[RunAttempt]) -> dict[str, list[ChildRef]]:
        found: defaultdict[str, list[ChildRef]] = defaultdict(list)
        for parent_id, key, child_id in self._sql.rows("load_children", rows.ids_json(of)):
            found[parent_id].append(ChildRef(child_id, key))
        return found

    async def insert_decision(self, of: RunAttempt, decision: Decision, now: Instant) -> None:
        self._sql.run("insert_decision", *of, rows.encode_json(decision), now)

    async def load_decisions(self, of: Iterable[RunAttempt]) -> dict[str, list[Decision]]:
        found: defaultdict[str, list[Decision]] = defaultdict(list)
        for run_id, data in self._sql.rows("load_decisions", rows.ids_json(of)):
            found[run_id].append(msgspec.json.decode(data, type=Decision))
        return found

    async def save_divergence(self, run_id: str, record: Divergence, now: Instant) -> None:
        self._sql.run("save_divergence", run_id, record.fingerprint, now, rows.encode_json(record))

    async def load_divergence(self, run_id: str) -> Divergence | None:
        data = self._sql.one("load_divergence", run_id)
        return None if data is None else msgspec.json.decode(data, type=Divergence)

    async def diverged_runs(self, namespace: str, spec: WorkflowSpec, limit: int) -> list[str]:
        found = self._sql.rows(
            "diverged_runs", namespace, spec.name, spec.version, spec.fingerprint, limit
        )
        return [row[0] for row in found]
