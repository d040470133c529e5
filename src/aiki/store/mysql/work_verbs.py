"""MySQL's verbs on ready work, workers, and what operators look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from aiki.clock import Instant
from aiki.model.audit import AuditRecord
from aiki.model.run import Run
from aiki.model.worker import DeadLetter, WorkerView, WorkflowSpec, WorkflowVersion
from aiki.operations.catalog import Backlog, Namespace
from aiki.operations.work import Offer
from aiki.store.mysql import rows
from aiki.store.mysql.memo_verbs import MemoVerbs
from aiki.store.records import Announcement, Held, Opening, Place, Ready, Turn

_WIDER = 8
_SPARE = 20
"""How many more of each queue are looked at than asked for: others may have locked them."""


class _Seen(NamedTuple):
    """The fronts of queues, merged."""

    ids: list[str]
    is_all: bool
    """No queue holds more than was looked at."""


class MySqlTransaction(MemoVerbs):
    """All verbs; the last layer holds those on outbox, workers and catalogue."""

    async def insert_outbox(self, ready: Sequence[Ready]) -> None:
        await self._put_rows("insert_outbox", [rows.ready_row(row) for row in ready])

    async def delete_outbox(self, run_ids: Sequence[str]) -> None:
        await self._put("delete_outbox", rows.each_json(run_ids))

    async def pick_ready(
        self,
        namespace: str,
        offers: Sequence[Offer],
        shards: Sequence[str],
        limit: int,
        *,
        alone: bool = False,
    ) -> list[str]:
        queues = rows.queues(namespace, offers, shards)
        if not self._writing:
            return (await self._look("peek_ready", queues, alone, limit)).ids[:limit]
        depth = 2 * limit + _SPARE
        while True:
            seen = await self._look("look_ready", queues, alone, depth)
            picked = await self._lock_ready(seen.ids, limit)
            if len(picked) >= limit or seen.is_all:
                break
            # Others have locked what was seen: their next ones are looked at.
            depth *= _WIDER
        self._picked = picked
        return list(picked)

    async def _look(
        self, name: str, queues: Sequence[tuple[bytes, str]], alone: bool, depth: int
    ) -> _Seen:
        """Each queue is read in its own order, so that one's length does not cost another."""
        if not queues:
            return _Seen([], is_all=True)
        fronts = await self._statements.all_rows(
            *((name, (queue, alone, source, depth)) for queue, source in queues)
        )
        merged = sorted(row for front in fronts for row in front)
        ids = list(dict.fromkeys(row[-1] for row in merged))
        return _Seen(ids, is_all=all(len(front) < depth for front in fronts))

    async def _lock_ready(self, ids: Sequence[str], limit: int) -> dict[str, Run]:
        """Those that nobody else has locked, in this order."""
        found = await self._lock("lock_ready", rows.as_json(ids), limit) if ids else []
        runs = {row[0]: rows.run_from(row) for row in found}
        return {run_id: runs[run_id] for run_id in ids if run_id in runs}

    async def any_alone(
        self, namespace: str, offers: Sequence[Offer], shards: Sequence[str]
    ) -> bool:
        queues = rows.queues(namespace, offers, shards)
        return bool(await self._one("any_alone", rows.queues_json(queues)))

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
            await self._put("note_published", rows.as_json(sent), now)

    async def forget_publications(self) -> None:
        await self._put("forget_publications")

    async def live_runs(self, ids: Sequence[str]) -> list[str]:
        return await self._firsts("live_runs", rows.each_json(ids))

    async def take_duty(self, name: str, holder: str, now: Instant, until: Instant) -> bool:
        await self._put("take_duty", name, holder, until, now)
        return bool(await self._one("has_duty", name, holder))

    async def line_up(self, added: Mapping[str, int]) -> dict[str, int]:
        await self._put("line_up", rows.as_json(list(added.items())))
        return dict(await self._rows("last_sequences", rows.each_json(added)))

    async def take_turns(self, turns: Sequence[Turn]) -> None:
        await self._put("take_turns", rows.as_json(turns))

    async def end_turns(self, run_ids: Sequence[str]) -> None:
        await self._put("end_turns", rows.each_json(run_ids))

    async def first_turns(self, lines: Sequence[str]) -> dict[str, str]:
        found = await self._rows("first_turns", rows.each_json(lines))
        return {line: run_id for line, run_id in found if run_id is not None}

    async def waiting_in_line(self, after: str, limit: int) -> list[str]:
        return await self._firsts("waiting_in_line", after, limit)

    async def drop_lines(self, lines: Sequence[str]) -> None:
        await self._put("drop_lines", rows.each_json(lines))

    async def claimed_by(self, namespace: str, incarnation: str, claim_id: str) -> list[str]:
        return await self._firsts("claimed_by", namespace, incarnation, claim_id)

    async def held_runs(self, namespace: str, incarnation: str) -> list[Held]:
        return [Held(*row) for row in await self._rows("held_runs", namespace, incarnation)]

    async def held_by_many(self, incarnations: Sequence[str], limit: int) -> list[str]:
        return await self._firsts("held_by_many", rows.each_json(incarnations), limit)

    async def orphans(self, limit: int) -> list[str]:
        return await self._firsts("orphans", limit)

    async def save_worker(
        self, worker: WorkerView, offers: Sequence[Offer], shards: Sequence[str]
    ) -> None:
        await self._put(
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
        await self._rows("renew_worker", now, data, namespace, incarnation)
        return self._statements.connection.changed > 0

    async def open_claim(
        self,
        namespace: str,
        incarnation: str,
        claim_id: str,
        offers: Sequence[Offer],
        shards: Sequence[str],
    ) -> Opening | None:
        now = await self.now()
        await self._put("renew_claimer", now, namespace, incarnation)
        ((matched,),), granted, ((alone,),) = await self._statements.all_rows(
            ("matched", ()),
            ("claimed_by", (namespace, incarnation, claim_id)),
            ("any_alone", (rows.queues_json(rows.queues(namespace, offers, shards)),)),
        )
        return Opening(now, [row[0] for row in granted], bool(alone)) if matched else None

    async def stop_worker(self, namespace: str, incarnation: str) -> None:
        await self._put("stop_worker", namespace, incarnation)

    async def see_worker(self, namespace: str, incarnation: str, presence: int) -> None:
        await self._put("see_worker", namespace, incarnation, presence)

    async def suspect_worker(
        self, namespace: str, incarnation: str, presence: int, now: Instant
    ) -> None:
        await self._put("suspect_worker", namespace, incarnation, presence, now)

    async def silent_workers(self, now: Instant, suspect_before: Instant) -> list[str]:
        return await self._firsts("silent_workers", now, suspect_before)

    async def lose_workers(
        self, dead: Iterable[str], now: Instant, suspect_before: Instant
    ) -> list[str]:
        lost = await self._firsts("lock_lost_workers", rows.each_json(dead), now, suspect_before)
        if lost:
            await self._put("lose_workers", rows.each_json(lost))
        return lost

    async def alive_workers(self) -> dict[str, Instant]:
        return {row[0]: row[1] for row in await self._rows("alive_workers")}

    async def free_presences(self, incarnations: Sequence[str]) -> list[str]:
        """Of these, who was announced and holds no lock now."""
        return await self._firsts("free_presences", rows.each_json(incarnations))

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
        await self._put("expire_workers", seen_before)
        await self._put("expire_announced", seen_before)
        await self._put("expire_news", seen_before)

    async def save_workflow_versions(
        self, namespace: str, specs: Sequence[WorkflowSpec], now: Instant
    ) -> None:
        latest = {(s.name, s.version): s for s in specs}
        await self._put_rows(
            "save_workflow_versions",
            [
                (namespace, s.name, s.version, s.fingerprint, rows.encode_json(s), now, now)
                for _, s in sorted(latest.items())
            ],
        )

    async def retarget_outbox(self, namespace: str, specs: Sequence[WorkflowSpec]) -> None:
        latest = {(s.name, s.version): s for s in specs}.values()
        targets = [(s.name, s.version, s.fingerprint) for s in latest]
        await self._put("retarget_outbox", namespace, rows.as_json(targets))

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
        await self._put("save_namespace", namespace, now)

    async def set_retention(self, namespace: str, retention_ms: int | None) -> None:
        await self._put("set_retention", namespace, retention_ms)

    async def load_namespaces(self) -> list[Namespace]:
        return [Namespace(*row) for row in await self._rows("load_namespaces")]

    async def save_answer(
        self, namespace: str, command_id: str, answer: bytes, now: Instant
    ) -> None:
        await self._put("save_answer", namespace, command_id, answer, now)

    async def load_answer(self, namespace: str, command_id: str) -> bytes | None:
        answer = await self._one("load_answer", namespace, command_id)
        assert answer is None or isinstance(answer, bytes)
        return answer

    async def expire_answers(self, before: Instant) -> None:
        await self._put("expire_answers", before)

    async def insert_audit(self, records: Sequence[AuditRecord]) -> None:
        await self._put_rows(
            "insert_audit",
            [
                (a.id, a.at, a.namespace, a.principal, a.operation, a.object_id, a.detail)
                for a in records
            ],
        )

    async def insert_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        await self._put_rows(
            "insert_dead_letters",
            [(d.id, d.namespace, d.run_id, d.reason, d.at, d.detail) for d in letters],
        )

    async def load_dead_letters(self, ids: Sequence[str]) -> list[DeadLetter]:
        return [
            _dead_letter(row) for row in await self._rows("load_dead_letters", rows.each_json(ids))
        ]

    async def delete_dead_letters(self, ids: Sequence[str]) -> None:
        await self._put("delete_dead_letters", rows.each_json(ids))

    async def delete_letters_of(self, run_ids: Sequence[str]) -> None:
        await self._put("delete_letters_of", rows.each_json(run_ids))

    async def expire_letters(self, before: Instant) -> None:
        await self._put("expire_letters", before)

    async def list_dead_letters(
        self, namespace: str, before: str | None, limit: int
    ) -> list[DeadLetter]:
        found = await self._rows("list_dead_letters", namespace, before, limit)
        return [_dead_letter(row) for row in found]


def _dead_letter(row: Any) -> DeadLetter:
    return DeadLetter(
        id=row[0], namespace=row[1], run_id=row[2], reason=row[3], at=row[4], detail=row[5]
    )
