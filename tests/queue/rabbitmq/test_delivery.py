"""Laws of delivery: to one worker that has room, until it is settled, and not without end."""

from __future__ import annotations

import asyncio

import pytest

from aiki.queue.message import Message, Queue
from aiki.queue.rabbitmq.consumer import RabbitConsumer
from aiki.queue.rabbitmq.stream import Stream
from tests.queue.rabbitmq.support import (
    MOMENT_MS,
    collect,
    consumer,
    fresh,
    ids,
    messages,
    publisher,
    send_raw,
    until_it_is_read,
    waiting,
)
from tests.services import rabbitmq as service

rabbitmq = service.rabbitmq


@pytest.fixture
def url(rabbitmq: service.RabbitMq) -> str:
    return rabbitmq.url


async def kill(reader: RabbitConsumer) -> None:
    """End its connection without a word, as the death of its process would."""
    link = reader._links.current
    assert link is not None
    await link.abandon()


async def test_what_is_published_arrives_in_order(url: str) -> None:
    stream = fresh()
    sent = messages(stream, 25)
    async with publisher(url) as sender, consumer(url, stream) as reader:
        await sender.publish(sent)
        assert [each.message for each in await collect(reader, 25)] == sent


async def test_a_waiting_read_is_answered(url: str) -> None:
    stream = fresh()
    async with publisher(url) as sender, consumer(url, stream) as reader:
        read = asyncio.create_task(reader.read(1))
        sent = messages(stream, 1)
        await sender.publish(sent)
        assert ids((await asyncio.wait_for(read, 15)).deliveries) == ids(sent)


async def test_a_worker_reads_the_shards_and_versions_it_serves_and_no_others(url: str) -> None:
    workflow = fresh().queue.workflow
    streams = [
        Stream(Queue("default", workflow, shard), version)
        for shard in ("", "eu", "us")
        for version in ("1", "2")
    ]
    async with publisher(url) as sender:
        sent = {stream: messages(stream, 1) for stream in streams}
        await sender.publish([message for each in sent.values() for message in each])
    served = streams[2]
    async with consumer(url, served, wait_ms=MOMENT_MS) as reader:
        assert ids((await reader.read(10)).deliveries) == ids(sent[served])
        assert not (await reader.read(10)).deliveries


async def test_what_is_granted_is_never_delivered_again(url: str) -> None:
    stream = fresh()
    async with publisher(url) as sender:
        await sender.publish(messages(stream, 3))
    async with consumer(url, stream) as reader:
        found = await collect(reader, 3)
        await reader.granted(found)
        await reader.done(found)
        await reader.refresh(found)
        await kill(reader)
        # The numbers of a dead connection mean nothing on the next one.
        await reader.done(found)
    assert await waiting(url, stream) == 0


async def test_what_no_run_was_granted_for_is_settled(url: str) -> None:
    stream = fresh()
    async with publisher(url) as sender, consumer(url, stream) as reader:
        await sender.publish(messages(stream, 2))
        found = (await reader.read(1)).deliveries
        await reader.done(found)
        await reader.done(found)
        await kill(reader)
        assert len((await reader.read(5)).deliveries) == 1


async def test_what_a_killed_consumer_held_goes_to_another(url: str) -> None:
    stream = fresh()
    sent = messages(stream, 4)
    async with publisher(url) as sender:
        await sender.publish(sent)
    async with consumer(url, stream) as first, consumer(url, stream) as second:
        held: list[str] = []
        while len(held) < 4:
            held += ids((await first.read(4)).deliveries)
        await kill(first)
        assert sorted(ids(await collect(second, 4))) == sorted(held) == sorted(ids(sent))


async def test_a_consumer_that_closes_leaves_what_it_holds(url: str) -> None:
    stream = fresh()
    async with publisher(url) as sender:
        await sender.publish(messages(stream, 3))
    async with consumer(url, stream) as reader:
        assert (await reader.read(2)).deliveries
    async with consumer(url, stream) as reader:
        assert len(await collect(reader, 3)) == 3


async def test_what_is_no_message_is_refused_and_kept_until_it_is_dismissed(url: str) -> None:
    stream = fresh()
    async with publisher(url) as sender:
        await sender.publish(messages(stream, 1))
    await send_raw(url, stream, [b"junk"])
    async with consumer(url, stream) as reader:
        await collect(reader, 1, capacity=1)
        (first,) = (await reader.read(5)).refused
    async with consumer(url, stream, wait_ms=MOMENT_MS) as reader:
        (again,) = (await reader.read(5)).refused
        assert first == again
        assert (first.queue, first.content) == (stream.name, "junk")
        await reader.dismiss([again])
        await kill(reader)
        assert await reader.read(5) == ((), ())


async def test_a_worker_holds_no_more_than_it_has_room_for(url: str) -> None:
    stream = fresh()
    async with publisher(url) as sender:
        await sender.publish(messages(stream, 30))
    async with consumer(url, stream) as busy, consumer(url, stream) as idle:
        taken = 0
        for capacity in (3, 1, 7):
            found = (await busy.read(capacity)).deliveries
            assert 1 <= len(found) <= capacity
            await busy.granted(found)
            taken += len(found)
        # The busy one has no room now; it keeps nothing that another could execute.
        assert len(await collect(idle, 30 - taken)) == 30 - taken


async def test_with_less_room_than_queues_each_queue_has_its_turn(url: str) -> None:
    streams = [fresh() for _ in range(3)]
    async with publisher(url) as sender:
        for stream in streams:
            await sender.publish(messages(stream, 5))
    async with consumer(url, *streams) as reader:
        for _ in range(5):
            found = await collect(reader, 3, capacity=1)
            assert {each.message.queue for each in found} == {each.queue for each in streams}
    assert [await waiting(url, stream) for stream in streams] == [0, 0, 0]


async def test_what_came_beyond_the_room_is_given_back(url: str) -> None:
    streams = [fresh() for _ in range(3)]
    async with publisher(url) as sender, consumer(url, *streams) as busy:
        read = asyncio.create_task(busy.read(1))
        for stream in streams:
            await until_it_is_read(url, stream)
        await sender.publish([message for stream in streams for message in messages(stream, 1)])
        assert len((await asyncio.wait_for(read, 15)).deliveries) == 1
        async with consumer(url, *streams) as idle:
            assert len(await collect(idle, 2)) == 2


async def test_room_is_divided_among_queues(url: str) -> None:
    full, small = fresh(), fresh()
    async with publisher(url) as sender:
        await sender.publish(messages(full, 50) + messages(small, 1))
    async with consumer(url, full, small) as reader:
        found = await collect(reader, 12, capacity=4)
        assert small.queue in {each.message.queue for each in found}


async def test_a_cancelled_read_loses_nothing_and_keeps_its_connection(url: str) -> None:
    stream = fresh()
    async with publisher(url) as sender, consumer(url, stream) as reader:
        await sender.publish(messages(stream, 1))
        held = (await reader.read(1)).deliveries
        for moment in range(20):
            read = asyncio.create_task(reader.read(1))
            for _ in range(moment):
                await asyncio.sleep(0)
            read.cancel()
            await asyncio.wait([read])
            assert read.cancelled()
        sent: list[Message] = messages(stream, 1)
        await sender.publish(sent)
        assert ids((await reader.read(2)).deliveries) == ids(sent)
        await reader.granted(held)
    assert await waiting(url, stream) == 1


async def test_many_messages_in_many_reads_arrive_once_each(url: str) -> None:
    streams = [fresh() for _ in range(3)]
    sent = [message for stream in streams for message in messages(stream, 200)]
    async with publisher(url) as sender, consumer(url, *streams) as reader:
        publishing = asyncio.create_task(sender.publish(sent))
        found: list[str] = []
        capacities = [1, 20, 2, 50, 7]
        while len(found) < len(sent):
            capacity = capacities[len(found) % len(capacities)]
            batch = await reader.read(capacity)
            assert 1 <= len(batch.deliveries) <= capacity
            await reader.granted(batch.deliveries)
            found += ids(batch.deliveries)
        await publishing
        assert sorted(found) == sorted(ids(sent))
    assert [await waiting(url, stream) for stream in streams] == [0, 0, 0]
