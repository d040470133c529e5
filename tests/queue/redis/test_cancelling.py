"""Laws of what is cancelled while Redis is asked: it ends, however far it has come."""

from __future__ import annotations

import asyncio

import pytest

from aiki.ending import end_all
from aiki.queue.redis.address import Address
from aiki.queue.redis.command import Command
from aiki.queue.redis.connection import Connection
from tests.services import redis as service

redis = service.redis
ASK = Command("k", ("EVAL", "return 1", 1, "k"))
MOST_TURNS = 40


@pytest.mark.parametrize("count", [1, 3])
async def test_no_cancellation_is_lost(redis: service.RedisServer, count: int) -> None:
    connection = Connection(Address.parse(redis.url), timeout_ms=5_000, max_connections=4)

    async def ask_and_wait() -> None:
        await connection.each_answered([ASK] * count)
        await asyncio.get_running_loop().create_future()

    await connection.each_answered([ASK])
    for turns in range(MOST_TURNS):
        for _ in range(5):
            task = asyncio.create_task(ask_and_wait())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=5.0)
            assert done, f"after {turns} turns it was lost"
    await connection.close()


async def test_what_loses_a_cancellation_is_ended_all_the_same() -> None:
    lost = 0

    async def lose() -> None:
        nonlocal lost
        while lost < 2:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                lost += 1
        await asyncio.get_running_loop().create_future()

    async def fail() -> None:
        raise ValueError("of no interest")

    tasks = [asyncio.create_task(lose()), asyncio.create_task(fail())]
    await asyncio.sleep(0)
    await end_all(tasks)
    assert lost == 2 and all(task.done() for task in tasks)
