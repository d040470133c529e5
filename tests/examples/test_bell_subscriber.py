"""Laws of a user's own subscriber: it passes the suite, and rings lead to runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

import aiki
from aiki import Run, Worker, workflow
from aiki.testing import SubscriberBehaviour
from examples.bell_subscriber import Bell, ring
from tests.server.support import House

LIMIT = timedelta(seconds=30)


class TestBell(SubscriberBehaviour):
    """What every subscriber must do."""

    def make(self) -> Bell:
        return Bell(look_seconds=0.05)


@workflow("double").version("1.0.0")
async def double(run: Run, n: int) -> int:
    return 2 * n


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with House(tmp_path / "x.db", engine={"daemons": True}) as house:
        yield house


async def test_a_ring_leads_to_a_run(house: House) -> None:
    """Without rings this worker would look once an hour."""
    bell = Bell(look_seconds=3_600)
    async with aiki.connect(house.server.url) as client:
        worker = asyncio.create_task(Worker(client, workflows=[double], subscriber=bell).run())
        handle = await double.enqueue(client, 1)
        waiting = asyncio.create_task(handle.result(timeout=LIMIT))
        while not waiting.done():
            if bell.port:
                ring(bell.port)
            await asyncio.wait([waiting], timeout=0.02)
        assert waiting.result() == 2
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


async def test_nobody_has_to_ring(house: House) -> None:
    async with aiki.connect(house.server.url) as client:
        bell = Bell(look_seconds=0.05)
        worker = asyncio.create_task(Worker(client, workflows=[double], subscriber=bell).run())
        assert await (await double.enqueue(client, 3)).result(timeout=LIMIT) == 6
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
