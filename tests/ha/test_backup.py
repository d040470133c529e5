"""Laws of backups made while served: what is restored goes on from its records, and ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import aiki
from aiki.engine.daemons import recover
from aiki.model.run import PublicStatus
from tests.crash.records import RECORDS
from tests.differential.invariants import broken
from tests.differential.stores import kinds
from tests.ha.backup_copies import DATABASES, Database, open_look
from tests.ha.backup_program import (
    EVENT,
    SLEEP,
    WORKFLOWS,
    expected,
    gates,
    go,
    keys,
    ledger,
    moving,
    queued,
    running,
    sleeping,
    waiting,
)
from tests.support.app import LIMIT, App, holds, until
from tests.support.databases import exact

RESTING: dict[str, PublicStatus] = {
    "queued": "queued",
    "running": "running",
    "sleeping": "sleeping",
    "waiting": "awaiting_event",
}
"""Statuses of the workflows whose runs do not move at the time of the backup."""
EACH = 3
LEASE_MS = 30_000
AT_ONCE = 4


class Known(NamedTuple):
    """A run that was started."""

    flow: str
    name: str


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ledger.lines.clear()
    keys.clear()
    gates["all"] = asyncio.Event()


@asynccontextmanager
async def app_at(url: str) -> AsyncIterator[App]:
    """A server in this process, without a worker yet."""
    async with aiki.connect(url) as client:
        app = App(client)
        try:
            yield app
        finally:
            await app.stop()


async def start_resting(app: App) -> dict[str, Known]:
    """Runs that have come to rest, each in its own way."""
    known: dict[str, Known] = {}
    for flow in (queued, running, sleeping, waiting):
        for number in range(EACH):
            name = f"{flow.name} {number}"
            handle = await flow.enqueue(app.client, name)
            known[handle.id] = Known(flow.name, name)
    for run_id, (flow_name, name) in known.items():
        await until(app.client.run(run_id, WORKFLOWS[flow_name]), RESTING[flow_name])
        if flow_name == "running":
            await holds(lambda line=f"{name} held": ledger.count(line))  # type: ignore[misc]
    return known


class Traffic:
    """Runs that are started and end, one after another, while something else is done."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._numbers = count()
        self._stopping = False
        self.known: dict[str, Known] = {}
        self.ended: set[str] = set()
        self._lanes = [asyncio.create_task(self._drive()) for _ in range(AT_ONCE)]

    async def _drive(self) -> None:
        while not self._stopping:
            name = f"moving {next(self._numbers)}"
            handle = await moving.enqueue(self._app.client, name)
            self.known[handle.id] = Known("moving", name)
            assert await handle.result(timeout=LIMIT) == expected("moving", name)
            self.ended.add(handle.id)

    async def flows(self) -> None:
        """Wait until more have ended."""
        before = len(self.ended)
        await holds(lambda: len(self.ended) > before + AT_ONCE)

    async def stop(self) -> None:
        """Let the last ones end."""
        self._stopping = True
        await asyncio.gather(*self._lanes)


async def recorded(app: App) -> dict[str, list[str]]:
    """The lines of the tasks whose results are on record, by the ids of all runs."""
    found: dict[str, list[str]] = {}
    async for run in app.client.runs():
        history = await app.history(app.client.run(run.id, WORKFLOWS[run.workflow]))
        found[run.id] = [
            json.loads(entry.value or b"") for entry in history.entries if entry.kind == "task"
        ]
    return found


def check_records(url: str) -> None:
    """Every invariant holds, and all has ended."""
    loop = asyncio.new_event_loop()
    look = open_look(url, loop)
    try:
        for name, query in RECORDS.items():
            assert look.rows(query) == [], name
        assert broken(look) == {}
    finally:
        look.close()
        loop.close()


@pytest.fixture(params=kinds())
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind."""
    database = DATABASES[request.param](tmp_path)
    yield database
    database.drop()


class Served(NamedTuple):
    """What was known at the time of the backup, and the runs that were started until the end."""

    resting: dict[str, Known]
    started: set[str]
    ended: set[str]
    known: dict[str, Known]


async def back_up_while_serving(database: Database) -> Served:
    """Back the database up in the middle of its traffic; what is executed then ends after it."""
    async with app_at(database.url) as app:
        app.work(running, sleeping, waiting, moving)
        resting = await start_resting(app)
        traffic = Traffic(app)
        await traffic.flows()
        started, ended = set(traffic.known), set(traffic.ended)
        await asyncio.to_thread(database.back_up)
        await traffic.flows()
        await traffic.stop()
        gates["all"].set()
        for run_id, run in resting.items():
            if run.flow == "running":
                await until(app.client.run(run_id, running), "completed")
    return Served(resting, started, ended, resting | traffic.known)


@exact
async def test_what_is_restored_goes_on_from_its_records(database: Database) -> None:
    served = await back_up_while_serving(database)
    restored = await asyncio.to_thread(database.restore)
    ledger.lines.clear()
    async with app_at(restored) as app:
        on_record = await recorded(app)
        assert set(served.known) >= set(on_record) >= set(served.resting) | served.started
        await check_rest(app, served)
        await go_on(app, {run_id: served.known[run_id] for run_id in on_record})
    done = {line for lines in on_record.values() for line in lines}
    assert done.isdisjoint(ledger.lines)
    assert ledger.repeated == {}
    # What ended after the backup is executed again, under the same keys.
    assert {f"running {number} held" for number in range(EACH)} <= set(ledger.lines)
    assert all(len(of_line) == 1 for of_line in keys.values())
    await asyncio.to_thread(check_records, restored)


async def check_rest(app: App, served: Served) -> None:
    """The runs are as they were at the time of the backup."""
    found = {run.id: run.status async for run in app.client.runs()}
    for run_id, run in served.resting.items():
        assert found[run_id] == RESTING[run.flow]
    assert {found[run_id] for run_id in served.ended} == {"completed"}


async def go_on(app: App, restored: dict[str, Known]) -> None:
    """All that was restored ends, each run with its result."""
    # The claims of workers of that time end with their leases at the latest.
    await app.pass_time(LEASE_MS, recover)
    await app.pass_time(int(SLEEP.total_seconds() * 1000))
    app.work(*WORKFLOWS.values())
    for run_id, (flow, name) in restored.items():
        handle: aiki.RunHandle[Any] = app.client.run(run_id, WORKFLOWS[flow])
        if flow == "waiting":
            await handle.send(go, EVENT)
        assert await handle.result(timeout=LIMIT) == expected(flow, name)
