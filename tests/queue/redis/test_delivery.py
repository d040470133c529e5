"""Laws of delivery: read with room only, kept until settled, and deleted by their own version."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from aiki.operations.work import Offer
from aiki.queue.message import Message, Queue
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
    until,
)
from tests.services import redis as service

redis = service.redis


@pytest.fixture
def url(redis: service.RedisServer) -> str:
    return redis.url


@pytest.fixture
def raw(redis: service.RedisServer) -> Any:
    return redis.client()


async def test_what_is_published_arrives_in_order(url: str) -> None:
    queue = fresh()
    sent = messages(queue, 25)
    async with publisher(url) as sender, consumer(url, queue) as reader:
        await sender.publish(sent)
        assert [each.message for each in await collect(reader, 25)] == sent


@pytest.mark.parametrize(
    ("queue", "key"),
    [
        (Queue("default", "orders"), "workflow:orders"),
        (Queue("default", "orders", "eu-west"), "workflow:orders:eu-west"),
        (Queue("acme", "orders"), "acme:workflow:orders"),
    ],
)
async def test_the_keys_are_those_of_the_documentation(
    url: str, raw: Any, queue: Queue, key: str
) -> None:
    prefix = fresh().workflow + ":"
    async with (
        publisher(f"{url}?prefix={prefix}") as sender,
        consumer(f"{url}?prefix={prefix}", queue) as reader,
    ):
        await sender.publish(messages(queue, 1))
        await collect(reader, 1)
    assert raw.xlen(prefix + key) == 1
    (group,) = raw.xinfo_groups(prefix + key)
    assert group["name"] == "workers@1"
    assert raw.smembers(prefix + "aiki:streams") == {queue.key}


async def test_a_waiting_read_is_answered(url: str) -> None:
    queue = fresh()
    async with publisher(url) as sender, consumer(url, queue) as reader:
        read = asyncio.create_task(reader.read(1))
        sent = messages(queue, 1)
        await sender.publish(sent)
        assert ids((await asyncio.wait_for(read, LATE_SECONDS)).deliveries) == ids(sent)


async def test_a_read_for_which_there_is_nothing_ends(url: str) -> None:
    async with consumer(url, fresh(), options=MOMENT) as reader:
        assert (await reader.read(5)).deliveries == ()


async def test_the_room_is_divided_among_the_streams(url: str) -> None:
    queues = [fresh() for _ in range(3)]
    async with publisher(url) as sender, consumer(url, *queues) as reader:
        for queue in queues:
            await sender.publish(messages(queue, 10))
        found = (await reader.read(10)).deliveries
        shares = Counter(each.message.queue for each in found)
        assert sorted(shares.values(), reverse=True) == [4, 3, 3]


async def test_every_stream_has_its_turn_where_there_is_room_for_one(url: str) -> None:
    queues = [fresh() for _ in range(3)]
    async with publisher(url) as sender, consumer(url, *queues) as reader:
        for queue in queues:
            await sender.publish(messages(queue, 150))
        found = [each for _ in range(150) for each in (await reader.read(1)).deliveries]
        first = Counter(each.message.queue for each in found)
        # Less than 20 of 150, at one third each, has a probability below 1e-7.
        assert sorted(first) == sorted(queues)
        assert min(first.values()) > 20


async def test_a_long_stream_holds_up_no_other_for_more_than_a_cycle(url: str) -> None:
    long, short = fresh(), fresh()
    async with publisher(url) as sender, consumer(url, long, short) as reader:
        for _ in range(20):
            await sender.publish(messages(long, 5_000))
        sent = messages(short, 1)
        await sender.publish(sent)
        assert ids(sent)[0] in ids((await reader.read(2)).deliveries)


async def test_a_message_stays_pending_until_it_is_settled_and_is_then_deleted(
    url: str, raw: Any
) -> None:
    queue = fresh()
    async with publisher(url) as sender, consumer(url, queue, options=MOMENT) as reader:
        await sender.publish(messages(queue, 3))
        found = await collect(reader, 3)
        await reader.granted(found)
        assert raw.xpending(queue.key, "workers@1")["pending"] == 3
        assert (await reader.read(3)).deliveries == ()
        await reader.done(found[:2])
        assert raw.xpending(queue.key, "workers@1")["pending"] == 1
        assert raw.xlen(queue.key) == 1
        await reader.done(found[2:])
    assert raw.xlen(queue.key) == 0


async def test_messages_of_other_versions_are_acknowledged_and_left_to_them(
    url: str, raw: Any
) -> None:
    queue = fresh()
    old, new = messages(queue, 2, "1"), messages(queue, 3, "2")
    async with publisher(url) as sender:
        await sender.publish([*old, *new])
        async with consumer(url, queue, versions=("1",), options=MOMENT) as reader:
            found = await collect(reader, 2)
            while (await reader.read(10)).deliveries:
                pass
            assert raw.xpending(queue.key, "workers@1")["pending"] == 2
            await reader.done(found)
        assert ids(found) == ids(old)
        assert raw.xlen(queue.key) == 3
        async with consumer(url, queue, versions=("2",)) as reader:
            found = await collect(reader, 3)
            assert ids(found) == ids(new)
            await reader.done(found)
    assert raw.xlen(queue.key) == 0


async def test_a_worker_of_several_versions_and_shards_reads_them_all(url: str) -> None:
    workflow = fresh().workflow
    places = [Queue("default", workflow, shard) for shard in ("eu", "us")]
    sent = [message for queue in places for v in ("1", "2") for message in messages(queue, 2, v)]
    other = messages(Queue("default", workflow, "asia"), 1)
    async with (
        publisher(url) as sender,
        consumer(url, *places, versions=("1", "2"), options=MOMENT) as reader,
    ):
        await sender.publish([*sent, *other])
        found = await collect(reader, 8)
        assert sorted(ids(found)) == sorted(ids(sent))
        assert (await reader.read(5)).deliveries == ()


async def test_workers_share_a_stream_and_no_message_comes_twice(url: str) -> None:
    queue = fresh()
    sent = messages(queue, 300)

    async def work(reader: RedisConsumer) -> list[str]:
        found: list[str] = []
        while batch := (await reader.read(5)).deliveries:
            found += ids(batch)
        return found

    async with (
        publisher(url) as sender,
        consumer(url, queue, options=MOMENT) as a,
        consumer(url, queue, options=MOMENT) as b,
        consumer(url, queue, options=MOMENT) as c,
    ):
        await sender.publish(sent)
        shares = await asyncio.gather(work(a), work(b), work(c))
    assert sorted(id for share in shares for id in share) == sorted(ids(sent))
    assert min(map(len, shares)) >= 50, "equal workers share within a factor of two of their part"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"v": "1", "run": "x", "version": "1"}, "'x' is no id of a run"),
        ({"v": "2", "run": "x", "version": "1"}, "its format is '2'"),
        ({"payload": "x"}, "it has a field 'payload'"),
        ({b"\xff": b"\xfe"}, "UTF-8"),
    ],
)
async def test_what_is_no_message_is_refused_and_settled_when_it_is_kept(
    url: str, raw: Any, fields: dict[str, str], reason: str
) -> None:
    queue = fresh()
    async with publisher(url) as sender, consumer(url, queue, options=MOMENT) as reader:
        raw.xadd(queue.key, fields)
        sent = messages(queue, 1)
        await sender.publish(sent)
        batch = await reader.read(5)
        assert ids(batch.deliveries) == ids(sent)
        (refused,) = batch.refused
        assert refused.queue == queue.key
        assert reason in refused.reason
        assert raw.xlen(queue.key) == 2
        await reader.dismiss(batch.refused)
        assert raw.xlen(queue.key) == 1
        assert raw.xpending(queue.key, "workers@1")["pending"] == 1


async def test_a_stream_that_fails_holds_up_no_other(url: str, raw: Any) -> None:
    broken, well = fresh(), fresh()
    raw.set(broken.key, "no stream")
    options = MOMENT._replace(block_time_ms=200)
    async with publisher(url) as sender, consumer(url, broken, well, options=options) as reader:
        first, second, third = messages(well, 3)
        places = await sender.publish([Message(broken, "1", first.run_id), first])
        assert [bool(place.entry) for place in places] == [False, True]
        assert ids((await reader.read(5)).deliveries) == [first.run_id]
        read = asyncio.create_task(collect(reader, 1))
        await sender.publish([second])
        assert ids(await read) == [second.run_id]
        # It heals without anybody's help.
        raw.delete(broken.key)
        healed = messages(broken, 1)
        await sender.publish([*healed, third])
        found = await collect(reader, 2)
        assert sorted(ids(found)) == sorted([healed[0].run_id, third.run_id])


async def test_groups_are_made_again_after_a_flush(url: str, raw: Any) -> None:
    queue = fresh()
    async with publisher(url) as sender, consumer(url, queue) as reader:
        await sender.publish(messages(queue, 1))
        held = await collect(reader, 1)
        read = asyncio.create_task(reader.read(1))
        await until(lambda: _waiting(raw))
        raw.delete(queue.key)
        again = messages(queue, 2)
        await sender.publish(again)
        batch = (await asyncio.wait_for(read, LATE_SECONDS)).deliveries
        found = [*batch, *(await collect(reader, 2 - len(batch)))]
        assert ids(found) == ids(again), "also what came before the group was made again"
        await reader.done([*held, *found])
    assert raw.xlen(queue.key) == 0


async def test_what_was_taken_and_never_came_is_read_again(url: str, raw: Any) -> None:
    queue = fresh()
    async with publisher(url) as sender, consumer(url, queue, options=MOMENT, name="me") as reader:
        held = messages(queue, 1)
        await sender.publish(held)
        assert ids(await collect(reader, 1)) == ids(held)
        lost = messages(queue, 2)
        await sender.publish(lost)
        # As a read does whose connection ends before its answer has come.
        raw.xreadgroup("workers@1", "me", {queue.key: ">"})
        assert (await reader.read(5)).deliveries == ()
        reader._doubtful.update(reader._streams)
        assert ids((await reader.read(5)).deliveries) == ids(lost)


async def test_what_a_cancelled_read_still_brings_comes_once(url: str, raw: Any) -> None:
    """It waits on, and what it has taken is also found among our own."""
    queue = fresh()
    async with publisher(url) as sender, consumer(url, queue) as reader:
        read = asyncio.create_task(reader.read(5))
        await until(lambda: reader._waiting)
        read.cancel()
        with suppress(asyncio.CancelledError):
            await read
        sent = messages(queue, 1)
        await sender.publish(sent)
        (waiting,) = reader._waiting
        await asyncio.wait([waiting], timeout=LATE_SECONDS)
        assert ids((await reader.read(5)).deliveries) == ids(sent)


async def test_round_trips_and_commands_are_few(redis: service.RedisServer) -> None:
    queue = fresh()
    with service.private_server() as own:
        raw = own.client()
        async with publisher(own.url) as sender, consumer(own.url, queue) as reader:
            await sender.publish(messages(queue, 1))
            await reader.done(await collect(reader, 1))
            raw.config_resetstat()
            before = raw.info("stats")["total_reads_processed"]
            await sender.publish(messages(queue, 100))
            found = (await reader.read(100)).deliveries
            assert len(found) == 100
            await reader.done(found)
            trips = raw.info("stats")["total_reads_processed"]
            calls = {
                name.removeprefix("cmdstat_"): counts["calls"]
                for name, counts in raw.info("commandstats").items()
            }
    assert calls.pop("config|resetstat", 1) == 1
    calls.pop("info", None)
    assert calls == {
        "set": 1, "get": 1, "sadd": 1, "xadd": 100, "xreadgroup": 1,
        "eval": 1, "xack": 1, "xdel": 1,
    }  # fmt: skip
    # One each to publish, to read and to settle; large ones arrive in several parts.
    assert trips - before <= 3 + 100 * 120 // 16_384 + 4


async def test_a_worker_that_is_full_keeps_nothing_from_others(url: str, raw: Any) -> None:
    """Its reads that still wait elsewhere end."""
    first, second = fresh(), fresh()
    offers = (Offer(first.workflow, "1"), Offer(second.workflow, "2"))
    async with (
        publisher(url) as sender,
        consumer(url, first, offers=offers) as small,
        consumer(url, first, offers=offers) as other,
    ):
        reading = asyncio.create_task(small.read(1))
        await until(lambda: _waiting(raw) == 2)
        for queue, version, reader in ((first, "1", reading), (second, "2", other.read(1))):
            sent = messages(queue, 1, version)
            await sender.publish(sent)
            assert ids((await asyncio.wait_for(reader, LATE_SECONDS)).deliveries) == ids(sent)


async def test_what_comes_beyond_the_room_is_given_back_to_whoever_has_room(
    url: str, raw: Any
) -> None:
    """That may be the same worker, soon, although the wait for the dead is long."""
    queues = [fresh() for _ in range(4)]
    sent = [message for queue in queues for message in messages(queue, 1)]
    async with consumer(url, *queues) as small, consumer(url, *queues) as other:
        reading = asyncio.create_task(small.read(1))
        await until(lambda: _waiting(raw))
        together = raw.pipeline()
        for message in sent:
            together.xadd(message.queue.key, message.fields())
        together.execute()
        found = [*(await reading).deliveries, *await collect(other, 1, capacity=1)]
        assert len(found) == 2
        found += await collect(small, 2, capacity=2)
        assert sorted(ids(found)) == sorted(ids(sent))


def _waiting(raw: Any) -> int:
    """How many consumers wait at this server."""
    return sum("b" in client["flags"] for client in raw.client_list())


async def test_a_message_now_and_then_costs_one_read_each() -> None:
    """Where a read that waited found all there was, the next one waits at once."""
    queue = fresh()
    with service.private_server() as own:
        raw = own.client()
        async with publisher(own.url) as sender, consumer(own.url, queue) as reader:
            await sender.publish(messages(queue, 1))
            await reader.done(await collect(reader, 1))
            raw.config_resetstat()
            for _ in range(10):
                (message,) = messages(queue, 1)
                reading = asyncio.create_task(reader.read(5))
                await until(lambda: _waiting(raw))
                await sender.publish([message])
                found = (await reading).deliveries
                assert ids(found) == [message.run_id]
                await reader.done(found)
            reads = raw.info("commandstats")["cmdstat_xreadgroup"]["calls"]
    assert reads <= 12
