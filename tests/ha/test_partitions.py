"""Laws: a part that the network cuts off costs its own work a lease at most, and takes part again.

Two servers on PostgreSQL in processes of their own; what is cut off stands behind proxies, and is
in this process where it is a worker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta

import pytest

import aiki
from aiki import Run, Worker, task, task_context, workflow
from tests.crash.processes import start_worker
from tests.crash.program import POKE, expected, poke, walk
from tests.ha.site import LIMIT_SECONDS, Site, check_records, happens, site_on, url_of
from tests.services import postgres
from tests.services.proxy import Proxy
from tests.support.app import Ledger

postgres_url = postgres.postgres_url
LIMIT = timedelta(seconds=LIMIT_SECONDS)
LEASE_MS = 1_500
RUNS = 5
SEED = 4
ledger = Ledger()
gate = asyncio.Event()

pytestmark = [pytest.mark.slow]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ledger.lines.clear()
    gate.clear()


@task
async def hold(name: str) -> str:
    """Executed for the first time, it waits at the gate; executed again, it ends."""
    execution = ledger.add(task_context().idempotency_key)
    if execution == 1:
        await gate.wait()
    return f"{name} by execution {execution}"


@workflow("held").version("1")
async def held(run: Run, name: str) -> str:
    return await hold(run, name)


class Door(Proxy):
    """A proxy that can be shut: then nobody gets through, and everybody is told so."""

    def shut(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()


@asynccontextmanager
async def working(client: aiki.Client) -> AsyncIterator[Worker]:
    """A worker that is stopped in the end."""
    worker = Worker(
        client, workflows=[held], lease_ms=LEASE_MS, graceful_shutdown_timeout_ms=20_000
    )
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@asynccontextmanager
async def proxies_to(site: Site) -> AsyncIterator[list[Proxy]]:
    """One before each server."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Proxy.to_port(port)) for port in site.ports]


async def test_a_worker_behind_a_dead_router_loses_its_runs_and_comes_back(
    postgres_url: str,
) -> None:
    """No connection closes, so the lease tells; what it reports afterwards is refused."""
    async with site_on(postgres_url) as site, proxies_to(site) as proxies:
        through = url_of(*(proxy.port for proxy in proxies))
        async with aiki.connect(site.url) as client, aiki.connect(through) as cut_off:
            async with working(cut_off):
                handles = [await held.enqueue(client, str(number)) for number in range(RUNS)]
                await happens(lambda: _begun(RUNS))
                for proxy in proxies:
                    proxy.black_hole()
                begun = time.monotonic()
                async with working(client):
                    results = [await handle.result(timeout=LIMIT) for handle in handles]
                assert time.monotonic() - begun < LEASE_MS / 1000 + 5
                gate.set()
                for proxy in proxies:
                    proxy.let_through()
                later = await held.enqueue(client, "later")
                assert await later.result(timeout=LIMIT) == "later by execution 1"
    assert results == [f"{number} by execution 2" for number in range(RUNS)]
    assert sorted(ledger.repeated.values()) == [2] * RUNS
    await check_records(postgres_url, {handle.id for handle in [*handles, later]})


async def _begun(executions: int) -> bool:
    return len(ledger.lines) >= executions


async def test_a_server_without_its_database_leaves_the_work_to_the_other(
    postgres_url: str,
) -> None:
    """It lives and answers, so nothing but what it says tells that it is of no use."""
    server = postgres.postgres(postgres.versions()[0])
    if server.socket is None:
        pytest.skip("the socket of the server that was given is unknown")
    schema = postgres_url.partition("schema=")[2]
    async with Door.to_unix(f"{server.socket}/.s.PGSQL.5432") as door:
        through = f"postgresql://aiki@127.0.0.1:{door.port}/postgres?sslmode=disable"
        async with site_on(f"{through}&schema={schema}", postgres_url) as site:
            patience = timedelta(seconds=10)
            async with aiki.connect(site.url, timeout=patience) as client:
                await site.add(start_worker(site.url))
                first = await walk.enqueue(client, SEED)
                door.shut()
                handles = [first, *[await walk.enqueue(client, SEED) for _ in range(RUNS)]]
                for handle in handles:
                    await handle.send(poke, POKE)
                    assert await handle.result(timeout=LIMIT) == expected(SEED)
    await check_records(postgres_url, {handle.id for handle in handles})
