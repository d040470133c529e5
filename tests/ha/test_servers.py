"""Laws: servers die, freeze and are replaced under load; all that was accepted ends, and once.

Two servers, two workers and a client, which know both servers. The workers live, so that not even
an execution that was not recorded yet may be repeated.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

import aiki
from tests.differential.stores import each_kind, using
from tests.ha.journey import LEDGER, expected, repeated, start_journey
from tests.ha.load import Load
from tests.ha.site import Site, check_records, happens, site_on, url_of
from tests.support import databases

RUNS = 90
BOUND_SECONDS = 10
"""A session that froze inside a transaction keeps its locks for 5 s; its victims try again."""

pytestmark = [pytest.mark.slow]


@pytest.fixture
def database(kind: str, tmp_path: Path) -> Iterator[str]:
    """An empty database of a kind that two hosts can share."""
    if kind == "sqlite":
        pytest.skip("a file is for one machine")
    with using(kind):
        yield databases.url_of(tmp_path / "ha")


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@asynccontextmanager
async def busy(database: str, ledger: Path) -> AsyncIterator[tuple[Site, Load]]:
    """Servers, workers and a load; at the end the load is through, and nothing was repeated."""
    async with site_on(database) as site, aiki.connect(site.url) as client:
        for _ in range(2):
            await site.start_worker({LEDGER: str(ledger)})
        load = Load(partial(start_journey, client), expected)
        yield site, load
        await load.finish()
        assert repeated(ledger) == {}
    await check_records(database, load.accepted)


async def reached(count: int, of: Callable[[], int]) -> None:
    """Wait until there are so many."""

    async def reached() -> bool:
        return of() >= count

    await happens(reached)


@each_kind
async def test_a_server_that_is_killed_takes_nothing_with_it(database: str, ledger: Path) -> None:
    async with busy(database, ledger) as (site, load):
        for number in (0, 1):
            before = len(load.accepted)
            starting = asyncio.create_task(load.start(RUNS // 2))
            await reached(before + 5, lambda: len(load.accepted))
            await site.replace(number, signal.SIGKILL)
            await starting


@each_kind
async def test_servers_that_are_replaced_one_by_one_are_not_noticed(
    database: str, ledger: Path
) -> None:
    async with busy(database, ledger) as (site, load):
        for number in (0, 1):
            before = load.ended
            starting = asyncio.create_task(load.start(RUNS // 2))
            await reached(before + 5, lambda: load.ended)
            await site.replace(number, signal.SIGTERM)
            await starting


async def _start_through(site: Site, number: int, load: Load) -> None:
    """Starts through one server alone, each within the bound."""
    async with aiki.connect(url_of(site.ports[number])) as client:
        beside = Load(partial(start_journey, client), expected)
        for _ in range(10):
            begun = time.monotonic()
            await beside.start(1)
            assert time.monotonic() - begun < BOUND_SECONDS
        await beside.finish()
        load.adopt(beside)


@pytest.mark.parametrize("kind", ["postgresql"])
async def test_a_server_that_freezes_holds_nobody_up_and_does_nothing_twice(
    database: str, ledger: Path
) -> None:
    async with busy(database, ledger) as (site, load):
        starting = asyncio.create_task(load.start(RUNS))
        await reached(10, lambda: len(load.accepted))
        site.servers[0].send_signal(signal.SIGSTOP)
        await _start_through(site, 1, load)
        site.servers[0].send_signal(signal.SIGCONT)
        await starting
