"""Laws of a whole Aiki over several Redis: servers of them die, and runs are executed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiki import RedisStreams
from tests.queue.brokers import Broker
from tests.queue.test_end_to_end import LIMIT, flow, no_looks, place_at, until
from tests.services import redis as service
from tests.services.server import server_pid

WORKFLOWS = 12


class Together(Broker):
    """Several Redis behind one URL."""

    def __init__(self, url: str, servers: tuple[service.RedisServer, ...]) -> None:
        super().__init__("redis", servers[0], url)
        self.servers = servers

    def messages(self) -> int:
        """On all servers that live."""
        return sum(
            client.xlen(key)
            for client in (server.client() for server in self.servers)
            for key in client.scan_iter("workflow:*")
        )

    def hasty(self) -> RedisStreams:
        """Notices soon what is away."""
        return RedisStreams(
            self.url, block_time_ms=200, timeout_ms=1_000, max_retry_interval_ms=1_000
        )

    def lose(self, server: service.RedisServer) -> None:
        os.kill(server_pid(server.data), signal.SIGKILL)
        self.servers = tuple(each for each in self.servers if each != server)


@pytest.fixture
def cluster() -> Iterator[Together]:
    with service.private_cluster() as made:
        yield Together(made.url, made.nodes)


@pytest.fixture
def watched() -> Iterator[Together]:
    with service.private_watched() as made:
        yield Together(made.url, (made.master, made.replica))


async def test_runs_are_executed_because_of_their_messages_in_a_cluster(
    tmp_path: Path, cluster: Together
) -> None:
    flows = [flow() for _ in range(WORKFLOWS)]
    async with place_at(tmp_path, cluster) as place:
        for _ in range(2):
            place.work(*flows, subscriber=no_looks(cluster.hasty()))
        # The first look of each worker is over when it has been given something.
        await (await flows[0].enqueue(place.client, 1)).result(timeout=LIMIT)
        handles = [
            handle
            for play in flows
            for handle in await play.enqueue_many(place.client, [play.call(n) for n in range(10)])
        ]
        for handle in handles:
            await handle.result(timeout=LIMIT)
        publishing = place.house.engine.publishing
        assert publishing is not None
        assert publishing.counts.published >= len(handles)
        await place.empty()


async def test_a_server_of_the_cluster_dies_while_runs_are_executed(
    tmp_path: Path, cluster: Together
) -> None:
    flows = [flow() for _ in range(WORKFLOWS)]
    async with place_at(tmp_path, cluster) as place:
        subscriber = cluster.hasty()
        subscriber._look_seconds = 1.0
        place.work(*flows, subscriber=subscriber)
        before = [
            handle
            for play in flows
            for handle in await play.enqueue_many(place.client, [play.call(n) for n in range(10)])
        ]
        await before[0].result(timeout=LIMIT)
        cluster.lose(cluster.servers[0])
        after = [
            handle
            for play in flows
            for handle in await play.enqueue_many(place.client, [play.call(n) for n in range(10)])
        ]
        for n, handle in enumerate([*before, *after]):
            assert await handle.result(timeout=LIMIT) == 2 * (n % 10)
        # What lay on the others is settled, although one is away.
        await place.empty()
        assert not subscriber.breaker.is_open


async def test_a_master_dies_while_runs_are_executed_and_its_replica_goes_on(
    tmp_path: Path, watched: Together
) -> None:
    play = flow()
    master, replica = watched.servers
    async with place_at(tmp_path, watched, republish_interval_ms=500) as place:
        subscriber = watched.hasty()
        place.work(play, subscriber=subscriber)
        before = await play.enqueue_many(place.client, [play.call(n) for n in range(30)])
        await before[0].result(timeout=LIMIT)
        watched.lose(master)
        during = await play.enqueue_many(place.client, [play.call(n) for n in range(30)])
        for n, handle in enumerate([*before, *during]):
            assert await handle.result(timeout=LIMIT) == 2 * (n % 30)
        await until(lambda: replica.client().role()[0] == "master")
        await until(lambda: not subscriber.breaker.is_open)
        publishing = place.house.engine.publishing
        assert publishing is not None
        published = publishing.counts.published
        after = await play.enqueue_many(place.client, [play.call(n) for n in range(10)])
        for handle in after:
            await handle.result(timeout=LIMIT)
        await until(lambda: publishing.counts.published > published)
        await place.empty()
