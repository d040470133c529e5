"""Laws of a cluster: streams lie on different servers, move between them, and one may be away."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from aiki.queue.message import Message, Queue
from aiki.queue.publisher import Published
from tests.queue.redis.support import (
    AT_ONCE,
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
from tests.services.server import server_pid


@pytest.fixture(scope="module")
def cluster() -> Iterator[service.RedisCluster]:
    with service.private_cluster() as made:
        yield made


def everywhere(cluster: service.RedisCluster) -> list[Queue]:
    """A queue for each of the servers."""
    found: dict[service.RedisServer, Queue] = {}
    while len(found) < len(cluster.nodes):
        queue = fresh()
        found.setdefault(cluster.node_of(queue.key), queue)
    return [found[node] for node in cluster.nodes]


async def test_streams_of_all_servers_are_announced_read_and_settled(
    cluster: service.RedisCluster,
) -> None:
    queues = everywhere(cluster)
    sent = [message for queue in queues for message in messages(queue, 5)]
    async with publisher(cluster.url) as sender, consumer(cluster.url, *queues) as reader:
        records = [Published(m, p) for m, p in zip(sent, await sender.publish(sent), strict=True)]
        found = await collect(reader, len(sent))
        assert sorted(ids(found)) == sorted(ids(sent))
        await reader.refresh(found)
        await reader.done(found)
        assert sorted(await sender.missing(records)) == sorted(sent)
    for queue in queues:
        assert cluster.node_of(queue.key).client().xlen(queue.key) == 0


async def test_a_read_waits_at_all_servers(cluster: service.RedisCluster) -> None:
    queues = everywhere(cluster)
    async with publisher(cluster.url) as sender, consumer(cluster.url, *queues) as reader:
        for queue in queues:
            read = asyncio.create_task(reader.read(5))
            sent = messages(queue, 1)
            await sender.publish(sent)
            batch = (await asyncio.wait_for(read, LATE_SECONDS)).deliveries
            assert ids(batch) == ids(sent)
            await reader.done(batch)


async def test_what_the_dead_left_is_taken_over_at_all_servers(
    cluster: service.RedisCluster,
) -> None:
    queues = everywhere(cluster)
    sent = [message for queue in queues for message in messages(queue, 2)]
    async with publisher(cluster.url) as sender:
        await sender.publish(sent)
        async with consumer(cluster.url, *queues) as dead:
            await collect(dead, len(sent))
        async with consumer(cluster.url, *queues, options=AT_ONCE) as alive:
            assert sorted(ids(await collect(alive, len(sent)))) == sorted(ids(sent))


async def test_a_slot_moves_under_load_and_nothing_is_lost(cluster: service.RedisCluster) -> None:
    queue = fresh()
    sent: list[Message] = []
    found: list[str] = []
    moved, all_sent = asyncio.Event(), asyncio.Event()
    options = OPTIONS._replace(block_time_ms=100)

    async def send() -> None:
        async with publisher(cluster.url) as sender:
            while not moved.is_set():
                some = messages(queue, 3)
                places = await sender.publish(some)
                sent.extend(m for m, place in zip(some, places, strict=True) if place.entry)
        all_sent.set()

    async def receive() -> None:
        async with consumer(cluster.url, queue, options=options) as reader:
            while not all_sent.is_set() or not set(ids(sent)) <= set(found):
                batch = (await reader.read(10)).deliveries
                await reader.done(batch)
                found.extend(ids(batch))

    async def move() -> None:
        for _ in range(2):
            at = cluster.nodes.index(cluster.node_of(queue.key))
            target = cluster.nodes[(at + 1) % len(cluster.nodes)]
            enough = len(found) + 20
            await asyncio.to_thread(cluster.move, queue.key, target)
            await until(lambda enough=enough: len(found) >= enough)  # type: ignore[misc]
        moved.set()

    async with asyncio.timeout(LATE_SECONDS), asyncio.TaskGroup() as group:
        for job in (send(), receive(), move()):
            group.create_task(job)
    assert set(ids(sent)) <= set(found)
    assert cluster.node_of(queue.key).client().xlen(queue.key) == 0


async def test_a_server_that_is_away_holds_up_none_of_the_others() -> None:
    with service.private_cluster() as cluster:
        queues = everywhere(cluster)
        pid = server_pid(cluster.nodes[0].data)
        away, *there = queues
        options = MOMENT._replace(timeout_ms=500)
        async with (
            publisher(cluster.url) as sender,
            consumer(cluster.url, *queues, options=options) as reader,
        ):
            await sender.publish([m for queue in queues for m in messages(queue, 1)])
            await reader.done(await collect(reader, 3))
            os.kill(pid, signal.SIGKILL)
            sent = [message for queue in there for message in messages(queue, 2)]
            async with asyncio.timeout(LATE_SECONDS):
                places = await sender.publish([*messages(away, 1), *sent])
                assert [bool(place.entry) for place in places] == [False] + 4 * [True]
                assert sorted(ids(await collect(reader, 4))) == sorted(ids(sent))
