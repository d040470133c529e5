"""Laws of the looks at the server that a streaming subscriber makes beside what it hears."""

from __future__ import annotations

import asyncio

from aiki import RedisStreams
from aiki.errors import StoreUnavailable
from aiki.ids import new_id
from aiki.operations.work import Claims, Offer
from aiki.queue.subscriber import Ask, Interest
from tests.services import redis as service

redis = service.redis
SOON_SECONDS = 20.0


async def test_a_look_that_failed_is_made_again(redis: service.RedisServer) -> None:
    """What is ready and was not announced is found by looks alone, and they are seldom."""
    subscriber = RedisStreams(redis.url, look_interval_ms=10_000_000, block_time_ms=10)
    await subscriber.open(Interest("here", "default", (Offer(f"flow-{new_id()}", "1"),), ()))
    for _ in range(3):
        assert await asyncio.wait_for(subscriber.next(5), SOON_SECONDS) == Ask(5, 0)
        subscriber.failed(StoreUnavailable("for a moment"))
    assert await asyncio.wait_for(subscriber.next(5), SOON_SECONDS) == Ask(5, 0)
    subscriber.learn(Claims())
    waiting = asyncio.ensure_future(subscriber.next(5))
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done, "it looked, and the next look is far away"
    waiting.cancel()
    await subscriber.close()
