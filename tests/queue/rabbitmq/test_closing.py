"""Laws of closing: in whatever moment it comes, nothing opens afterwards and nothing stays open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest

from aiki import RabbitMQ
from aiki.errors import QueueUnavailable
from aiki.ids import new_id
from aiki.operations.work import Claims, Offer
from aiki.queue.rabbitmq.publisher import RabbitPublisher
from aiki.queue.subscriber import Ask, Interest
from tests.queue.rabbitmq.support import (
    LATE_SECONDS,
    control,
    fresh,
    messages,
    publisher,
    until,
)
from tests.services import rabbitmq as service
from tests.services.proxy import Proxy

rabbitmq = service.rabbitmq
TURNS = (*range(10), *(2**power for power in range(4, 13)))
"""Of the loop, between the beginning of a call and the close."""
NEVER_MS = 100_000_000


@pytest.fixture
def place(rabbitmq: service.RabbitMq) -> Iterator[str]:
    """A virtual host that no other test uses."""
    name = new_id()
    rabbitmq.control("add_vhost", name)
    rabbitmq.control("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
    yield name
    rabbitmq.control("delete_vhost", name)


async def until_nothing_is_open(node: service.RabbitMq, place: str) -> None:
    async with asyncio.timeout(LATE_SECONDS):
        while place in await control(node, "list_connections", "vhost"):
            pass


async def begin(url: str, workflow: str) -> tuple[RabbitMQ, asyncio.Task[Ask]]:
    """A subscriber whose first look is over, and that begins to wait for news."""
    subscriber = RabbitMQ(url, wait_ms=NEVER_MS, look_interval_ms=NEVER_MS)
    await subscriber.open(Interest("here", "default", (Offer(workflow, "1"),), ()))
    await subscriber.next(5)
    subscriber.learn(Claims())
    return subscriber, asyncio.create_task(subscriber.next(5))


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_subscriber_that_is_closed_while_it_waits_leaves_nothing_open(
    rabbitmq: service.RabbitMq, place: str, cancelled: bool
) -> None:
    url = f"{rabbitmq.url}{place}"
    stream = fresh()
    async with publisher(url) as sender:
        await sender.publish(messages(stream, 200))
        subscribers: list[RabbitMQ] = []
        for turns in TURNS:
            subscriber, waiting = await begin(url, stream.queue.workflow)
            for _ in range(turns):
                await asyncio.sleep(0)
            if cancelled:
                waiting.cancel()
            await asyncio.wait_for(subscriber.close(), LATE_SECONDS)
            waiting.cancel()
            await asyncio.wait([waiting], timeout=LATE_SECONDS)
            assert waiting.done()
            # They are kept, so that nothing is closed because it was forgotten.
            subscribers.append(subscriber)
    await until_nothing_is_open(rabbitmq, place)


async def test_a_publisher_that_is_closed_while_it_publishes_leaves_nothing_open(
    rabbitmq: service.RabbitMq, place: str
) -> None:
    stream = fresh()
    publishers: list[RabbitPublisher] = []
    for turns in TURNS:
        sender = RabbitPublisher(f"{rabbitmq.url}{place}")
        publishing = asyncio.create_task(sender.publish(messages(stream, 1)))
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.wait_for(sender.close(), LATE_SECONDS)
        with suppress(QueueUnavailable):
            await asyncio.wait_for(publishing, LATE_SECONDS)
        publishers.append(sender)
    await until_nothing_is_open(rabbitmq, place)


async def test_an_opening_that_nobody_answers_ends_with_the_close(
    rabbitmq: service.RabbitMq,
) -> None:
    async with Proxy.to_port(rabbitmq.port) as wire:
        wire.black_hole()
        sender = RabbitPublisher(f"amqp://127.0.0.1:{wire.port}/", timeout_ms=NEVER_MS)
        asking = asyncio.create_task(sender.ping())
        await until(lambda: wire.connections == 1)
        await asyncio.wait_for(sender.close(), LATE_SECONDS)
        with pytest.raises(QueueUnavailable):
            await asyncio.wait_for(asking, LATE_SECONDS)
        wire.let_through()
        await until(lambda: wire.connections == 0)


async def test_what_is_closed_opens_nothing(rabbitmq: service.RabbitMq) -> None:
    async with Proxy.to_port(rabbitmq.port) as wire:
        async with publisher(f"amqp://127.0.0.1:{wire.port}/") as sender:
            await sender.ping()
        with pytest.raises(QueueUnavailable, match="closed"):
            await sender.ping()
        await until(lambda: wire.connections == 0)
