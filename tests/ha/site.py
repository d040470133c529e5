"""Two servers on one database in processes of their own, and what the database must hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
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

    def __init__(self) -> None:
        self.ports = [free_port(), free_port()]
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

    async def stop(self) -> None:
        """Kill all."""
        for process, reader in zip(self._processes, self._readers, strict=True):
            await kill(process, reader)


def url_of(*ports: int) -> str:
    """What a client is given to reach the servers, or the proxies, at these ports."""
    return "http://" + ",".join(f"127.0.0.1:{port}" for port in ports)


@asynccontextmanager
async def site_on(*databases: str) -> AsyncIterator[Site]:
    """Servers that answer; on one database, which each may reach by a URL of its own."""
    site = Site()
    try:
        for port, database in zip(site.ports, (databases * 2)[:2], strict=True):
            await site.add(start_server(database, port))
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
