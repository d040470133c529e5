"""Laws of publishing: confirmed or not sent; gone only where two looks prove it."""

from __future__ import annotations

import pytest

from aiki.queue.publisher import Published
from tests.queue.rabbitmq.support import (
    collect,
    consumer,
    delete,
    fresh,
    ids,
    messages,
    publisher,
    raw,
)
from tests.services import rabbitmq as service

rabbitmq = service.rabbitmq


@pytest.fixture
def url(rabbitmq: service.RabbitMq) -> str:
    return rabbitmq.url


async def test_a_queue_that_was_deleted_is_made_again(url: str) -> None:
    stream = fresh()
    async with publisher(url) as sender, consumer(url, stream) as reader:
        await sender.publish(messages(stream, 1))
        await delete(url, stream)
        sent = messages(stream, 2)
        await sender.publish(sent)
        assert sorted(ids(await collect(reader, 2))) == sorted(ids(sent))


async def test_what_waits_is_not_missing_however_late_it_is(url: str) -> None:
    stream = fresh()
    async with publisher(url) as sender:
        sent = messages(stream, 2)
        places = await sender.publish(sent)
        published = list(map(Published, sent, places))
        for _ in range(3):
            assert await sender.missing(published) == []


@pytest.mark.parametrize("deleted", [False, True])
async def test_what_two_looks_do_not_find_is_missing(url: str, deleted: bool) -> None:
    stream, other = fresh(), fresh()
    async with publisher(url) as sender:
        sent = messages(stream, 2) + messages(other, 1)
        published = list(map(Published, sent, await sender.publish(sent)))
        if deleted:
            await delete(url, stream)
        else:
            async with raw(url) as channel:
                await channel.queue_purge(stream.name)
        assert await sender.missing(published) == []
        assert await sender.missing(published) == sent[:2]
        # What was announced again counts from the beginning.
        assert await sender.missing(published) == []


async def test_a_message_that_was_published_after_the_first_look_is_not_missing(url: str) -> None:
    stream = fresh()
    async with publisher(url) as sender, consumer(url, stream) as reader:
        first = messages(stream, 1)
        early = list(map(Published, first, await sender.publish(first)))
        await collect(reader, 1)
        assert await sender.missing(early) == []
        second = messages(stream, 1)
        late = list(map(Published, second, await sender.publish(second)))
        await collect(reader, 1)
        assert await sender.missing(early + late) == first


async def test_a_queue_that_was_seen_full_in_between_proves_nothing(url: str) -> None:
    stream = fresh()
    async with publisher(url) as sender, consumer(url, stream) as reader:
        sent = messages(stream, 1)
        published = list(map(Published, sent, await sender.publish(sent)))
        await collect(reader, 1)
        assert await sender.missing(published) == []
        await sender.publish(sent)
        assert await sender.missing(published) == []
        await collect(reader, 1)
        assert await sender.missing(published) == []
        assert await sender.missing(published) == sent


async def test_a_sweep_removes_nothing(url: str) -> None:
    stream = fresh()

    async def nobody(_: object) -> set[str]:
        return set()

    async with publisher(url) as sender, consumer(url, stream) as reader:
        sent = messages(stream, 2)
        await sender.publish(sent)
        assert await sender.sweep(nobody) == 0
        assert len(await collect(reader, 2)) == 2


async def test_nothing_is_published_for_nothing(url: str) -> None:
    async with publisher(url) as sender:
        assert await sender.publish([]) == []
        assert await sender.missing([]) == []
        await sender.ping()
