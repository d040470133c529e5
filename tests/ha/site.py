"""Two servers on one database in processes of their own, workers, and what the database must hold.

What they log goes to standard error, which pytest shows with a failure.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.crash.processes import Process, drain, kill, start_server
from tests.crash.records import RECORDS
from tests.differential.invariants import broken
from tests.differential.stores import Look, MySqlLook, PostgresLook
from tests.services.server import free_port

LIMIT_SECONDS = 60


class Site:
    """Two servers, and what else a test adds."""

    def __init__(self, databases: Sequence[str]) -> None:
        self.ports = [free_port(), free_port()]
        self.servers: list[Process] = []
        self._databases = [databases[0], databases[-1]]
        self._processes: list[Process] = []
        self._readers: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        """Of both servers."""
        return url_of(*self.ports)

    async def add(self, starting: Awaitable[Process]) -> Process:
        """Have a process killed in the end, and what it prints read until then."""
        process = await starting
        self._processes.append(process)
        self._readers.append(asyncio.create_task(drain(process)))
        return process

    async def start(self) -> None:
        """Start both servers; they answer when this returns."""
        for port, database in zip(self.ports, self._databases, strict=True):
            self.servers.append(await self.add(start_server(database, port)))

    async def replace(self, number: int, how: signal.Signals) -> None:
        """End a server so, and start another in its place."""
        self.servers[number].send_signal(how)
        code = await self.servers[number].wait()
        assert code == (0 if how == signal.SIGTERM else -how), "a server that is asked to ends well"
        starting = start_server(self._databases[number], self.ports[number])
        self.servers[number] = await self.add(starting)

    async def start_worker(self, environment: Mapping[str, str], lease_ms: int = 30_000) -> Process:
        """A worker of both servers; it is known to them when this returns."""
        return await self.add(_worker(self.url, lease_ms, environment))

    async def stop(self) -> None:
        """Kill all."""
        for process, reader in zip(self._processes, self._readers, strict=True):
            await kill(process, reader)


async def _worker(url: str, lease_ms: int, environment: Mapping[str, str]) -> Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aiki.cli", "worker", "tests.ha.journey:WORKFLOWS", "--url", url,
        "--lease-ms", str(lease_ms), "--graceful-shutdown-timeout-ms", "20000", "--json",
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT_SECONDS):
        line = await process.stdout.readline()
    assert b"ready" in line, f"the worker said {line!r}"
    return process


def url_of(*ports: int) -> str:
    """What a client is given to reach the servers, or the proxies, at these ports."""
    return "http://" + ",".join(f"127.0.0.1:{port}" for port in ports)


@asynccontextmanager
async def site_on(*databases: str) -> AsyncIterator[Site]:
    """Servers that answer; on one database, which each may reach by a URL of its own."""
    site = Site(databases)
    try:
        await site.start()
        yield site
    finally:
        await site.stop()


async def happens(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not await condition():  # noqa: ASYNC110 - what is looked at announces nothing
            await asyncio.sleep(0.02)


async def check_records(database: str, accepted: Collection[str]) -> None:
    """What was acknowledged is there once, all has ended, and every invariant holds."""
    await asyncio.to_thread(_check_records, database, accepted)


def _check_records(database: str, accepted: Collection[str]) -> None:
    loop = asyncio.new_event_loop()
    kind: Any = MySqlLook if database.startswith("mysql") else PostgresLook
    look: Look = kind(database, loop)
    try:
        for name, query in RECORDS.items():
            assert look.rows(query) == [], name
        assert broken(look) == {}
        started = look.rows("SELECT id FROM run WHERE parent_id IS NULL")
        assert sorted(row[0] for row in started) == sorted(accepted)
    finally:
        look.close()
        loop.close()
