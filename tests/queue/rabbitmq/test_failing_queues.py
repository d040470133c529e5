"""Laws of a queue that fails: it is left out and named, and holds up no other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from aiki.errors import QueueUnavailable
from aiki.queue.publisher import Published
from aiki.queue.rabbitmq.declaration import DEAD
from aiki.queue.rabbitmq.publisher import RabbitPublisher
from aiki.queue.rabbitmq.stream import Stream
from tests.queue.rabbitmq.support import (
    LATE_SECONDS,
    MOMENT_MS,
    HandClock,
    collect,
    consumer,
    control,
    delete,
    fresh,
    ids,
    messages,
    publisher,
    raw,
    waiting,
)
from tests.services import rabbitmq as service

if TYPE_CHECKING:
    from aiormq.abc import ArgumentsType

PATIENT_MS = 4_000
LONG_SECONDS = 1_000.0


@pytest.fixture(scope="module")
def node() -> Iterator[service.RabbitMq]:
    """One of whose queues these tests may stop some."""
    with service.private_node() as running:
        yield running


@pytest.fixture
def url(node: service.RabbitMq) -> str:
    return node.url


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(params=["refuses", "is silent"])
def failing(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def trouble(node: service.RabbitMq, stream: Stream, failing: str) -> AsyncIterator[None]:
    """While this lasts the queue of that stream refuses whoever asks, or answers nobody."""
    if failing == "refuses":
        async with raw(node.url) as channel:
            await channel.queue_declare(stream.name, exclusive=True)
            yield
        return
    async with publisher(node.url) as sender:
        await sender.publish(messages(stream, 1))
    process = f"whereis('%2F_{stream.name}')"
    await control(node, "eval", f"sys:suspend({process}).")
    yield
    await control(node, "eval", f"sys:resume({process}).")


async def nobody(_: object) -> set[str]:
    """No run needs anybody."""
    return set()


def warning(caplog: pytest.LogCaptureFixture) -> str:
    """The only one of ours."""
    (said,) = [each.getMessage() for each in caplog.records if each.name == "aiki.queue"]
    return said


def impatient(url: str, clock: HandClock) -> RabbitPublisher:
    return RabbitPublisher(url, timeout_ms=PATIENT_MS, clock=clock)


async def test_a_publisher_leaves_a_failing_queue_out_and_tries_it_again(
    node: service.RabbitMq, failing: str, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = fresh(), fresh()
    sender = impatient(node.url, clock)
    well, ill = messages(good, 3), messages(bad, 2)
    async with trouble(node, bad, failing):
        sent = [ill[0], *well, ill[1]]
        with caplog.at_level(logging.WARNING, "aiki.queue"):
            published = list(map(Published, sent, await sender.publish(sent)))
            await sender.publish(ill)
        said = warning(caplog)
        assert bad.name in said
        assert "delete" in said
        assert await waiting(node.url, good) == 3
        for _ in range(3):
            assert await sender.missing(published) == []
            clock.seconds += LONG_SECONDS
            assert set(await sender.missing(published)) <= set(ill)
            assert len(await sender.publish(ill)) == 2
    clock.seconds += LONG_SECONDS
    assert await sender.missing(published) == ill
    places = await sender.publish(ill)
    assert await sender.missing(list(map(Published, ill, places))) == []
    async with consumer(node.url, bad) as reader:
        found: set[str] = set()
        while not found >= set(ids(ill)):
            found |= set(ids(await collect(reader, 1)))
    await sender.close()


async def test_a_worker_leaves_a_failing_queue_out_and_tries_it_again(
    node: service.RabbitMq, failing: str, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = fresh(), fresh()
    async with (
        publisher(node.url) as sender,
        consumer(node.url, bad, good, timeout_ms=PATIENT_MS, clock=clock) as reader,
    ):
        async with trouble(node, bad, failing):
            with caplog.at_level(logging.WARNING, "aiki.queue"):
                for capacity in (1, 2, 10):
                    clock.seconds += LONG_SECONDS
                    sent = messages(good, 2)
                    await sender.publish(sent)
                    assert ids(await collect(reader, 2, capacity=capacity)) == ids(sent)
            said = warning(caplog)
            assert bad.name in said
            assert "delete" in said
        clock.seconds += LONG_SECONDS
        sent = messages(bad, 1)
        await sender.publish(sent)
        found: set[str] = set()
        while not found >= set(ids(sent)):
            found |= set(ids(await collect(reader, 1)))


async def test_what_a_worker_holds_of_others_survives_a_queue_that_begins_to_fail(
    node: service.RabbitMq,
) -> None:
    good, bad = fresh(), fresh()
    async with publisher(node.url) as sender, consumer(node.url, good, bad) as reader:
        await sender.publish(messages(good, 1))
        held = (await reader.read(10)).deliveries
        assert len(held) == 1
        await delete(node.url, bad)
        async with trouble(node, bad, "refuses"):
            sent = messages(good, 1)
            await sender.publish(sent)
            assert ids(await collect(reader, 1)) == ids(sent)
            await reader.granted(held)
            await reader.done(held)
    assert await waiting(node.url, good) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"x-max-length": 1_000},
        {"x-queue-type": "quorum", "x-delivery-limit": 77},
    ],
)
async def test_a_queue_that_is_there_is_taken_as_it_is(url: str, arguments: ArgumentsType) -> None:
    """Another release, or an administrator, may have made it with other limits."""
    stream, other = fresh(), fresh()
    async with raw(url) as channel:
        await channel.queue_declare(stream.name, durable=True, arguments=arguments)
    async with publisher(url) as sender, consumer(url, stream, other) as reader:
        sent = messages(stream, 2) + messages(other, 2)
        published = list(map(Published, sent, await sender.publish(sent)))
        assert await sender.missing(published) == []
        assert sorted(ids(await collect(reader, 4))) == sorted(ids(sent))
    assert await waiting(url, stream) == 0


async def test_a_worker_that_reads_only_queues_that_fail_says_so_until_one_works(
    node: service.RabbitMq, failing: str, clock: HandClock
) -> None:
    """So that its subscriber polls the server meanwhile."""
    bad = fresh()
    async with (
        publisher(node.url) as sender,
        consumer(node.url, bad, timeout_ms=PATIENT_MS, wait_ms=MOMENT_MS, clock=clock) as reader,
    ):
        async with trouble(node, bad, failing):
            with suppress(QueueUnavailable):
                await reader.read(1)
            for _ in range(2):
                with pytest.raises(QueueUnavailable, match=bad.queue.workflow):
                    await reader.read(1)
        clock.seconds += LONG_SECONDS
        sent = messages(bad, 1)
        await sender.publish(sent)
        async with asyncio.timeout(LATE_SECONDS):
            found: set[str] = set()
            while not found >= set(ids(sent)):
                found |= set(ids((await reader.read(5)).deliveries))


async def test_a_queue_that_is_deleted_while_it_is_read_is_made_again(url: str) -> None:
    stream, other = fresh(), fresh()
    async with publisher(url) as sender, consumer(url, stream, other) as reader:
        await sender.publish(messages(other, 1))
        held = await collect(reader, 1)
        await delete(url, stream)
        sent = messages(stream, 2)
        await sender.publish(sent)
        assert sorted(ids(await collect(reader, 2))) == sorted(ids(sent))
        await reader.done(held)


async def test_a_message_that_its_queue_does_not_take_is_not_published(
    url: str, clock: HandClock
) -> None:
    full, other = fresh(), fresh()
    limits: ArgumentsType = {"x-max-length": 1, "x-overflow": "reject-publish"}
    async with raw(url) as channel:
        await channel.queue_declare(full.name, durable=True, arguments=limits)
    sender = impatient(url, clock)
    sent = messages(full, 1)
    await sender.publish(sent)
    refused = messages(full, 1)
    published = list(map(Published, refused, await sender.publish([*refused, *messages(other, 1)])))
    assert await waiting(url, other) == 1
    assert await sender.missing(published) == []
    clock.seconds += LONG_SECONDS
    assert await sender.missing(published) == refused
    await sender.close()


async def test_a_place_of_dead_messages_that_fails_holds_up_nothing(
    node: service.RabbitMq,
) -> None:
    async with raw(node.url) as owner:
        await owner.queue_delete(DEAD)
        await owner.queue_declare(DEAD, exclusive=True)
        stream = fresh()
        async with publisher(node.url) as sender, consumer(node.url, stream) as reader:
            sent = messages(stream, 1)
            await sender.publish(sent)
            assert ids(await collect(reader, 1)) == ids(sent)
            assert await sender.sweep(nobody) == 0


async def test_a_waiting_read_tries_a_failing_queue_again(node: service.RabbitMq) -> None:
    """It does not wait to its end for other queues while this one has long been well."""
    good, bad = fresh(), fresh()
    async with (
        publisher(node.url) as sender,
        consumer(node.url, good, bad, wait_ms=10_000_000) as reader,
    ):
        async with trouble(node, bad, "refuses"):
            assert not (await reader.read(1)).deliveries
        sent = messages(bad, 1)
        await sender.publish(sent)
        async with asyncio.timeout(LATE_SECONDS):
            found: list[str] = []
            while not found:
                found = ids((await reader.read(1)).deliveries)
        assert found == ids(sent)
