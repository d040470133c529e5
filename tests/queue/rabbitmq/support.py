"""What the tests of RabbitMQ share: names of their own, messages, and a client beside ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import aiormq
from aiormq.exceptions import ChannelNotFoundEntity

from aiki.clock import SYSTEM, Clock
from aiki.ids import new_id
from aiki.operations.work import Offer
from aiki.queue.consumer import Delivery
from aiki.queue.message import Message, Queue
from aiki.queue.rabbitmq.consumer import RabbitConsumer
from aiki.queue.rabbitmq.publisher import RabbitPublisher
from aiki.queue.rabbitmq.stream import Stream
from aiki.queue.subscriber import Interest
from tests.services import rabbitmq as service

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel

LATE_SECONDS = 60.0
"""When a test gives up."""
MOMENT_MS = 50
"""How long a read waits where nothing is expected."""


def fresh(shard: str = "") -> Stream:
    """A stream that no other test uses."""
    return Stream(Queue("default", f"w{new_id()}", shard), "1")


def messages(stream: Stream, count: int) -> list[Message]:
    return [Message(stream.queue, stream.version, new_id()) for _ in range(count)]


def ids(found: Iterable[Delivery | Message]) -> list[str]:
    return [each.message.run_id if isinstance(each, Delivery) else each.run_id for each in found]


class HandClock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def wall(self) -> int:
        return int(self.seconds * 1000)


async def control(node: service.RabbitMq, *words: str) -> str:
    """What `rabbitmqctl` prints for this command."""
    return await asyncio.to_thread(node.control, *words)


async def until(true: Callable[[], bool]) -> None:
    """Return when it is."""
    async with asyncio.timeout(LATE_SECONDS):
        while not true():  # noqa: ASYNC110 - what is asked announces nothing
            await asyncio.sleep(0.01)


async def delete(url: str, stream: Stream) -> None:
    async with raw(url) as channel:
        await channel.queue_delete(stream.name)


@asynccontextmanager
async def publisher(url: str, timeout_ms: int = 10_000) -> AsyncIterator[RabbitPublisher]:
    opened = RabbitPublisher(url, timeout_ms=timeout_ms)
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()


@asynccontextmanager
async def consumer(
    url: str,
    *streams: Stream,
    wait_ms: int = 20_000,
    timeout_ms: int = 10_000,
    clock: Clock = SYSTEM,
) -> AsyncIterator[RabbitConsumer]:
    opened = RabbitConsumer(url, wait_ms=wait_ms, timeout_ms=timeout_ms, clock=clock)
    offers = tuple(
        dict.fromkeys(Offer(stream.queue.workflow, stream.version) for stream in streams)
    )
    shards = tuple(dict.fromkeys(stream.queue.shard for stream in streams if stream.queue.shard))
    (namespace,) = {stream.queue.namespace for stream in streams}
    await opened.open(Interest("here", namespace, offers, shards))
    try:
        yield opened
    finally:
        await opened.close()


async def collect(reader: RabbitConsumer, count: int, capacity: int = 10) -> list[Delivery]:
    """Read until there are so many, and grant them."""
    found: list[Delivery] = []
    while len(found) < count:
        batch = await reader.read(capacity)
        assert batch.deliveries
        await reader.granted(batch.deliveries)
        found += batch.deliveries
    return found


@asynccontextmanager
async def raw(url: str) -> AsyncIterator[AbstractChannel]:
    """A channel of a client that is not ours."""
    connection = await aiormq.connect(url)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


async def waiting(url: str, stream: Stream) -> int:
    """How many messages wait for a consumer."""
    async with raw(url) as channel:
        answer = await channel.queue_declare(stream.name, passive=True)
        return answer.message_count or 0


async def until_it_is_read(url: str, stream: Stream) -> None:
    """Return when a consumer waits at this stream."""
    consumers: int | None = 0
    async with asyncio.timeout(LATE_SECONDS):
        while not consumers:
            async with raw(url) as channel:
                with suppress(ChannelNotFoundEntity):
                    answer = await channel.queue_declare(stream.name, passive=True)
                    consumers = answer.consumer_count


async def send_raw(url: str, stream: Stream, bodies: Sequence[bytes]) -> None:
    async with raw(url) as channel:
        for body in bodies:
            await channel.basic_publish(body, routing_key=stream.name)
