"""A whole Aiki in one test: client, server and workers on a database of its own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from aiki import Client, RunHandle, Worker, Workflow
from aiki.engine.engine import Engine, EngineSettings
from aiki.errors import StoreUnavailable
from aiki.model.run import PublicStatus
from aiki.operations.runs import GetHistory, History
from tests.support.databases import FAULTS
from tests.support.topology import client_at, host_of, on_host

R = TypeVar("R")
LIMIT = timedelta(seconds=30)
"""How long a test waits for what must happen: it never passes in a test that succeeds."""
LOST_ANSWERS: tuple[type[Exception], ...] = (StoreUnavailable,) if FAULTS else ()
"""What the faults of the test may answer to a duty, which is then done once more."""


class Ledger:
    """What was executed, kept outside of Aiki."""

    def __init__(self) -> None:
        self.lines: list[Any] = []

    def add(self, line: Any) -> int:
        """Write a line; answers how many like it there are now."""
        self.lines.append(line)
        return self.lines.count(line)

    def count(self, line: Any) -> int:
        return self.lines.count(line)

    @property
    def repeated(self) -> dict[Any, int]:
        """The lines that are there more than once."""
        return {line: count for line, count in Counter(self.lines).items() if count > 1}


class App:
    """One client, and the workers that were started with it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.workers: list[asyncio.Task[None]] = []

    @property
    def engine(self) -> Engine:
        engine = host_of(self.client).engine
        assert engine is not None
        return engine

    def work(self, *workflows: Workflow[..., Any], **options: Any) -> asyncio.Task[None]:
        """Start a worker; cancel what is answered to stop it."""
        options.setdefault("graceful_shutdown_timeout_ms", 2_000)
        worker = Worker(self.client, workflows=workflows, **options)
        task = asyncio.create_task(worker.run())
        self.workers.append(task)
        return task

    async def stop(self, *workers: asyncio.Task[None]) -> None:
        """Stop these workers, or all; an error of theirs is raised."""
        for worker in workers or self.workers:
            worker.cancel()
            with suppress(asyncio.CancelledError):
                await worker
            if worker in self.workers:
                self.workers.remove(worker)

    async def pass_time(self, milliseconds: int, run_once: Any = None) -> None:
        """Move the database's clock, and let the daemons look at it: this one first of all."""
        engine = self.engine

        async def shift() -> None:
            await engine.store.shift_clock(milliseconds)
            while run_once is not None:
                with suppress(*LOST_ANSWERS):
                    await run_once(engine)
                    break
            engine.daemons.timers.poke()

        await on_host(host_of(self.client), shift())

    async def run_daemon(self, run_once: Any) -> int:
        """Let one of the engine's duties be done once, now."""
        while True:
            with suppress(*LOST_ANSWERS):
                return int(await on_host(host_of(self.client), run_once(self.engine)))

    async def history(self, handle: RunHandle[Any]) -> History:
        return await self.client.call(GetHistory(id=handle.id))


async def until(handle: RunHandle[Any], *statuses: PublicStatus) -> PublicStatus:
    """Wait until the run has one of these statuses."""
    async with asyncio.timeout(LIMIT.total_seconds()):
        async for status in handle.watch_status():
            if status in statuses:
                return status
    raise AssertionError(f"{handle} ended without any of {statuses}")


@asynccontextmanager
async def app_on(path: Path, **settings: Any) -> AsyncIterator[App]:
    """An app on the database that stands for this path."""
    options = EngineSettings(**settings) if settings else None
    async with client_at(path, options) as client:
        app = App(client)
        try:
            yield app
        finally:
            await app.stop()


async def holds(condition: Callable[[], object]) -> None:
    """Wait until it is true, one turn of the loop after another."""
    async with asyncio.timeout(LIMIT.total_seconds()):
        while not condition():  # noqa: ASYNC110 - what is looked at announces nothing
            await asyncio.sleep(0)


async def has_entry(app: App, handle: RunHandle[Any], kind: str) -> None:
    """Wait until the run has an entry of this kind on record."""
    async with asyncio.timeout(LIMIT.total_seconds()):
        while not any(entry.kind == kind for entry in (await app.history(handle)).entries):
            continue
