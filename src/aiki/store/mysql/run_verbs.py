"""MySQL's verbs on runs and their histories."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aiki.clock import Instant
from aiki.model.failure import Failure, decode_failure
from aiki.model.run import Run, Transition
from aiki.operations.runs import RunQuery
from aiki.store.lists import leading_filter
from aiki.store.mysql import rows
from aiki.store.mysql.connection import Row
from aiki.store.mysql.statements import Statements
from aiki.store.mysql.template import Value, Values
from aiki.store.records import NO_NEWS, News, Page, Reference

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


class Latest:
    """The greatest instant that a store has seen: it answers none below."""

    def __init__(self) -> None:
        self._instant: Instant = 0

    def see(self, instant: Instant) -> Instant:
        """The instant, or the greatest so far if that is later."""
        self._instant = max(self._instant, instant)
        return self._instant


class RunVerbs:
    """Verbs whose noun is the run, and what all verbs stand on."""

    def __init__(
        self,
        statements: Statements,
        latest: Latest,
        *,
        writing: bool,
        repeated: bool = False,
        sender: str = "",
    ) -> None:
        self.repeated = repeated
        self._statements = statements
        self._latest = latest
        self._writing = writing
        self._sender = sender
        self._news = NO_NEWS
        self._now: Instant | None = None
        self._picked: dict[str, Run] = {}
        """Runs that this transaction locked and loaded when it picked them, unchanged since."""

    # What all verbs stand on

    async def _rows(self, name: str, *values: Value) -> list[Row]:
        """All rows, after what was written before."""
        return await self._statements.rows(name, *values)

    async def _one(self, name: str, *values: Value) -> Value:
        found = await self._rows(name, *values)
        value: Value = found[0][0] if found else None
        return value

    async def _firsts(self, name: str, *values: Value) -> list[str]:
        """The first column."""
        return [row[0] for row in await self._rows(name, *values)]

    async def _put(self, name: str, *values: Value) -> None:
        """Write at the next chance."""
        self._begin_to_write(name)
        await self._statements.put(name, *values)

    async def _put_rows(self, name: str, written: Sequence[Values]) -> None:
        """Write at the next chance, unless there are no rows."""
        self._begin_to_write(name)
        await self._statements.put_rows(name, written)

    def _begin_to_write(self, name: str) -> None:
        if not self._writing:
            raise RuntimeError(f"{name}: a read must not write")
        self._picked.clear()

    # Time and news

    async def now(self) -> Instant:
        if self._now is None:
            ((instant,),) = await self._rows("now")
            self._now = self._latest.see(instant)
        return self._now

    async def shift_clock(self, milliseconds: int) -> None:
        """Move the database's clock; only tests may."""
        await self._put("shift_clock", milliseconds)

    async def signal(self, news: News) -> None:
        self._news |= news

    async def finish(self) -> None:
        """Send what waits, the news last, and commit."""
        if self._news:
            # Each session that writes has a row of its own, so that none waits for another.
            sender = f"{self._sender} {self._statements.slot}"
            told = [int(flag in self._news) for flag in (News.READY, News.RUNS, News.FACTS)]
            await self._put("tell", sender, *told)
        await self._statements.commit()

    # Runs

    async def load_runs(self, ids: Iterable[str]) -> list[Run]:
        wanted = list(ids)
        if not self._writing:
            return await self.peek_runs(wanted)
        if wanted and self._picked.keys() >= set(wanted):
            return [self._picked[run_id] for run_id in wanted]
        found = await self._lock("lock_runs", rows.each_json(wanted))
        return [rows.run_from(row) for row in found]

    async def _lock(self, name: str, *values: Value) -> list[Row]:
        """Rows that are locked, and the instant after the last lock."""
        found, ((instant,),) = await self._statements.all_rows((name, values), ("now", ()))
        self._now = self._latest.see(instant)
        return found

    async def guard_runs(self, ids: Iterable[str]) -> list[Run]:
        """Locked: that travels with the beginning of the transaction, and costs nothing more."""
        return await self.load_runs(ids)

    async def peek_runs(self, ids: Iterable[str]) -> list[Run]:
        found = await self._rows("peek_runs", rows.each_json(ids))
        return [rows.run_from(row) for row in found]

    async def find_references(self, keys: Iterable[Reference]) -> dict[Reference, str]:
        found = await self._rows("find_references", rows.each_json(keys))
        return {Reference(row[0], row[1], row[2]): row[3] for row in found}

    async def insert_runs(self, runs: Sequence[Run]) -> None:
        await self._put_rows("insert_runs", [rows.run_row(run) for run in runs])

    async def update_states(self, runs: Sequence[Run]) -> None:
        latest = {run.id: run for run in runs}
        if latest:
            states = [rows.state_object(run) for run in latest.values()]
            await self._put("update_states", rows.as_json(states))

    async def insert_payloads(self, payloads: Sequence[tuple[str, str, bytes]]) -> None:
        await self._put_rows("insert_payloads", payloads)

    async def load_payloads(self, ids: Iterable[str], kind: str) -> dict[str, bytes]:
        found = await self._rows("load_payloads", rows.each_json(ids), kind)
        return {row[0]: row[1] for row in found}

    async def load_failures(self, ids: Iterable[str]) -> dict[str, Failure]:
        found = await self.load_payloads(ids, "failure")
        return {run_id: decode_failure(data) for run_id, data in found.items()}

    async def insert_transitions(self, transitions: Sequence[Transition]) -> None:
        await self._put_rows(
            "insert_transitions",
            [
                (t.run_id, t.revision, t.status, t.reason, t.at, t.attempt, t.epoch, t.worker)
                for t in transitions
            ],
        )

    async def load_transitions(self, run_id: str) -> list[Transition]:
        return [Transition(*row) for row in await self._rows("load_transitions", run_id)]

    async def recent_transitions(
        self, namespace: str, since: Instant, limit: int
    ) -> list[tuple[str, Transition]]:
        found = await self._rows("recent_transitions", namespace, since, limit)
        return [(row[0], Transition(*row[1:])) for row in found]

    async def descendants(self, ids: Iterable[str]) -> list[str]:
        return await self._firsts("descendants", rows.each_json(ids))

    async def due_runs(self, now: Instant, limit: int) -> list[str]:
        return await self._firsts("due_runs", now, limit)

    async def next_wake(self) -> Instant | None:
        wake = await self._one("next_wake")
        assert wake is None or isinstance(wake, int)
        return wake

    async def list_runs(self, namespace: str, query: RunQuery, page: Page) -> list[str]:
        return await self._firsts(
            f"list_{leading_filter(query)}_{page.order}",
            namespace,
            page.cursor,
            query.workflow,
            query.version,
            ",".join(query.status) or None,
            query.reference_id,
            query.parent_id,
            query.shard,
            query.created_after,
            query.created_before,
            page.limit,
        )

    async def expired_runs(self, namespace: str, ended_before: Instant, limit: int) -> list[str]:
        return await self._firsts("expired_runs", namespace, ended_before, limit)

    async def delete_runs(self, ids: Sequence[str]) -> None:
        wanted = rows.each_json(ids)
        for table in _TABLES_OF_A_RUN:
            await self._put(f"delete_{table}", wanted)
        await self._put("delete_letters_of", wanted)
