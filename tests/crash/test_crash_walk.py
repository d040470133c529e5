"""Seeded SIGKILLs over runs that mix everything: each ends right, each result is recorded once.

On every store, by workers that open the database themselves, and by workers of a server that is
killed too. `AIKI_TEST_KILLS` makes more of them, `AIKI_TEST_SEED` others.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path

import pytest

import aiki
from tests.crash.processes import (
    Process,
    dies,
    drain,
    kill,
    kill_after,
    start_server,
    start_worker,
)
from tests.crash.program import POKE, expected, poke, walk
from tests.crash.records import recoveries
from tests.differential.stores import each_kind, using
from tests.services.server import free_port
from tests.support import databases

AT_SERVERS = ("before_transaction", "before_commit", "after_commit_before_reply")
AT_WORKERS = (
    "after_claim", "before_task", "after_effect_before_report", "after_report_before_next",
)  # fmt: skip
PLACES = (*AT_SERVERS, *AT_WORKERS)
KILLS = int(os.environ.get("AIKI_TEST_KILLS", str(len(PLACES))))
SEED = int(os.environ.get("AIKI_TEST_SEED", "1"))
RUNS = 8
PATIENCE = timedelta(seconds=90)

pytestmark = [pytest.mark.crash, pytest.mark.timeout(180 + 20 * KILLS)]


class Walks:
    """The runs of a storm, and what each must return."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.chance = random.Random(SEED)
        self.runs: list[tuple[int, aiki.RunHandle[int]]] = []
        self.deaths = 0

    async def start(self, client: aiki.Client, count: int) -> None:
        """Runs whose event is sent before they can wait for it."""
        for _ in range(count):
            seed = self.chance.randrange(1 << 30)
            handle = await walk.enqueue(client, seed)
            self.runs.append((seed, handle))
            await handle.send(poke, POKE, key="poke")

    def places(self) -> list[str]:
        """Where to kill: each place in turn, at its first passes or at later ones."""
        return [
            f"{PLACES[number % len(PLACES)]}:{self.chance.randrange(1, 12)}"
            for number in range(KILLS)
        ]

    async def work(self, url: str, failpoint: str) -> None:
        """A worker that dies at the failpoint, or after some lines."""
        worker = await start_worker(url, failpoint)
        self.deaths += await kill_after(worker, self.chance.randrange(10, 40)) > 1

    async def finish(self, url: str) -> None:
        """Let a healthy worker bring all runs to their ends."""
        worker = await start_worker(url)
        draining = asyncio.create_task(drain(worker))
        ended = [await handle.result(timeout=PATIENCE) for _, handle in self.runs]
        await kill(worker, draining)
        assert ended == [expected(seed) for seed, _ in self.runs]


Storm = Callable[[str], Coroutine[None, None, Walks]]


async def _of_workers(database: str) -> Walks:
    """Worker after worker opens the database, and dies."""
    walks = Walks(database)
    async with aiki.connect(database) as client:
        await walks.start(client, RUNS)
        for failpoint in walks.places():
            await walks.start(client, 2)
            await walks.work(database, failpoint)
        await walks.finish(database)
    return walks


async def _of_servers(database: str) -> Walks:
    """Servers die while workers work, and workers die while the server serves."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    walks = Walks(url)
    server = await start_server(database, port)
    async with aiki.connect(url) as client:
        await walks.start(client, RUNS)
        for failpoint in walks.places():
            if failpoint.startswith(AT_SERVERS):
                server = await _replace_dying(walks, client, server, database, failpoint)
            else:
                await walks.start(client, 2)
                await walks.work(url, failpoint)
        await walks.finish(url)
    await kill(server)
    return walks


async def _replace_dying(
    walks: Walks, client: aiki.Client, server: Process, database: str, failpoint: str
) -> Process:
    """A server in the place of this one, which dies while work begins; then another."""
    port = int(walks.url.rpartition(":")[2])
    await kill(server)
    server = await start_server(database, port, failpoint)
    worker = await start_worker(walks.url)
    working = asyncio.create_task(drain(worker))
    starting = asyncio.create_task(walks.start(client, 2))
    walks.deaths += await dies(server)
    server = await start_server(database, port)
    await starting
    await kill(worker, working)
    return server


@pytest.mark.parametrize("storm", [_of_workers, _of_servers])
@each_kind
def test_every_run_ends_right_and_each_result_is_recorded_once(
    kind: str, storm: Storm, tmp_path: Path
) -> None:
    with using(kind):
        path = tmp_path / "crash.db"
        walks = asyncio.run(storm(databases.url_of(path)))
        assert walks.deaths >= KILLS // 2, "too few died while they worked"
        assert recoveries(path) > 0, "no run was ever interrupted"
