"""SQLite's verbs on ready work, workers, and what operators look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from aiki.clock import Instant
from aiki.model.audit import AuditRecord
from aiki.model.worker import DeadLetter, WorkerView, WorkflowSpec, WorkflowVersion
from aiki.operations.catalog import Backlog, Namespace
from aiki.operations.work import Offer
from aiki.store.records import Announcement, Held, Opening, Place, Ready, Turn
from aiki.store.sqlite import rows
from aiki.store.sqlite.memo_verbs import MemoVerbs


def _queues(offers: Sequence[Offer], shards: Sequence[str]) -> str:
    return rows.ids_json(
        (offer.workflow, offer.version, shard, offer.fingerprint)
        for offer in offers
        for shard in shards or ("",)
    )


class SqliteTransaction(MemoVerbs):
    """All verbs; the last layer holds those on outbox, workers and catalogue."""

    async def insert_outbox(self, ready: Sequence[Ready]) -> None:
        self._sql.many(
            "insert_outbox",
            [
                (
                    run.id,
                    run.namespace,
                    run.workflow,
                    run.version,
                    run.shard,
                    run.priority,
                    ready_at,
                    alone,
                    fingerprint,
                    run.state.fingerprint,
                )
                for run, ready_at, alone, fingerprint in ready
            ],
        )

    async def delete_outbox(self, run_ids: Sequence[str]) -> None:
        self._sql.run("delete_outbox", rows.ids_json(run_ids))

    async def pick_ready(
        self,
        namespace: str,
        offers: Sequence[Offer],
        shards: Sequence[str],
        limit: int,
        *,
        alone: bool = False,
    ) -> list[str]:
        queues = _queues(offers, shards)
        found = self._sql.rows("pick_ready", queues, namespace, alone, limit)
        return [row[0] for row in found]

    async def any_alone(
        self, namespace: str, offers: Sequence[Offer], shards: Sequence[str]
    ) -> bool:
        return bool(self._sql.one("any_alone", _queues(offers, shards), namespace))

    async def count_ready(self, namespace: str, now: Instant) -> list[Backlog]:
        return [Backlog(*row) for row in self._sql.rows("count_ready", namespace, now)]

    async def stale_outbox(self, ready_before: Instant, limit: int) -> list[str]:
        return [row[0] for row in self._sql.rows("stale_outbox", ready_before, limit)]

    async def unpublished(
        self, after: str, ready_before: Instant, examined: int
    ) -> tuple[list[Announcement], str | None]:
        found = self._sql.rows("unpublished", after, ready_before, examined)
        ((count, last),) = self._sql.rows("outbox_page", after, examined)
        return [Announcement(*row) for row in found], last if count == examined else None

    async def published(
        self, after: str, published_before: Instant, limit: int
    ) -> list[tuple[Announcement, Place]]:
        found = self._sql.rows("published", after, published_before, limit)
        return [(Announcement(*row[:6]), Place(*row[6:])) for row in found]

    async def note_published(
        self, noted: Sequence[tuple[Announcement, Place]], now: Instant
    ) -> None:
        self._sql.many(
            "note_published",
            [(a.run_id, a.ready_at, p.entry, p.incarnation, now) for a, p in noted],
        )

    async def forget_publications(self) -> None:
        self._sql.run("forget_publications")

    async def live_runs(self, ids: Sequence[str]) -> list[str]:
        return [row[0] for row in self._sql.rows("live_runs", rows.ids_json(ids))]

    async def take_duty(self, name: str, holder: str, now: Instant, until: Instant) -> bool:
        return bool(self._sql.rows("take_duty", name, holder, until, now))

    async def line_up(self, added: Mapping[str, int]) -> dict[str, int]:
        return dict(self._sql.rows("line_up", rows.as_json(dict(added))))

    async def take_turns(self, turns: Sequence[Turn]) -> None:
        self._sql.many("take_turns", turns)

    async def end_turns(self, run_ids: Sequence[str]) -> None:
        self._sql.run("end_turns", rows.ids_json(run_ids))

    async def first_turns(self, lines: Sequence[str]) -> dict[str, str]:
        found = self._sql.rows("first_turns", rows.ids_json(lines))
        return {line: run_id for line, run_id in found if run_id is not None}

    async def waiting_in_line(self, after: str, limit: int) -> list[str]:
        return [row[0] for row in self._sql.rows("waiting_in_line", after, limit)]

    async def drop_lines(self, lines: Sequence[str]) -> None:
        self._sql.run("drop_lines", rows.ids_json(lines))

    async def claimed_by(self, namespace: str, incarnation: str, claim_id: str) -> list[str]:
        found = self._sql.rows("claimed_by", namespace, incarnation, claim_id)
        return [row[0] for row in found]

    async def held_runs(self, namespace: str, incarnation: str) -> list[Held]:
        return [Held(*row) for row in self._sql.rows("held_runs", namespace, incarnation)]

    async def held_by_many(self, incarnations: Sequence[str], limit: int) -> list[str]:
        found = self._sql.rows("held_by_many", rows.ids_json(incarnations), limit)
        return [row[0] for row in found]

    async def orphans(self, limit: int) -> list[str]:
        return [row[0] for row in self._sql.rows("orphans", limit)]

    async def save_worker(
        self, worker: WorkerView, offers: Sequence[Offer], shards: Sequence[str]
    ) -> None:
        self._sql.run(
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
        return bool(self._sql.rows("renew_worker", now, data, namespace, incarnation))

    async def open_claim(
        self,
        namespace: str,
        incarnation: str,
        claim_id: str,
        offers: Sequence[Offer],
        shards: Sequence[str],
    ) -> Opening | None:
        now = await self.now()
        if not self._sql.rows("renew_claimer", now, namespace, incarnation):
            return None
        granted = await self.claimed_by(namespace, incarnation, claim_id)
        return Opening(now, granted, await self.any_alone(namespace, offers, shards))

    async def stop_worker(self, namespace: str, incarnation: str) -> None:
        self._sql.run("stop_worker", namespace, incarnation)

    async def see_worker(self, namespace: str, incarnation: str, presence: int) -> None:
        self._sql.run("see_worker", namespace, incarnation, presence)

    async def suspect_worker(
        self, namespace: str, incarnation: str, presence: int, now: Instant
    ) -> None:
        self._sql.run("suspect_worker", namespace, incarnation, presence, now)

    async def silent_workers(self, now: Instant, suspect_before: Instant) -> list[str]:
        return [row[0] for row in self._sql.rows("silent_workers", now, suspect_before)]

    async def lose_workers(
        self, dead: Iterable[str], now: Instant, suspect_before: Instant
    ) -> list[str]:
        found = self._sql.rows("lose_workers", rows.ids_json(dead), now, suspect_before)
        return [row[0] for row in found]

    async def alive_workers(self) -> dict[str, Instant]:
        return dict(self._sql.rows("alive_workers"))

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
            for row in self._sql.rows("list_workers", namespace)
        ]

    async def expire_workers(self, seen_before: Instant) -> None:
        self._sql.run("expired_workers", seen_before)

    async def save_workflow_versions(
        self, namespace: str, specs: Sequence[WorkflowSpec], now: Instant
    ) -> None:
        self._sql.many(
            "save_workflow_version",
            [
                (namespace, s.name, s.version, s.fingerprint, rows.encode_json(s), now)
                for s in specs
            ],
        )

    async def retarget_outbox(self, namespace: str, specs: Sequence[WorkflowSpec]) -> None:
        self._sql.many(
            "retarget_outbox", [(namespace, s.name, s.version, s.fingerprint) for s in specs]
        )

    async def load_workflow_versions(self, namespace: str) -> list[WorkflowVersion]:
        return [
            WorkflowVersion(
                namespace=row[0],
                spec=msgspec.json.decode(row[1], type=WorkflowSpec),
                first_seen_at=row[2],
                last_seen_at=row[3],
            )
            for row in self._sql.rows("load_workflow_versions", namespace)
        ]

    async def save_namespace(self, namespace: str, now: Instant) -> None:
        self._sql.run("save_namespace", namespace, now)

    async def set_retention(self, namespace: str, retention_ms: int | None) -> None:
        self._sql.run("set_retention", namespace, retention_ms)

    async def load_namespaces(self) -> list[Namespace]:
        return [Namespace(*row) for row in self._sql.rows("load_namespaces")]

    async def save_answer(
        self, namespace: str, command_id: str, answer: bytes, now: Instant
    ) -> None:
        self._sql.run("save_answer", namespace, command_id, answer, now)

    async def load_answer(self, namespace: str, command_id: str) -> bytes | None:
        answer: bytes | None = self._sql.one("load_answer", namespace, command_id)
        return answer

    async def expire_answers(self, before: Instant) -> None:
        self._sql.run("expire_answers", before)

    async def insert_audit(self, records: Sequence[AuditRecord]) -> None:
        self._sql.many(
            "insert_audit",
            [
                (a.id, a.at, a.namespace, a.principal, a.operation, a.object_id, a.detail)
                for a in records
            ],
        )

    async def insert_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        self._sql.many(
            "insert_dead_letters",
            [(d.id, d.namespace, d.run_id, d.reason, d.at, d.detail) for d in letters],
        )

    async def load_dead_letters(self, ids: Sequence[str]) -> list[DeadLetter]:
        return [
            _dead_letter(row) for row in self._sql.rows("load_dead_letters", rows.ids_json(ids))
        ]

    async def delete_dead_letters(self, ids: Sequence[str]) -> None:
        self._sql.run("delete_dead_letters", rows.ids_json(ids))

    async def delete_letters_of(self, run_ids: Sequence[str]) -> None:
        self._sql.run("delete_letters_of", rows.ids_json(run_ids))

    async def expire_letters(self, before: Instant) -> None:
        self._sql.run("expire_letters", before)

    async def list_dead_letters(
        self, namespace: str, before: str | None, limit: int
    ) -> list[DeadLetter]:
        found = self._sql.rows("list_dead_letters", namespace, before, limit)
        return [_dead_letter(row) for row in found]


def _dead_letter(row: Any) -> DeadLetter:
    return DeadLetter(
        id=row[0], namespace=row[1], run_id=row[2], reason=row[3], at=row[4], detail=row[5]
    )
