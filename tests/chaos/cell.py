"""One pair of store and queue: servers, workers, a load and a nemesis, and what came of it."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from pathlib import Path

import aiki
from tests.chaos.load import Load, Planned, expectation, plan
from tests.chaos.nemesis import Nemesis, kinds_for, schedule
from tests.chaos.processes import Process
from tests.chaos.records import read_records
from tests.chaos.report import Outcome
from tests.chaos.services import (
    BROKERS,
    Brokers,
    database,
    messages_left,
    supervised_brokers,
)
from tests.chaos.trees import LEDGER, SHARD, SHARDS, ledger_of
from tests.services.server import free_port

LEASE_MS = 2_000
WORKERS = 3
"""Beside one for each shard."""
SETTLE_SECONDS = 90
"""After the last repair, how long runs may take to end, and the broker to become empty."""


class Cell:
    """One run of the matrix."""

    def __init__(self, store: str, queue: str, seed: int, seconds: float, folder: Path) -> None:
        self._store, self._queue, self._seed, self._seconds = store, queue, seed, seconds
        self._folder = folder
        self._ledger = folder / "ledger"
        self._brokers = Brokers("", ())
        self._database = ""
        self._servers: list[Process] = []
        self._workers: list[Process] = []

    async def run(self) -> Outcome:
        """Start all, break it, wait, and look."""
        with ExitStack() as stack:
            self._database = stack.enter_context(database(self._store, self._folder))
            if self._queue in BROKERS:
                self._brokers = stack.enter_context(supervised_brokers(self._queue))
            try:
                return await self._run(await self._start())
            finally:
                for process in (*self._workers, *self._servers):
                    await process.kill()

    async def _run(self, url: str) -> Outcome:
        began = time.monotonic()
        planned = plan(self._seed, self._seconds)
        nemesis = Nemesis(
            self._servers, self._workers, self._brokers.members, self._database, LEASE_MS
        )
        async with aiki.connect(url) as client:
            load = Load(client, self._ledger)
            watching = asyncio.create_task(load.watch())
            await self._endure(load, planned, nemesis)
            answers, stuck = await load.finish(SETTLE_SECONDS)
            watching.cancel()
        left = await messages_left(self._brokers.members, SETTLE_SECONDS)
        records = await read_records(self._database, load.accepted)
        parts = [*self._servers, *self._workers]
        return Outcome(
            store=self._store,
            queue=self._queue,
            seed=self._seed,
            runs=len(load.accepted),
            faults=nemesis.faults,
            recovered=records.recovered,
            executions=ledger_of(self._ledger),
            expected=expectation(planned),
            answers=answers,
            stuck=stuck,
            broken=records.wrong,
            failures=nemesis.failures + [each.complaint for each in parts if each.complaint],
            left=left,
            longest_pause_seconds=load.longest_pause_seconds,
            seconds=time.monotonic() - began,
        )

    async def _endure(self, load: Load, planned: list[Planned], nemesis: Nemesis) -> None:
        """Load and faults together; in the end nothing is broken any more."""
        kinds = kinds_for(self._store, self._queue)
        harm = nemesis.carry_out(schedule(self._seed, self._seconds, kinds))
        starting = asyncio.create_task(load.start(planned))
        try:
            await harm
            async with asyncio.timeout(SETTLE_SECONDS):
                await starting
        except TimeoutError:
            nemesis.failures.append(f"no server accepted a start for {SETTLE_SECONDS} s")

    async def _start(self) -> str:
        """All processes; answers the URL of the servers."""
        ports = [free_port() for _ in range(1 if self._store == "sqlite" else 2)]
        heard = ["--queue", self._brokers.url] if self._brokers.members else []
        for port in ports:
            words = ["aiki.cli", "server", "--url", self._database, "--port", str(port),
                     "--grpc-port", "none", "--json", *heard]  # fmt: skip
            self._servers.append(self._process(f"server {port}", words))
            await self._servers[-1].start()
        url = "http://" + ",".join(f"127.0.0.1:{port}" for port in ports)
        for number, shard in enumerate(("",) * WORKERS + SHARDS):
            name, words = f"worker {number} {shard}".rstrip(), self._worker_words(url, shard)
            self._workers.append(self._process(name, words, shard))
        await asyncio.gather(*(worker.start() for worker in self._workers))
        return url

    def _worker_words(self, url: str, shard: str) -> list[str]:
        reach = ["--url", url, "--lease-ms", str(LEASE_MS)]
        if shard:
            reach += ["--shards", shard]
        if self._queue == "adaptive":
            return ["tests.chaos.adaptive", *reach]
        heard = ["--queue", self._brokers.url] if self._brokers.members else []
        return ["aiki.cli", "worker", "tests.chaos.trees:WORKFLOWS", *reach, "--json", *heard]

    def _process(self, name: str, words: list[str], shard: str = "") -> Process:
        log = self._folder / f"{name.replace(' ', '-')}.log"
        return Process(name, words, log, {LEDGER: str(self._ledger), SHARD: shard})
