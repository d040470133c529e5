"""Laws of recovery: the messages of the dead are taken over, those of the living are not."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.queue.redis.support import (
    AT_ONCE,
    MOMENT,
    collect,
    consumer,
    die,
    fresh,
    ids,
    messages,
    publisher,
)
from tests.services import redis as service

redis = service.redis
HOUR_MS = 3_600_000


@pytest.fixture
def url(redis: service.RedisServer) -> str:
    return redis.url


@pytest.fixture
def raw(redis: service.RedisServer) -> Any:
    return redis.client()


async def test_what_a_dead_worker_held_is_taken_over_the_oldest_first(
    url: str, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    queue = fresh()
    sent = messages(queue, 5)
    async with publisher(url) as sender:
        await sender.publish(sent)
        async with consumer(url, queue, name="dead") as dead:
            await collect(dead, 5)
            die(dead)
    caplog.set_level(logging.INFO, "aiki.queue")
    # Idle for a while: the first two for longest.
    first, second, *rest = raw.xrange(queue.key)
    _age(raw, queue.key, [first[0], second[0]], 2 * HOUR_MS)
    _age(raw, queue.key, [each[0] for each in rest], HOUR_MS)
    options = MOMENT._replace(claim_min_idle_time_ms=HOUR_MS - 60_000, claim_interval_ms=1)
    async with consumer(url, queue, name="alive", options=options) as alive:
        assert sorted(ids((await alive.read(2)).deliveries)) == sorted(ids(sent[:2]))
        found = await collect(alive, 3)
        assert sorted(ids(found)) == sorted(ids(sent[2:]))
        pending = raw.xpending_range(queue.key, "workers@1", "-", "+", 9)
        assert {each["consumer"] for each in pending} == {"alive"}
    assert "is taken over from dead" in caplog.text


async def test_what_a_worker_leaves_that_stops_in_order_is_taken_over_at_once(url: str) -> None:
    """However long the dead are waited for."""
    queue = fresh()
    sent = messages(queue, 3)
    options = MOMENT._replace(claim_min_idle_time_ms=HOUR_MS, claim_interval_ms=1)
    async with publisher(url) as sender, consumer(url, queue, options=options) as other:
        await sender.publish(sent)
        async with consumer(url, queue, name="leaving") as leaving:
            held = await collect(leaving, 3)
            await leaving.done(held[:1])
        assert sorted(ids(await collect(other, 2))) == sorted(ids(sent[1:]))


def _age(raw: Any, key: str, entries: list[str], idle_ms: int) -> None:
    raw.xclaim(key, "workers@1", "dead", 0, entries, idle=idle_ms, justid=True)


async def test_what_was_left_alone_for_less_is_not_taken(url: str) -> None:
    queue = fresh()
    options = AT_ONCE._replace(claim_min_idle_time_ms=HOUR_MS)
    async with (
        publisher(url) as sender,
        consumer(url, queue) as busy,
        consumer(url, queue, options=options) as other,
    ):
        await sender.publish(messages(queue, 2))
        await collect(busy, 2)
        assert (await other.read(5)).deliveries == ()


async def test_the_room_is_divided_among_the_streams_of_the_dead(url: str) -> None:
    queues = [fresh() for _ in range(3)]
    async with publisher(url) as sender:
        for queue in queues:
            await sender.publish(messages(queue, 10))
        async with consumer(url, *queues) as dead:
            await collect(dead, 30, capacity=30)
        async with consumer(url, *queues, options=AT_ONCE) as alive:
            found = (await alive.read(10)).deliveries
            shares = [sum(each.message.queue == queue for each in found) for queue in queues]
            assert sorted(shares, reverse=True) == [4, 3, 3]


async def test_who_refreshes_keeps_its_messages(url: str, raw: Any) -> None:
    queue = fresh()
    async with (
        publisher(url) as sender,
        consumer(url, queue, name="busy") as busy,
        consumer(url, queue, options=AT_ONCE._replace(claim_min_idle_time_ms=HOUR_MS)) as other,
    ):
        await sender.publish(messages(queue, 2))
        kept, left = await collect(busy, 2)
        for entry in (kept.tag.entry, left.tag.entry):
            raw.xclaim(queue.key, "workers@1", "busy", 0, [entry], idle=2 * HOUR_MS, justid=True)
        await busy.refresh([kept])
        assert ids((await other.read(5)).deliveries) == ids([left])


async def test_the_refresh_of_a_zombie_takes_nothing_back(url: str, raw: Any) -> None:
    queue = fresh()
    async with publisher(url) as sender, consumer(url, queue, name="zombie") as zombie:
        await sender.publish(messages(queue, 1))
        held = await collect(zombie, 1)
        async with consumer(url, queue, name="alive", options=AT_ONCE) as alive:
            await collect(alive, 1)
            await zombie.refresh(held)
            (pending,) = raw.xpending_range(queue.key, "workers@1", "-", "+", 9)
            assert pending["consumer"] == "alive"


async def test_a_worker_does_not_take_over_from_itself(url: str) -> None:
    queue = fresh()
    async with publisher(url) as sender, consumer(url, queue, options=AT_ONCE) as reader:
        await sender.publish(messages(queue, 3))
        await collect(reader, 3)
        for _ in range(3):
            assert (await reader.read(5)).deliveries == ()


async def test_a_dead_consumer_is_removed_only_when_nothing_is_pending_for_it(
    url: str, raw: Any
) -> None:
    queue = fresh()

    def names() -> set[str]:
        return {each["name"] for each in raw.xinfo_consumers(queue.key, "workers@1")}

    async with publisher(url) as sender:
        await sender.publish(messages(queue, 2))
        async with consumer(url, queue, name="dead") as dead:
            await collect(dead, 2)
            die(dead)
        async with consumer(url, queue, name="alive", options=AT_ONCE) as alive:
            taken = await collect(alive, 1, capacity=1)
            assert names() == {"dead", "alive"}, "it holds one message yet"
            taken += await collect(alive, 1, capacity=1)
            while "dead" in names():
                await alive.read(1)
            await alive.done(taken)
    assert raw.xlen(queue.key) == 0


async def test_recovery_asks_the_server_for_idle_ones_only(redis: service.RedisServer) -> None:
    """The filter is Redis's own: however many are executed, none of them is sent."""
    queue = fresh()
    with service.private_server() as own:
        raw = own.client()
        options = MOMENT._replace(claim_min_idle_time_ms=HOUR_MS, claim_interval_ms=1)
        async with (
            publisher(own.url) as sender,
            consumer(own.url, queue, name="busy") as busy,
            consumer(own.url, queue, options=options) as other,
        ):
            await sender.publish(messages(queue, 1_000))
            await collect(busy, 1_000, capacity=1_000)
            await other.read(5)
            before = raw.info("stats")["total_net_output_bytes"]
            await other.read(5)
            sent = raw.info("stats")["total_net_output_bytes"] - before
    # The answer to INFO is most of it.
    assert sent < 16_000
