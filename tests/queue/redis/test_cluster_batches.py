"""Laws of batches in a cluster: they travel together to each server, and one may be away."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

import pytest

from aiki.errors import QueueUnavailable
from aiki.queue.message import Queue
from aiki.queue.publisher import Published
from aiki.queue.redis.consumer import RedisConsumer
from tests.queue.redis.support import (
    LATE_SECONDS,
    MOMENT,
    collect,
    consumer,
    fresh,
    ids,
    messages,
    publisher,
)
from tests.services import redis as service
from tests.services.server import freeze, server_pid

STREAMS = 60


@pytest.fixture(scope="module")
def cluster() -> Iterator[service.RedisCluster]:
    with service.private_cluster() as made:
        yield made


def many() -> list[Queue]:
    """Queues whose keys lie on all servers: that one has none is less probable than 1e-10."""
    return [fresh() for _ in range(STREAMS)]


def connections(cluster: service.RedisCluster) -> int:
    return sum(node.client().info("stats")["total_connections_received"] for node in cluster.nodes)


def reads(cluster: service.RedisCluster) -> int:
    """How often a server found something on a connection."""
    return sum(node.client().info("stats")["total_reads_processed"] for node in cluster.nodes)


async def test_a_large_batch_is_accepted_as_a_whole(cluster: service.RedisCluster) -> None:
    queues = many()
    sent = [
        message for _ in range(500 // STREAMS + 1) for q in queues for message in messages(q, 1)
    ]
    async with publisher(cluster.url) as sender:
        records = [Published(m, p) for m, p in zip(sent, await sender.publish(sent), strict=True)]
        assert all(each.publication.entry for each in records)
        assert len({each.publication.incarnation for each in records}) == 1
        assert records[0].publication.incarnation
        assert await sender.missing(records) == []


async def test_a_batch_is_one_write_for_each_server(cluster: service.RedisCluster) -> None:
    queues = many()
    async with publisher(cluster.url) as sender:
        await sender.publish(messages(queues[0], 1))
        await sender.publish([message for queue in queues for message in messages(queue, 1)])
        opened, trips = connections(cluster), reads(cluster)
        # What is asked here counts, too: one connection and two words from each server.
        asked = connections(cluster) - opened, reads(cluster) - trips
        opened, trips = connections(cluster), reads(cluster)
        await sender.publish([message for queue in queues for message in messages(queue, 1)])
        assert connections(cluster) - opened == asked[0]
        # A batch of 20 messages fits into one read of a server.
        assert reads(cluster) - trips - asked[1] <= 2 * len(cluster.nodes)


async def test_more_streams_than_connections_are_read_refreshed_and_settled(
    cluster: service.RedisCluster,
) -> None:
    queues = many()
    sent = [message for queue in queues for message in messages(queue, 1)]
    async with (
        publisher(cluster.url) as sender,
        consumer(cluster.url, *queues, options=MOMENT) as reader,
    ):
        await sender.publish(sent)
        found = await collect(reader, STREAMS, capacity=200)
        await reader.refresh(found)
        await reader.done(found)
    assert sum(cluster.node_of(queue.key).client().xlen(queue.key) for queue in queues) == 0


@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_many_streams_of_a_server_that_is_away_hold_up_none_of_the_others(
    fault: str,
) -> None:
    with service.private_cluster() as cluster:
        away = cluster.nodes[0]
        places = {queue: cluster.node_of(queue.key) for queue in many()}
        gone = [queue for queue, node in places.items() if node == away]
        there = [queue for queue, node in places.items() if node != away]
        options = MOMENT._replace(block_time_ms=100, timeout_ms=500)
        async with (
            publisher(cluster.url) as sender,
            consumer(cluster.url, *places, options=options) as reader,
        ):
            await sender.publish([message for queue in places for message in messages(queue, 1)])
            held = await collect(reader, STREAMS, capacity=200)
            (freeze if fault == "frozen" else _kill)(server_pid(away.data))
            for _ in range(12):
                with suppress(QueueUnavailable):
                    assert (await reader.read(200)).deliveries == ()
            sent = [message for queue in there for message in messages(queue, 1)]
            assert all(place.entry for place in await sender.publish(sent))
            assert sorted(ids(await collect(reader, len(sent), capacity=200))) == sorted(ids(sent))
            await reader.refresh(held)
            await reader.done(held)
            # What came afterwards is held yet.
            await read_until(reader, lambda: lengths(places, there) == {1})
            if fault == "frozen":
                os.kill(server_pid(away.data), signal.SIGCONT)
                again = [message for queue in gone for message in messages(queue, 1)]
                await sender.publish(again)
                found = await collect(reader, len(again), capacity=200)
                assert sorted(ids(found)) == sorted(ids(again))
                # What was over while it was away is settled now.
                await read_until(reader, lambda: lengths(places, gone) == {1})


async def test_the_server_that_keeps_the_incarnation_may_be_away() -> None:
    with service.private_cluster() as cluster:
        away = cluster.node_of("aiki:incarnation")
        homes = {queue: cluster.node_of(queue.key) for queue in many()}
        there = [queue for queue, home in homes.items() if home != away]
        async with publisher(cluster.url) as sender:
            sent = [message for queue in there for message in messages(queue, 1)]
            places = await sender.publish(sent)
            records = [Published(m, p) for m, p in zip(sent, places, strict=True)]
            _kill(server_pid(away.data))
            await sender.ping()
            gone = sent[::3]
            for record in records[::3]:
                key, entry = record.message.queue.key, record.publication.entry
                homes[record.message.queue].client().xdel(key, entry)
            assert await sender.missing(records) == gone


async def test_streams_are_swept_although_their_names_are_lost(
    cluster: service.RedisCluster,
) -> None:
    registry = cluster.node_of("aiki:streams")
    homes = {queue: cluster.node_of(queue.key) for queue in many()}
    there = [queue for queue, home in homes.items() if home != registry]

    async def nobody(runs: Sequence[str]) -> set[str]:
        return set()

    async with publisher(cluster.url) as sender:
        await sender.publish([message for queue in there for message in messages(queue, 1)])
        registry.client().flushall()
        await sender.sweep(nobody)
    assert lengths(homes, there) == {0}


def lengths(places: Mapping[Queue, service.RedisServer], queues: Sequence[Queue]) -> set[int]:
    """Of the streams of these."""
    return {places[queue].client().xlen(queue.key) for queue in queues}


async def read_until(reader: RedisConsumer, true: Callable[[], bool]) -> None:
    """Read what is nothing until it is."""
    async with asyncio.timeout(LATE_SECONDS):
        while not true():
            assert (await reader.read(200)).deliveries == ()


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
