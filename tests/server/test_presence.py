"""Law: a worker whose streaming request ends without a goodbye loses its runs, nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aiki.engine.daemons import recover
from aiki.operations.work import LeaveWorker
from tests.engine.support import claim_of, registration
from tests.server.support import API, LIMIT_SECONDS, House, holds
from tests.support.databases import rows_at

_HTTP = "HTTP/1.1\r\nHost: a\r\n\r\n"


@asynccontextmanager
async def presence(house: House, incarnation: str, number: int) -> AsyncIterator[Any]:
    """An open streaming request, whose first byte has come."""
    path = f"{API}/workers/{incarnation}/presence?number={number}"
    async with house.http.get(path) as response:
        assert response.status == 200
        assert await response.content.read(1) == b"\n"
        yield response


def _suspects(house: House) -> list[Any]:
    return rows_at(house.path, "SELECT incarnation FROM worker WHERE suspect_since IS NOT NULL")


async def _held(house: House, incarnation: str = "lost") -> str:
    """A run that a worker holds."""
    run_id = await house.start_run()
    await house.calls(registration(incarnation, lease_ms=600_000))
    (claims,) = await house.calls(claim_of(incarnation))
    assert [run.id for run in claims.runs] == [run_id]
    return run_id


async def test_the_runs_of_a_lost_worker_go_to_another_in_about_a_second(tmp_path: Path) -> None:
    async with House(tmp_path / "a.db", engine={"daemons": True}) as house:
        run_id = await _held(house)
        await house.calls(registration("other"))
        async with presence(house, "lost", 1):
            other = asyncio.create_task(house.calls(claim_of("other", wait_ms=20_000)))
            await holds(lambda: house.server.service.rooms.waiting.taken == 1)
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(LIMIT_SECONDS):
            (claims,) = await other
        assert [run.id for run in claims.runs] == [run_id]
        assert asyncio.get_running_loop().time() - began < 3


async def test_a_worker_that_opens_another_request_is_not_suspected(house: House) -> None:
    run_id = await _held(house)
    async with presence(house, "lost", 1):
        pass
    await holds(lambda: _suspects(house))
    async with presence(house, "lost", 2):
        assert not _suspects(house)
        await house.engine.store.shift_clock(10_000)
        assert await recover(house.engine) == 0
        assert await house.status(run_id) == "running"


async def test_an_earlier_request_that_closes_late_says_nothing(house: House) -> None:
    await _held(house)
    async with presence(house, "lost", 2):
        async with presence(house, "lost", 1):
            pass
        await holds(lambda: house.server.service.rooms.presences.taken == 1)
        assert not _suspects(house)


@pytest.mark.parametrize("over", ["calls", "route"])
async def test_a_goodbye_ends_the_request_and_suspects_nobody(house: House, over: str) -> None:
    run_id = await _held(house)
    async with presence(house, "lost", 1) as response:
        if over == "calls":
            await house.calls(LeaveWorker(incarnation="lost"))
        else:
            assert (await house.request("DELETE", "workers/lost")).status == 200
        async with asyncio.timeout(LIMIT_SECONDS):
            await response.content.read()
    assert not _suspects(house)
    assert await house.status(run_id) == "queued"


async def test_a_worker_that_says_goodbye_and_hangs_up_at_once_is_not_suspected(
    house: House,
) -> None:
    await _held(house)
    async with house.raw() as open_request, house.raw() as goodbye:
        await open_request.send(f"GET {API}/workers/lost/presence?number=1 {_HTTP}".encode())
        await open_request.answer()
        before = house.engine.lifeline.operations
        await goodbye.send(f"DELETE {API}/workers/lost {_HTTP}".encode())
        open_request.writer.transport.abort()
        assert (await goodbye.answer())[0] == 200
        await holds(lambda: house.server.service.rooms.presences.taken == 0)
        assert house.engine.lifeline.operations == before


async def test_a_server_that_stops_suspects_nobody(house: House) -> None:
    await _held(house)
    async with presence(house, "lost", 1) as response:
        await house.stop()
        async with asyncio.timeout(LIMIT_SECONDS):
            await response.content.read()
    assert not _suspects(house)


async def test_a_waiting_claim_of_a_lost_worker_is_given_nothing(house: House) -> None:
    await house.calls(registration("lost"))
    claim = asyncio.create_task(house.calls(claim_of("lost", wait_ms=60_000)))
    await holds(lambda: house.server.service.rooms.waiting.taken == 1)
    async with presence(house, "lost", 1):
        pass
    async with asyncio.timeout(LIMIT_SECONDS):
        (claims,) = await claim
    assert claims.runs == ()


async def test_the_open_request_is_kept_alive_by_bytes(tmp_path: Path) -> None:
    async with House(tmp_path / "a.db", presence_interval_ms=10) as house:
        async with presence(house, "w", 1) as response, asyncio.timeout(LIMIT_SECONDS):
            assert await response.content.readexactly(3) == b"\n\n\n"


@pytest.mark.parametrize("query", ["", "?number=x", "?number=-1", "?number=1&number=2", "?n=1"])
async def test_a_request_without_its_number_is_refused(house: House, query: str) -> None:
    response = await house.get(f"workers/w/presence{query}")
    assert (response.status, response.kind) == (422, "invalid-request")
