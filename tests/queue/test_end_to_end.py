"""Laws of a whole Aiki with a broker: messages lead to runs, and nothing depends on a message."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import aiki
from aiki import Client, Run, Worker, task, workflow
from aiki.ids import new_id
from aiki.queue.streaming import Streaming
from aiki.queue.subscriber import Subscriber
from tests.queue.brokers import KINDS, Broker, private_broker, shared_broker
from tests.server.support import House
from tests.services.proxy import Proxy

LIMIT = timedelta(seconds=60)


@task
async def charge(n: int) -> int:
    return n


def flow(shards: tuple[str, ...] = ()) -> aiki.Workflow[[int], int]:
    """A workflow with a name that no other test uses."""

    async def play(run: Run, n: int) -> int:
        first = await charge(run, n)
        await run.sleep("a moment", timedelta(milliseconds=5))
        return first + await charge(run, n)

    return workflow(f"flow-{new_id()}").version("1.0.0", shards=list(shards))(play)


class Place:
    """A server with a broker, a client of it, and its workers."""

    def __init__(self, house: House, broker: Broker, client: Client) -> None:
        self.house = house
        self.broker = broker
        self.client = client
        self._workers: list[asyncio.Task[None]] = []

    def work(self, *workflows: Any, subscriber: Subscriber, **settings: Any) -> asyncio.Task[None]:
        """Start a worker."""
        settings.setdefault("graceful_shutdown_timeout_ms", 2_000)
        worker = Worker(self.client, workflows=workflows, subscriber=subscriber, **settings)
        task = asyncio.create_task(worker.run())
        self._workers.append(task)
        return task

    async def stop(self, worker: asyncio.Task[None]) -> None:
        """Let it end in order."""
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker

    async def close(self) -> None:
        for worker in self._workers:
            await self.stop(worker)

    async def empty(self) -> None:
        """Return when the broker holds nothing."""
        await until(lambda: self.broker.messages() == 0)


@asynccontextmanager
async def place_at(
    path: Path, broker: Broker, *, hasty: bool = False, **settings: Any
) -> AsyncIterator[Place]:
    engine = {"daemons": True} | settings
    publisher = broker.publisher(hasty=hasty)
    async with (
        House(path / "x.db", engine=engine, publisher=publisher) as house,
        aiki.connect(house.server.url) as client,
    ):
        place = Place(house, broker, client)
        try:
            yield place
        finally:
            await place.close()


async def until(true: Callable[[], bool]) -> None:
    """Return when it is; what is asked may take its time."""
    async with asyncio.timeout(LIMIT.total_seconds()):
        while not await asyncio.to_thread(true):  # noqa: ASYNC110 - a broker announces nothing
            await asyncio.sleep(0.01)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def broker(kind: str) -> Broker:
    return shared_broker(kind, new_id())


@pytest.fixture
def own(kind: str) -> Iterator[Broker]:
    with private_broker(kind) as made:
        yield made


def no_looks(subscriber: Streaming) -> Streaming:
    """After its first look, this one hears of a run by its message or not at all."""
    subscriber._look_seconds = 1e9
    return subscriber


async def test_runs_are_executed_because_of_their_messages(tmp_path: Path, broker: Broker) -> None:
    play = flow()
    async with place_at(tmp_path, broker) as place:
        place.work(play, subscriber=no_looks(broker.subscriber()))
        await (await play.enqueue(place.client, 1)).result(timeout=LIMIT)
        handles = await play.enqueue_many(place.client, [play.call(n) for n in range(100)])
        assert [await each.result(timeout=LIMIT) for each in handles] == [2 * n for n in range(100)]
        publishing = place.house.engine.publishing
        assert publishing is not None
        assert publishing.counts.published >= 101


async def test_nothing_is_left_when_all_runs_have_ended(tmp_path: Path, own: Broker) -> None:
    play = flow()
    async with place_at(tmp_path, own) as place:
        for _ in range(3):
            place.work(play, subscriber=own.subscriber())
        handles = await play.enqueue_many(place.client, [play.call(n) for n in range(150)])
        for handle in handles:
            await handle.result(timeout=LIMIT)
        await place.empty()


async def test_a_frozen_broker_delays_no_start_and_workers_poll_meanwhile(
    tmp_path: Path, own: Broker
) -> None:
    play = flow()
    async with place_at(tmp_path, own) as place:
        subscriber = own.subscriber(hasty=True)
        place.work(play, subscriber=subscriber)
        await (await play.enqueue(place.client, 1)).result(timeout=LIMIT)
        own.freeze()
        try:
            async with asyncio.timeout(LIMIT.total_seconds()):
                handles = await play.enqueue_many(place.client, [play.call(n) for n in range(20)])
                for handle in handles:
                    await handle.result(timeout=LIMIT)
            assert subscriber.breaker.counts.openings == 1
        finally:
            own.thaw()
        await until(lambda: not subscriber.breaker.is_open)
        await (await play.enqueue(place.client, 1)).result(timeout=LIMIT)


async def test_a_wiped_broker_hears_again_of_what_waits(tmp_path: Path, own: Broker) -> None:
    play = flow()
    async with place_at(tmp_path, own, republish_interval_ms=500) as place:
        handles = await play.enqueue_many(place.client, [play.call(n) for n in range(30)])
        await until(lambda: own.messages() >= 30)
        await asyncio.to_thread(own.wipe)
        # Nobody asks the server, so that the messages have to come back.
        subscriber = no_looks(own.subscriber())
        subscriber._looked_at = 0.0
        place.work(play, subscriber=subscriber)
        for handle in handles:
            await handle.result(timeout=LIMIT)


async def test_polling_and_streaming_workers_share_the_runs_of_one_server(
    tmp_path: Path, broker: Broker
) -> None:
    play = flow()
    async with place_at(tmp_path, broker) as place:
        place.work(play, subscriber=broker.subscriber(), max_concurrent_runs=2)
        place.work(play, subscriber=aiki.AdaptivePolling(), max_concurrent_runs=2)
        place.work(play, subscriber=aiki.SimplePolling(poll_interval_ms=20))
        handles = await play.enqueue_many(place.client, [play.call(n) for n in range(120)])
        for n, handle in enumerate(handles):
            assert await handle.result(timeout=LIMIT) == 2 * n


async def test_a_worker_of_a_shard_hears_of_its_own_runs_alone(
    tmp_path: Path, broker: Broker
) -> None:
    play = flow(shards=("eu", "us"))
    async with place_at(tmp_path, broker) as place:
        place.work(play, subscriber=broker.subscriber(), shards=["eu"])
        theirs = await play.options(shard="us").enqueue(place.client, 7)
        for n in range(5):
            ours = await play.options(shard="eu").enqueue(place.client, n)
            assert await ours.result(timeout=LIMIT) == 2 * n
        assert await theirs.status() == "queued"
        place.work(play, subscriber=broker.subscriber(), shards=["us"])
        assert await theirs.result(timeout=LIMIT) == 14


async def test_shards_and_their_workers_come_and_go_while_others_go_on(
    tmp_path: Path, broker: Broker
) -> None:
    play = flow(shards=("eu", "us"))
    european, american = play.options(shard="eu"), play.options(shard="us")

    async with place_at(tmp_path, broker) as place:

        def work(*shards: str) -> asyncio.Task[None]:
            return place.work(play, subscriber=broker.subscriber(), shards=shards)

        work("eu")
        waiting = await american.enqueue(place.client, 1)
        assert await (await european.enqueue(place.client, 2)).result(timeout=LIMIT) == 4
        leaving = work("us")
        assert await waiting.result(timeout=LIMIT) == 2
        await place.stop(leaving)
        waiting = await american.enqueue(place.client, 3)
        assert await (await european.enqueue(place.client, 4)).result(timeout=LIMIT) == 8
        assert await waiting.status() == "queued"
        for _ in range(2):
            work("us")
        handles = [await american.enqueue(place.client, n) for n in range(20)]
        assert [await each.result(timeout=LIMIT) for each in [waiting, *handles]] == [
            6,
            *(2 * n for n in range(20)),
        ]


async def test_equal_workers_share_the_runs(tmp_path: Path, broker: Broker) -> None:
    """Each executes at least half of its equal part."""
    play = flow()
    async with place_at(tmp_path, broker) as place:
        handles = await play.enqueue_many(place.client, [play.call(n) for n in range(300)])
        for _ in range(3):
            place.work(play, subscriber=broker.subscriber(), max_concurrent_runs=10)
        for handle in handles:
            await handle.result(timeout=LIMIT)
        shares = await asyncio.to_thread(first_claims, tmp_path / "x.db")
    assert sum(shares) == 300
    assert len(shares) == 3 and min(shares) >= 50, shares


def first_claims(database: Path) -> list[int]:
    """How many runs each worker was the first to take."""
    with closing(sqlite3.connect(database)) as connection:
        found = connection.execute(
            "SELECT count(*) FROM transition WHERE status = 'running' AND epoch = 1 GROUP BY worker"
        )
        return [count for (count,) in found]


async def test_a_worker_that_is_cut_off_from_the_broker_alone_polls_and_comes_back(
    tmp_path: Path, broker: Broker
) -> None:
    """The server's messages reach the broker all the while: they are settled afterwards."""
    play = flow()
    async with (
        Proxy.to_port(broker.port) as wire,
        place_at(tmp_path, broker) as place,
    ):
        cut = broker.behind(wire.port)
        subscriber = cut.subscriber(hasty=True)
        place.work(play, subscriber=subscriber)
        await (await play.enqueue(place.client, 1)).result(timeout=LIMIT)
        wire.black_hole()
        handles = await play.enqueue_many(place.client, [play.call(n) for n in range(20)])
        for n, handle in enumerate(handles):
            assert await handle.result(timeout=LIMIT) == 2 * n
        assert subscriber.breaker.counts.openings == 1
        wire.let_through()
        wire.cut()
        await until(lambda: not subscriber.breaker.is_open)
        await (await play.enqueue(place.client, 1)).result(timeout=LIMIT)


async def test_workers_poll_while_the_server_alone_is_cut_off_from_the_broker(
    tmp_path: Path, broker: Broker
) -> None:
    """The workers reach the broker all the while, and hear nothing there."""
    play = flow()
    async with (
        Proxy.to_port(broker.port) as wire,
        place_at(tmp_path, broker.behind(wire.port), hasty=True) as place,
    ):
        subscriber = no_looks(broker.subscriber())
        place.work(play, subscriber=subscriber, max_concurrent_runs=3)
        await (await play.enqueue(place.client, 1)).result(timeout=LIMIT)
        wire.black_hole()
        await executes(place, play, 20)
        assert subscriber.breaker.counts.openings == 0
        wire.let_through()
        wire.cut()
        await is_announced_again(place, play)


async def test_workers_poll_while_the_broker_takes_no_message(tmp_path: Path, own: Broker) -> None:
    play = flow()
    async with place_at(tmp_path, own, hasty=True) as place:
        place.work(play, subscriber=no_looks(own.subscriber()), max_concurrent_runs=3)
        await (await play.enqueue(place.client, 1)).result(timeout=LIMIT)
        await asyncio.to_thread(own.refuse)
        try:
            await executes(place, play, 20)
        finally:
            await asyncio.to_thread(own.accept)
        await is_announced_again(place, play)


async def test_runs_of_a_queue_that_the_broker_does_not_keep_are_polled_for(
    tmp_path: Path, broker: Broker
) -> None:
    play, other = flow(), flow()
    async with (
        broker.spoiled(play.name),
        place_at(tmp_path, broker, hasty=True) as place,
    ):
        place.work(play, other, subscriber=no_looks(broker.subscriber()), max_concurrent_runs=3)
        await executes(place, other, 5)
        await executes(place, play, 20)
        await executes(place, other, 5)


async def test_workers_poll_a_server_that_has_no_broker(tmp_path: Path, broker: Broker) -> None:
    """Somebody forgot to name it to the server."""
    play = flow()
    async with (
        House(tmp_path / "x.db", engine={"daemons": True}) as house,
        aiki.connect(house.server.url) as client,
    ):
        place = Place(house, broker, client)
        place.work(play, subscriber=no_looks(broker.subscriber()), max_concurrent_runs=3)
        await executes(place, play, 20)
        await place.close()


async def executes(place: Place, play: aiki.Workflow[[int], int], count: int) -> None:
    """So many runs that begin now end, and well before a worker would look by itself."""
    handles = await play.enqueue_many(place.client, [play.call(n) for n in range(count)])
    async with asyncio.timeout(LIMIT.total_seconds()):
        assert [await each.result() for each in handles] == [2 * n for n in range(count)]


async def is_announced_again(place: Place, play: aiki.Workflow[[int], int]) -> None:
    """Return when runs are announced and executed as before."""
    publishing = place.house.engine.publishing
    assert publishing is not None
    before = publishing.counts.published
    async with asyncio.timeout(LIMIT.total_seconds()):
        while publishing.counts.published == before or not publishing.announcing:
            await (await play.enqueue(place.client, 1)).result()
