"""SQLite's verbs on runs and their histories."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aiki.clock import SYSTEM, Instant
from aiki.model.failure import Failure, decode_failure
from aiki.model.run import Run, Transition
from aiki.operations.runs import RunQuery
from aiki.store.lists import leading_filter
from aiki.store.records import News, Page, Reference
from aiki.store.sqlite import rows
from aiki.store.sqlite.statements import Statements

_TABLES_OF_A_RUN = (
    "run_payload",
    "run_entry",
    "run_attempt",
    "run_fact",
    "run_child",
    "run_transition",
    "run_decision",
    "run_divergence",
    "run",
)


class RunVerbs:
    """Verbs whose noun is the run."""

    def __init__(self, statements: Statements, *, writing: bool) -> None:
        self._sql = statements
        self._now: Instant | None = None
        self._writing = writing
        self.repeated = False

    async def now(self) -> Instant:
        if self._now is None:
            self._now = self._sql.one("now" if self._writing else "peek_now", SYSTEM.wall())
        assert self._now is not None
        return self._now

    async def signal(self, news: News) -> None:
        """SQLite tells other processes by its `data_version`."""

    async def guard_runs(self, ids: Iterable[str]) -> list[Run]:
        return await self.load_runs(ids)

    async def peek_runs(self, ids: Iterable[str]) -> list[Run]:
        return await self.load_runs(ids)

    async def load_runs(self, ids: Iterable[str]) -> list[Run]:
        return [rows.run_from(row) for row in self._sql.rows("load_runs", rows.ids_json(ids))]

    async def find_references(self, keys: Iterable[Reference]) -> dict[Reference, str]:
        found = self._sql.rows("find_references", rows.ids_json(keys))
        return {Reference(row[0], row[1], row[2]): row[3] for row in found}

    async def insert_runs(self, runs: Sequence[Run]) -> None:
        self._sql.many("insert_runs", [rows.run_row(run) for run in runs])

    async def update_states(self, runs: Sequence[Run]) -> None:
        self._sql.many("update_states", [rows.state_row(run) for run in runs])

    async def insert_payloads(self, payloads: Sequence[tuple[str, str, bytes]]) -> None:
        self._sql.many("insert_payloads", payloads)

    async def load_payloads(self, ids: Iterable[str], kind: str) -> dict[str, bytes]:
        return dict(self._sql.rows("load_payloads", rows.ids_json(ids), kind))

    async def load_failures(self, ids: Iterable[str]) -> dict[str, Failure]:
        found = await self.load_payloads(ids, "failure")
        return {run_id: decode_failure(data) for run_id, data in found.items()}

    async def insert_transitions(self, transitions: Sequence[Transition]) -> None:
        self._sql.many(
            "insert_transitions",
            [
                (t.run_id, t.revision, t.status, t.reason, t.at, t.attempt, t.epoch, t.worker)
                for t in transitions
            ],
        )

    async def load_transitions(self, run_id: str) -> list[Transition]:
        return [Transition(*row) for row in self._sql.rows("load_transitions", run_id)]

    async def descendants(self, ids: Iterable[str]) -> list[str]:
        return [row[0] for row in self._sql.rows("descendants", rows.ids_json(ids))]

    async def due_runs(self, now: Instant, limit: int) -> list[str]:
        return [row[0] for row in self._sql.rows("due_runs", now, limit)]

    async def next_wake(self) -> Instant | None:
        wake: Instant | None = self._sql.one("next_wake")
        return wake

    async def recent_transitions(
        self, namespace: str, since: Instant, limit: int
    ) -> list[tuple[str, Transition]]:
        found = self._sql.rows("recent_transitions", namespace, since, limit)
        return [(row[0], Transition(*row[1:])) for row in found]

    async def list_runs(self, namespace: str, query: RunQuery, page: Page) -> list[str]:
        statuses = rows.ids_json(query.status) if query.status else None
        found = self._sql.rows(
            f"list_{leading_filter(query)}_{page.order}",
            namespace,
            page.cursor,
            query.workflow,
            query.version,
            statuses,
            query.reference_id,
            query.parent_id,
            query.shard,
            query.created_after,
            query.created_before,
            page.limit,
        )
        return [row[0] for row in found]

    async def expired_runs(self, namespace: str, ended_before: Instant, limit: int) -> list[str]:
        return [row[0] for row in self._sql.rows("expired_runs", namespace, ended_before, limit)]

    async def delete_runs(self, ids: Sequence[str]) -> None:
        for table in _TABLES_OF_A_RUN:
            self._sql.many(f"delete_{table}", [(run_id,) for run_id in ids])
        self._sql.run("delete_letters_of", rows.ids_json(ids))
