"""What the tests of Redis Streams share: names of their own, messages, and readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiki.ids import new_id
from aiki.operations.work import Offer
from aiki.queue.consumer import Delivery
from aiki.queue.message import Message, Queue
from aiki.queue.redis.consumer import RedisConsumer
from aiki.queue.redis.options import RedisOptions
from aiki.queue.redis.publisher import RedisPublisher
from aiki.queue.subscriber import Interest

LATE_SECONDS = 60.0
"""When a test gives up."""
OPTIONS = RedisOptions(block_time_ms=20_000, claim_interval_ms=80_000_000, timeout_ms=10_000)
"""A read waits for what comes, and takes nothing over."""
MOMENT = OPTIONS._replace(block_time_ms=20)
"""For reads where nothing is expected."""
AT_ONCE = MOMENT._replace(claim_min_idle_time_ms=1, claim_interval_ms=1)
"""Whatever another consumer has taken is taken over."""


def fresh(shard: str = "", namespace: str = "default") -> Queue:
    """A queue that no other test uses."""
    return Queue(namespace, f"w{new_id()}", shard)


def messages(queue: Queue, count: int, version: str = "1") -> list[Message]:
    return [Message(queue, version, new_id()) for _ in range(count)]


def ids(found: Iterable[Delivery | Message]) -> list[str]:
    return [each.message.run_id if isinstance(each, Delivery) else each.run_id for each in found]


@asynccontextmanager
async def publisher(url: str) -> AsyncIterator[RedisPublisher]:
    opened = RedisPublisher(url, timeout_ms=10_000)
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()


@asynccontextmanager
async def consumer(
    url: str,
    *queues: Queue,
    versions: tuple[str, ...] = ("1",),
    offers: tuple[Offer, ...] = (),
    name: str | None = None,
    options: RedisOptions = OPTIONS,
) -> AsyncIterator[RedisConsumer]:
    opened = RedisConsumer(url, options)
    workflows = dict.fromkeys(queue.workflow for queue in queues)
    shards = tuple(dict.fromkeys(queue.shard for queue in queues if queue.shard))
    if not offers:
        offers = tuple(Offer(workflow, version) for workflow in workflows for version in versions)
    await opened.open(Interest(name or new_id(), queues[0].namespace, offers, shards))
    try:
        yield opened
    finally:
        await opened.close()


def die(reader: RedisConsumer) -> None:
    """What it leaves behind is told to nobody."""
    reader._streams.clear()


async def collect(reader: RedisConsumer, count: int, capacity: int = 10) -> list[Delivery]:
    """Read until there are so many."""
    found: list[Delivery] = []
    async with asyncio.timeout(LATE_SECONDS):
        while len(found) < count:
            found += (await reader.read(capacity)).deliveries
    return found


async def until(true: Callable[[], Any]) -> None:
    """Return when it is."""
    async with asyncio.timeout(LATE_SECONDS):
        while not true():  # noqa: ASYNC110 - what is waited for happens in Redis
            await asyncio.sleep(0.005)
