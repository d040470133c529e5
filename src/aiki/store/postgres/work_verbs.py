"""PostgreSQL's verbs on ready work, workers, and what operators look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from aiki.clock import Instant
from aiki.model.audit import AuditRecord
from aiki.model.worker import DeadLetter, WorkerView, WorkflowSpec, WorkflowVersion
from aiki.operations.catalog import Backlog, Namespace
from aiki.operations.work import Offer
from aiki.store.postgres import rows
from aiki.store.postgres.buffer import columns
from aiki.store.postgres.memo_verbs import MemoVerbs
from aiki.store.records import Announcement, Held, Opening, Place, Ready, Turn

_NOW, _SEEN = 31, 32
"""Places behind the columns of a run."""
_WIDER = 8
_SPARE = 20
"""How many more of each queue are looked at than asked for: others may have locked them."""


class PostgresTransaction(MemoVerbs):
    """All verbs; the last layer holds those on outbox, workers and catalogue."""

    async def insert_outbox(self, ready: Sequence[Ready]) -> None:
        await self._put("insert_outbox", columns([rows.ready_row(row) for row in ready]))

    async def delete_outbox(self, run_ids: Sequence[str]) -> None:
        await self._put("delete_outbox", (list(run_ids),))

    async def pick_ready(
        self,
        namespace: str,
        offers: Sequence[Offer],
        shards: Sequence[str],
        limit: int,
        *,
        alone: bool = False,
    ) -> list[str]:
        queues = rows.queue_columns(offers, shards)
        if not self._writing:
            return await self._firsts("peek_ready", namespace, *queues, alone, limit)
        depth = 2 * limit + _SPARE
        while True:
            found = await self._rows("pick_ready", namespace, *queues, alone, limit, depth)
            self._now = self._latest.see(found[0][_NOW])
            runs = [rows.run_from(row) for row in found if row[0] is not None]
            if len(runs) >= limit or found[0][_SEEN] < depth:
                break
            # Others have locked what was seen: their next ones are looked at.
            depth *= _WIDER
        self._picked = {run.id: run for run in runs}
        return list(self._picked)

    async def any_alone(
        self, namespace: str, offers: Sequence[Offer], shards: Sequence[str]
    ) -> bool:
        return bool(await self._one("any_alone", namespace, *rows.queue_columns(offers, shards)))

    async def count_ready(self, namespace: str, now: Instant) -> list[Backlog]:
        return [Backlog(*row) for row in await self._rows("count_ready", namespace, now)]

    async def stale_outbox(self, ready_before: Instant, limit: int) -> list[str]:
        return await self._firsts("stale_outbox", ready_before, limit)

    async def unpublished(
        self, after: str, ready_before: Instant, examined: int
    ) -> tuple[list[Announcement], str | None]:
        found = await self._rows("unpublished", after, ready_before, examined)
        ((count, last),) = await self._rows("outbox_page", after, examined)
        return [Announcement(*row) for row in found], last if count == examined else None

    async def published(
        self, after: str, published_before: Instant, limit: int
    ) -> list[tuple[Announcement, Place]]:
        found = await self._rows("published", after, published_before, limit)
        return [(Announcement(*row[:6]), Place(*row[6:])) for row in found]

    async def note_published(
        self, noted: Sequence[tuple[Announcement, Place]], now: Instant
    ) -> None:
        sent = [(a.run_id, a.ready_at, p.entry, p.incarnation) for a, p in noted]
        if sent:
            await self._rows("note_published", *map(list, columns(sent)), now)

    async def forget_publications(self) -> None:
        await self._rows("forget_publications")

    async def live_runs(self, ids: Sequence[str]) -> list[str]:
        return [row[0] for row in await self._rows("live_runs", list(ids))]

    async def take_duty(self, name: str, holder: str, now: Instant, until: Instant) -> bool:
        return bool(await self._rows("take_duty", name, holder, until, now))

    async def line_up(self, added: Mapping[str, int]) -> dict[str, int]:
        found = await self._rows("line_up", list(added), list(added.values()))
        return {row[0]: row[1] for row in found}

    async def take_turns(self, turns: Sequence[Turn]) -> None:
        await self._rows("take_turns", *map(list, columns(turns)))

    async def end_turns(self, run_ids: Sequence[str]) -> None:
        await self._rows("end_turns", list(run_ids))

    async def first_turns(self, lines: Sequence[str]) -> dict[str, str]:
        found = await self._rows("first_turns", list(lines))
        return {line: run_id for line, run_id in found if run_id is not None}

    async def waiting_in_line(self, after: str, limit: int) -> list[str]:
        return await self._firsts("waiting_in_line", after, limit)

    async def drop_lines(self, lines: Sequence[str]) -> None:
        await self._rows("drop_lines", list(lines))

    async def claimed_by(self, namespace: str, incarnation: str, claim_id: str) -> list[str]:
        return await self._firsts("claimed_by", namespace, incarnation, claim_id)

    async def held_runs(self, namespace: str, incarnation: str) -> list[Held]:
        return [Held(*row) for row in await self._rows("held_runs", namespace, incarnation)]

    async def held_by_many(self, incarnations: Sequence[str], limit: int) -> list[str]:
        return await self._firsts("held_by_many", list(incarnations), limit)

    async def orphans(self, limit: int) -> list[str]:
        return await self._firsts("orphans", limit)

    async def save_worker(
        self, worker: WorkerView, offers: Sequence[Offer], shards: Sequence[str]
    ) -> None:
        await self._rows(
            "save_worker",
            worker.incarnation,
            worker.namespace,
            worker.name,
            worker.lease_ms,
            worker.lease_until,
            worker.seen_at,
            rows.encode_json(offers),
            rows.encode_json(shards),
        )

    async def renew_worker(
        self, namespace: str, incarnation: str, stuck: Sequence[str], now: Instant
    ) -> bool:
        data = rows.encode_json(stuck)
        return bool(await self._rows("renew_worker", now, data, namespace, incarnation))

    async def open_claim(
        self,
        namespace: str,
        incarnation: str,
        claim_id: str,
        offers: Sequence[Offer],
        shards: Sequence[str],
    ) -> Opening | None:
        who = (namespace, incarnation, claim_id, self._latest.instant)
        queues = rows.queue_columns(offers, shards)
        ((instant, known, granted, alone),) = await self._rows("open_claim", *who, *queues)
        self._now = self._latest.see(instant)
        return Opening(self._now, granted, alone) if known else None

    async def stop_worker(self, namespace: str, incarnation: str) -> None:
        await self._rows("stop_worker", namespace, incarnation)

    async def see_worker(self, namespace: str, incarnation: str, presence: int) -> None:
        await self._rows("see_worker", namespace, incarnation, presence)

    async def suspect_worker(
        self, namespace: str, incarnation: str, presence: int, now: Instant
    ) -> None:
        await self._rows("suspect_worker", namespace, incarnation, presence, now)

    async def silent_workers(self, now: Instant, suspect_before: Instant) -> list[str]:
        return await self._firsts("silent_workers", now, suspect_before)

    async def lose_workers(
        self, dead: Iterable[str], now: Instant, suspect_before: Instant
    ) -> list[str]:
        return await self._firsts("lose_workers", list(dead), now, suspect_before)

    async def alive_workers(self) -> dict[str, Instant]:
        return {row[0]: row[1] for row in await self._rows("alive_workers")}

    async def free_presences(self, incarnations: Sequence[str]) -> list[str]:
        """Of these, who was announced and holds no lock now."""
        return await self._firsts("free_presences", list(incarnations))

    async def list_workers(self, namespace: str) -> list[WorkerView]:
        return [
            WorkerView(
                incarnation=row[0],
                name=row[1],
                namespace=row[2],
                status=row[3],
                lease_ms=row[4],
                lease_until=row[5],
                registered_at=row[6],
                seen_at=row[7],
                running=row[8],
                stuck=msgspec.json.decode(row[9], type=tuple[str, ...]),
            )
            for row in await self._rows("list_workers", namespace)
        ]

    async def expire_workers(self, seen_before: Instant) -> None:
        await self._rows("expire_workers", seen_before)
        await self._rows("expire_announced", seen_before)

    async def save_workflow_versions(
        self, namespace: str, specs: Sequence[WorkflowSpec], now: Instant
    ) -> None:
        latest = {(s.name, s.version): s for s in specs}.values()
        await self._rows(
            "save_workflow_versions",
            namespace,
            [s.name for s in latest],
            [s.version for s in latest],
            [s.fingerprint for s in latest],
            [rows.encode_json(s) for s in latest],
            now,
        )

    async def retarget_outbox(self, namespace: str, specs: Sequence[WorkflowSpec]) -> None:
        latest = {(s.name, s.version): s for s in specs}.values()
        await self._rows(
            "retarget_outbox",
            namespace,
            [s.name for s in latest],
            [s.version for s in latest],
            [s.fingerprint for s in latest],
        )

    async def load_workflow_versions(self, namespace: str) -> list[WorkflowVersion]:
        return [
            WorkflowVersion(
                namespace=row[0],
                spec=msgspec.json.decode(row[1], type=WorkflowSpec),
                first_seen_at=row[2],
                last_seen_at=row[3],
            )
            for row in await self._rows("load_workflow_versions", namespace)
        ]

    async def save_namespace(self, namespace: str, now: Instant) -> None:
        await self._rows("save_namespace", namespace, now)

    async def set_retention(self, namespace: str, retention_ms: int | None) -> None:
        await self._rows("set_retention", namespace, retention_ms)

    async def load_namespaces(self) -> list[Namespace]:
        return [Namespace(*row) for row in await self._rows("load_namespaces")]

    async def save_answer(
        self, namespace: str, command_id: str, answer: bytes, now: Instant
    ) -> None:
        await self._put("save_answer", columns([(namespace, command_id, answer, now)]))

    async def load_answer(self, namespace: str, command_id: str) -> bytes | None:
        answer = await self._one("load_answer", namespace, command_id)
        assert answer is None or isinstance(answer, bytes)
        return answer

    async def expire_answers(self, before: Instant) -> None:
        await self._rows("expire_answers", before)

    async def insert_audit(self, records: Sequence[AuditRecord]) -> None:
        await self._put(
            "insert_audit",
            columns(
                [
                    (a.id, a.at, a.namespace, a.principal, a.operation, a.object_id, a.detail)
                    for a in records
                ]
            ),
        )

    async def insert_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        await self._put(
            "insert_dead_letters",
            columns([(d.id, d.namespace, d.run_id, d.reason, d.at, d.detail) for d in letters]),
        )

    async def load_dead_letters(self, ids: Sequence[str]) -> list[DeadLetter]:
        return [_dead_letter(row) for row in await self._rows("load_dead_letters", list(ids))]

    async def delete_dead_letters(self, ids: Sequence[str]) -> None:
        await self._rows("delete_dead_letters", list(ids))

    async def delete_letters_of(self, run_ids: Sequence[str]) -> None:
        await self._rows("delete_letters_of", list(run_ids))

    async def expire_letters(self, before: Instant) -> None:
        await self._rows("expire_letters", before)

    async def list_dead_letters(
        self, namespace: str, before: str | None, limit: int
    ) -> list[DeadLetter]:
        found = await self._rows("list_dead_letters", namespace, before, limit)
        return [_dead_letter(row) for row in found]


def _dead_letter(row: Any) -> DeadLetter:
    return DeadLetter(
        id=row[0], namespace=row[1], run_id=row[2], reason=row[3], at=row[4], detail=row[5]
    )
