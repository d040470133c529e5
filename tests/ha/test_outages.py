"""Laws: what stands between the parts goes away and comes back, and nothing is lost or doubled.

Two servers on one database, a worker, and a client that knows both servers. The worker executes
walks over everything that a run can wait for; what each must return is known beforehand.
"""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

import aiki
from tests.crash.processes import start_worker
from tests.crash.program import POKE, expected, poke, walk
from tests.differential.stores import each_kind
from tests.ha.load import Load
from tests.ha.site import Site, check_records, happens, site_on
from tests.ha.supervised import DATABASES, Database

WALKS = 60
"""Spread over the outages."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


async def start_walk(client: aiki.Client, seed: int) -> aiki.RunHandle[int]:
    """Start it, and send its event before it can wait for it."""
    handle = await walk.enqueue(client, seed)
    await handle.send(poke, POKE, key="poke")
    return handle


async def are_unready(site: Site) -> bool:
    """Whether no server is ready to serve."""
    return not any([await asyncio.to_thread(_is_ready, port) for port in site.ports])


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10):
            return True
    except (urllib.error.URLError, OSError):
        return False


async def _restarted_at_once(site: Site, database: Database) -> None:
    """It is away for as long as it takes to recover."""
    database.restart()


async def _away_until_noticed(site: Site, database: Database) -> None:
    """It comes back when no server calls itself ready any more."""
    database.go()
    await happens(lambda: are_unready(site))
    database.come_back()


Outage = Callable[[Site, Database], Awaitable[None]]


@pytest.mark.parametrize(("outage", "times"), [(_restarted_at_once, 3), (_away_until_noticed, 1)])
@each_kind
async def test_a_database_that_dies_loses_nothing_that_was_acknowledged(
    kind: str, outage: Outage, times: int
) -> None:
    if kind not in DATABASES:
        pytest.skip("a file has no process that could die")
    with DATABASES[kind]() as database:
        async with site_on(database.url) as site, aiki.connect(site.url) as client:
            await site.add(start_worker(site.url))
            walks = Load(partial(start_walk, client), expected)
            pids = {database.pid}
            for _ in range(times):
                before = len(walks.accepted)
                starting = asyncio.create_task(walks.start(WALKS // times))
                # Some were accepted, so that others are under way.
                await happens(lambda n=before: _more_than(n, walks))  # type: ignore[misc]
                await outage(site, database)
                await starting
                pids.add(database.pid)
            await walks.finish()
        await check_records(database.url, walks.accepted)
    assert len(pids) == times + 1


async def _more_than(accepted: int, walks: Load) -> bool:
    return len(walks.accepted) > accepted
