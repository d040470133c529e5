"""PostgreSQL's verbs on runs and their histories."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from aiki.clock import Instant
from aiki.model.failure import Failure, decode_failure
from aiki.model.run import Run, Transition
from aiki.operations.runs import RunQuery
from aiki.store.lists import leading_filter
from aiki.store.postgres import rows
from aiki.store.postgres.buffer import Buffer, Columns, columns
from aiki.store.postgres.statements import Row, Statements
from aiki.store.records import NO_NEWS, News, Page, Reference

_NOW = 31
"""The instant's place behind the columns of a run; of a guarded one, its version's."""
_LOOKS = frozenset(
    {
        "find_facts",
        "find_facts_by_key",
        "find_references",
        "load_answer",
        "load_waits",
        "peek_runs",
    }
)
"""Reads that need no transaction: what they read changes only with a guarded run, or a unique key
tells when somebody else was faster. (An inbox does not belong here: facts come without touching
their run, so that a park has to look at it under the lock.)
"""


class Latest:
    """The greatest instant that a store has seen: it answers none below."""

    def __init__(self) -> None:
        self.instant: Instant = 0

    def see(self, instant: Instant) -> Instant:
        """The instant, or the greatest so far if that is later."""
        self.instant = max(self.instant, instant)
        return self.instant


class RunVerbs:
    """Verbs whose noun is the run, and what all verbs stand on."""

    def __init__(
        self,
        statements: Statements,
        latest: Latest,
        *,
        writing: bool,
        repeated: bool = False,
        sender: tuple[str, str] = ("", ""),
        begun: bool = True,
    ) -> None:
        self.repeated = repeated
        self._statements = statements
        self._buffer = Buffer(statements, self._begin)
        self._begun = begun
        """Whether the database knows of this transaction; until then nothing is locked."""
        self._guards: dict[str, str] = {}
        """Versions of the runs that were read without a lock."""
        self._latest = latest
        self._writing = writing
        self._sender = sender
        self._now: Instant | None = None
        self._news = NO_NEWS
        self._picked: dict[str, Run] = {}
        """Runs that this transaction locked and loaded when it picked them, unchanged since."""

    # What all verbs stand on

    async def _begin(self) -> None:
        """Begin, if that was put off: what was read is locked, and must not have changed."""
        if not self._begun:
            self._begun = True
            await self._statements.begin("begin")
            if self._guards:
                await self._statements.rows("check_guards", *self._guarded())

    def _guarded(self) -> Columns:
        return (list(self._guards), list(self._guards.values())) if self._guards else ()

    async def _rows(self, name: str, *values: object) -> list[Row]:
        """All rows, after what was written before."""
        await self._buffer.flush()
        if name not in _LOOKS:
            await self._begin()
        return await self._statements.rows(name, *values)

    async def _one(self, name: str, *values: object) -> object:
        found = await self._rows(name, *values)
        return found[0][0] if found else None

    async def _firsts(self, name: str, *values: object) -> list[str]:
        """The first column."""
        return [row[0] for row in await self._rows(name, *values)]

    async def _put(self, verb: str, values: Columns) -> None:
        """Write at the next chance; nothing is written where there are no rows."""
        if not self._writing:
            raise RuntimeError(f"{verb}: a read must not write")
        self._picked.clear()
        if values:
            await self._buffer.put(verb, values)

    async def finish(self, committing: Callable[[], None]) -> None:
        """Send what is still to be written and the news, and commit.

        What needs one statement needs no brackets: it is a transaction by itself. `committing` is
        called before the first message whose loss leaves open whether all this was done.
        """
        if self._news:
            channel, sender = self._sender
            await self._buffer.put("signal", (channel, f"{sender} {self._news.value}"))
        if self._begun:
            await self._buffer.flush()
            committing()
            await self._statements.commit()
        elif self._buffer:
            committing()
            await self._buffer.save_alone(self._guarded())

    # Time and news

    async def now(self) -> Instant:
        if self._now is None:
            (row,) = await self._statements.rows("now")
            self._now = self._latest.see(row[0])
        return self._now

    async def shift_clock(self, milliseconds: int) -> None:
        """Move the database's clock; only tests may."""
        await self._rows("shift_clock", milliseconds)

    async def signal(self, news: News) -> None:
        self._news |= news

    # Runs

    async def load_runs(self, ids: Iterable[str]) -> list[Run]:
        wanted = list(ids)
        if not self._writing:
            return await self.peek_runs(wanted)
        if wanted and self._picked.keys() >= set(wanted):
            return [self._picked[run_id] for run_id in wanted]
        found = await self._rows("lock_runs", wanted)
        self._now = self._latest.see(found[0][_NOW])
        return [rows.run_from(row) for row in found if row[0] is not None]

    async def guard_runs(self, ids: Iterable[str]) -> list[Run]:
        wanted = list(ids)
        if self._begun:
            return await self.load_runs(wanted)
        found = await self._statements.rows("guard_runs", wanted)
        self._now = self._latest.see(found[0][_NOW + 1])
        known = [row for row in found if row[0] is not None]
        self._guards.update((row[0], row[_NOW]) for row in known)
        return [rows.run_from(row) for row in known]

    async def peek_runs(self, ids: Iterable[str]) -> list[Run]:
        return [rows.run_from(row) for row in await self._rows("peek_runs", list(ids))]

    async def find_references(self, keys: Iterable[Reference]) -> dict[Reference, str]:
        wanted = columns(list(keys)) or ((), (), ())
        found = await self._rows("find_references", *wanted)
        return {Reference(row[0], row[1], row[2]): row[3] for row in found}

    async def insert_runs(self, runs: Sequence[Run]) -> None:
        await self._put("insert_runs", columns([rows.run_row(run) for run in runs]))

    async def update_states(self, runs: Sequence[Run]) -> None:
        latest = {run.id: run for run in runs}
        await self._put("update_states", columns([rows.state_row(run) for run in latest.values()]))

    async def insert_payloads(self, payloads: Sequence[tuple[str, str, bytes]]) -> None:
        latest = {payload[:2]: payload for payload in payloads}
        await self._put("insert_payloads", columns(list(latest.values())))

    async def load_payloads(self, ids: Iterable[str], kind: str) -> dict[str, bytes]:
        return {row[0]: row[1] for row in await self._rows("load_payloads", list(ids), kind)}

    async def load_failures(self, ids: Iterable[str]) -> dict[str, Failure]:
        found = await self.load_payloads(ids, "failure")
        return {run_id: decode_failure(data) for run_id, data in found.items()}

    async def insert_transitions(self, transitions: Sequence[Transition]) -> None:
        await self._put(
            "insert_transitions",
            columns(
                [
                    (t.run_id, t.revision, t.status, t.reason, t.at, t.attempt, t.epoch, t.worker)
                    for t in transitions
                ]
            ),
        )

    async def load_transitions(self, run_id: str) -> list[Transition]:
        return [Transition(*row) for row in await self._rows("load_transitions", run_id)]

    async def recent_transitions(
        self, namespace: str, since: Instant, limit: int
    ) -> list[tuple[str, Transition]]:
        found = await self._rows("recent_transitions", namespace, since, limit)
        return [(row[0], Transition(*row[1:])) for row in found]

    async def descendants(self, ids: Iterable[str]) -> list[str]:
        return await self._firsts("descendants", list(ids))

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
            list(query.status) or None,
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
        await self._rows("delete_runs", list(ids))
