"""Laws of trouble: killed, frozen, failed over, wiped; what is heard again, and what is refused."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

from aiki.errors import ConfigurationError, QueueUnavailable
from aiki.queue.publisher import Published
from tests.queue.redis.support import (
    LATE_SECONDS,
    MOMENT,
    OPTIONS,
    collect,
    consumer,
    fresh,
    ids,
    messages,
    publisher,
    until,
)
from tests.services import redis as service
from tests.services.server import freeze, server_pid


@pytest.fixture
def own() -> Iterator[service.RedisServer]:
    with service.private_server() as made:
        yield made


async def test_a_frozen_redis_is_told_in_time_and_goes_on_when_it_wakes(
    own: service.RedisServer,
) -> None:
    queue = fresh()
    options = MOMENT._replace(timeout_ms=300)
    async with publisher(own.url) as sender, consumer(own.url, queue, options=options) as reader:
        await reader.read(1)
        freeze(server_pid(own.data))
        try:
            async with asyncio.timeout(LATE_SECONDS):
                with pytest.raises(QueueUnavailable, match="no answer within"):
                    await reader.read(1)
        finally:
            os.kill(server_pid(own.data), signal.SIGCONT)
        sent = messages(queue, 3)
        await sender.publish(sent)
        assert ids(await collect(reader, 3)) == ids(sent)


async def test_a_dead_redis_is_told_at_once(own: service.RedisServer) -> None:
    queue = fresh()
    async with publisher(own.url) as sender, consumer(own.url, queue) as reader:
        read = asyncio.create_task(reader.read(1))
        await sender.publish(messages(fresh(), 1))
        own.client().client_kill_filter(_type="normal")
        os.kill(server_pid(own.data), signal.SIGKILL)
        async with asyncio.timeout(LATE_SECONDS):
            with pytest.raises(QueueUnavailable, match=str(own.port)):
                await read
            with pytest.raises(QueueUnavailable):
                await sender.publish(messages(queue, 1))
            with pytest.raises(QueueUnavailable):
                await sender.ping()


async def test_after_a_flush_under_load_everything_is_announced_again_and_heard(
    own: service.RedisServer,
) -> None:
    queue = fresh()
    sent = messages(queue, 200)
    options = MOMENT._replace(block_time_ms=50)
    heard: set[str] = set()
    async with publisher(own.url) as sender, consumer(own.url, queue, options=options) as reader:
        records = [Published(m, p) for m, p in zip(sent, await sender.publish(sent), strict=True)]

        async def receive() -> None:
            while not heard >= set(ids(sent)):
                with suppress(QueueUnavailable):
                    batch = (await reader.read(7)).deliveries
                    heard.update(ids(batch))

        async def flush() -> None:
            await until(lambda: len(heard) >= 50)
            own.client().flushall()
            gone = await sender.missing(records)
            assert gone == sent
            await sender.publish(gone)

        async with asyncio.timeout(LATE_SECONDS):
            await asyncio.gather(receive(), flush())


async def test_after_a_fail_over_that_lost_writes_these_are_missing_and_reading_goes_on() -> None:
    queue = fresh()
    with service.private_watched() as watched:
        options = MOMENT._replace(timeout_ms=1_000, block_time_ms=200)
        async with (
            publisher(watched.url) as sender,
            consumer(watched.url, queue, options=options) as reader,
        ):
            await sender.publish(messages(queue, 1))
            await reader.done(await collect(reader, 1))
            watched.master.client().wait(1, 5_000)
            # The replica hears nothing of what comes now.
            freeze(server_pid(watched.replica.data))
            watched.master.client().client_kill_filter(_type="replica")
            lost = messages(queue, 3)
            places = await sender.publish(lost)
            os.kill(server_pid(watched.master.data), signal.SIGKILL)
            os.kill(server_pid(watched.replica.data), signal.SIGCONT)
            records = [Published(m, p) for m, p in zip(lost, places, strict=True)]
            async with asyncio.timeout(LATE_SECONDS):
                while True:
                    with suppress(QueueUnavailable):
                        # The new master has to be one before it may be written to.
                        assert await sender.missing(records) == lost
                        await sender.publish(lost)
                        break
                    await asyncio.sleep(0.05)
                found: list[str] = []
                while len(found) < 3:
                    with suppress(QueueUnavailable):
                        found += ids((await reader.read(5)).deliveries)
                assert found == ids(lost)
            assert watched.replica.client().xlen(queue.key) == 3


def test_options_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="block_time_ms=0"):
        OPTIONS._replace(block_time_ms=0).checked()
    with pytest.raises(ConfigurationError, match="max_connections=2"):
        OPTIONS._replace(max_connections=2).checked()
