"""MySQL's verbs on what a run recorded, waits for, and was told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import cast

import msgspec

from aiki.clock import Instant
from aiki.model.task import AttemptStatus, Decision, Divergence, Entry, Fact, TaskAttempt, Wait
from aiki.model.worker import WorkflowSpec
from aiki.operations.work import ChildRef
from aiki.store.mysql import rows
from aiki.store.mysql.run_verbs import RunVerbs
from aiki.store.records import AttemptRow, Consumed, EntryRow, EventKey, RunAttempt


class MemoVerbs(RunVerbs):
    """Verbs whose nouns are entry, attempt, wait, fact, child and decision."""

    async def insert_entries(self, entries: Sequence[EntryRow]) -> None:
        await self._put_rows("insert_entries", [rows.entry_row(row) for row in entries])

    async def load_entries(self, of: Iterable[RunAttempt]) -> dict[str, list[Entry]]:
        found: defaultdict[str, list[Entry]] = defaultdict(list)
        for row in await self._rows("load_entries", rows.each_json(of)):
            found[row[0]].append(rows.entry_from(row))
        return found

    async def load_entry_page(
        self, run_id: str, attempt: int, from_number: int, limit: int
    ) -> list[Entry]:
        found = await self._rows("load_entry_page", run_id, attempt, from_number, limit)
        return [rows.entry_from(row) for row in found]

    async def last_numbers(self, of: Iterable[RunAttempt]) -> dict[str, int]:
        found = await self._rows("last_numbers", rows.each_json(of))
        return {row[0]: row[1] or 0 for row in found}

    async def save_attempts(self, attempts: Sequence[AttemptRow]) -> None:
        await self._put_rows("save_attempts", [rows.attempt_row(row) for row in attempts])

    async def close_attempts(
        self, run_ids: Iterable[str], status: AttemptStatus, now: Instant
    ) -> None:
        await self._put("close_attempts", rows.each_json(run_ids), status, now)

    async def load_attempts(self, of: Iterable[RunAttempt]) -> dict[str, list[TaskAttempt]]:
        found: defaultdict[str, list[TaskAttempt]] = defaultdict(list)
        for row in await self._rows("load_attempts", rows.each_json(of)):
            found[row[0]].append(rows.attempt_from(row))
        return found

    async def replace_waits(self, waits: dict[str, Sequence[Wait]]) -> None:
        if waits:
            await self._put("delete_waits", rows.each_json(waits))
            await self._put_rows("insert_waits", rows.wait_rows(waits))

    async def load_waits(self, run_ids: Iterable[str]) -> dict[str, list[Wait]]:
        found: defaultdict[str, list[Wait]] = defaultdict(list)
        for row in await self._rows("load_waits", rows.each_json(run_ids)):
            found[row[0]].append(Wait(row[1], row[2], row[3]))
        return found

    async def insert_facts(self, facts: Sequence[Fact]) -> None:
        await self._put_rows("insert_facts", [rows.fact_row(fact) for fact in facts])

    async def load_facts(self, run_ids: Iterable[str]) -> dict[str, list[Fact]]:
        found: defaultdict[str, list[Fact]] = defaultdict(list)
        for row in await self._rows("load_facts", rows.each_json(run_ids)):
            found[row[1]].append(rows.fact_from(row))
        return found

    async def find_facts(self, ids: Iterable[str]) -> list[Fact]:
        return [rows.fact_from(row) for row in await self._rows("find_facts", rows.each_json(ids))]

    async def find_facts_by_key(self, keys: Iterable[EventKey]) -> dict[EventKey, Fact]:
        found = await self._rows("find_facts_by_key", rows.each_json(keys))
        facts = map(rows.fact_from, found)
        return {EventKey(fact.run_id, fact.name, fact.key or ""): fact for fact in facts}

    async def pushed_facts(self, namespace: str, incarnation: str) -> list[Fact]:
        found = await self._rows("pushed_facts", namespace, incarnation)
        return [rows.fact_from(row) for row in found]

    async def consume_facts(self, consumed: Sequence[Consumed]) -> None:
        # The first who takes a fact has it.
        first = {row.fact_id: row for row in reversed(consumed)}
        if first:
            await self._put("consume_facts", rows.as_json(list(first.values())))

    async def insert_children(self, children: Sequence[tuple[str, int, str, str]]) -> None:
        await self._put_rows("insert_children", children)

    async def load_children(self, of: Iterable[RunAttempt]) -> dict[str, list[ChildRef]]:
        found: defaultdict[str, list[ChildRef]] = defaultdict(list)
        for row in await self._rows("load_children", rows.each_json(of)):
            found[row[0]].append(ChildRef(row[2], row[1]))
        return found

    async def insert_decision(self, of: RunAttempt, decision: Decision, now: Instant) -> None:
        await self._put("insert_decision", *of, rows.encode_json(decision), now)

    async def load_decisions(self, of: Iterable[RunAttempt]) -> dict[str, list[Decision]]:
        found: defaultdict[str, list[Decision]] = defaultdict(list)
        for row in await self._rows("load_decisions", rows.each_json(of)):
            found[row[0]].append(msgspec.json.decode(row[1], type=Decision))
        return found

    async def save_divergence(self, run_id: str, record: Divergence, now: Instant) -> None:
        data = rows.encode_json(record)
        await self._put("save_divergence", run_id, record.fingerprint, now, data)

    async def load_divergence(self, run_id: str) -> Divergence | None:
        data = await self._one("load_divergence", run_id)
        return None if data is None else msgspec.json.decode(cast("bytes", data), type=Divergence)

    async def diverged_runs(self, namespace: str, spec: WorkflowSpec, limit: int) -> list[str]:
        return await self._firsts(
            "diverged_runs", namespace, spec.name, spec.version, spec.fingerprint, limit
        )
