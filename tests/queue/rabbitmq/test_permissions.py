"""Laws of permissions: those that the documents give to servers and workers are enough."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiormq.exceptions import ChannelAccessRefused

from aiki.ids import new_id
from aiki.queue.message import Queue
from aiki.queue.publisher import Published
from aiki.queue.rabbitmq.declaration import DEAD, DELIVERY_LIMIT
from aiki.queue.rabbitmq.stream import Stream, run_of
from tests.queue.rabbitmq.support import (
    LATE_SECONDS,
    MOMENT_MS,
    HandClock,
    collect,
    consumer,
    fresh,
    ids,
    messages,
    publisher,
    raw,
    waiting,
)
from tests.services import rabbitmq as service

DOCUMENT = Path(__file__).parents[3] / "docs/queues.md"
LONG_SECONDS = 1_000.0


@pytest.fixture(scope="module")
def node() -> Iterator[service.RabbitMq]:
    """One whose users have the permissions of the document and no others."""
    lines = re.findall(r"^rabbitmqctl (set_permissions .*)$", DOCUMENT.read_text("utf-8"), re.M)
    with service.private_node() as running:
        for line in lines:
            words = shlex.split(line)
            running.control("add_user", words[1], "secret")
            running.control(*words)
        yield running


def url_of(node: service.RabbitMq, user: str) -> str:
    return node.url.replace("guest:guest@", f"{user}:secret@")


STREAMS = [
    fresh(),
    fresh("eu"),
    Stream(Queue("acme", f"w{new_id()}", "us"), "1"),
    Stream(Queue("default", f"ü{new_id()}"), "1"),
]


@pytest.mark.parametrize("stream", STREAMS, ids=["plain", "shard", "namespace", "replaced name"])
async def test_a_server_announces_and_a_worker_reads_and_acknowledges(
    node: service.RabbitMq, stream: Stream
) -> None:
    async with (
        publisher(url_of(node, "server")) as sender,
        consumer(url_of(node, "worker"), stream) as reader,
    ):
        sent = messages(stream, 3)
        published = list(map(Published, sent, await sender.publish(sent)))
        assert await sender.missing(published) == []
        found = await collect(reader, 3)
        assert ids(found) == ids(sent)
        await reader.done(found)
    assert await waiting(node.url, stream) == 0


async def test_a_queue_that_is_not_there_yet_is_empty_for_a_worker_and_found_later(
    node: service.RabbitMq, caplog: pytest.LogCaptureFixture
) -> None:
    stream, clock = fresh(), HandClock()
    async with (
        publisher(url_of(node, "server")) as sender,
        consumer(url_of(node, "worker"), stream, wait_ms=MOMENT_MS, clock=clock) as reader,
    ):
        for _ in range(3):
            assert await reader.read(5) == ((), ())
            clock.seconds += LONG_SECONDS
        sent = messages(stream, 1)
        await sender.publish(sent)
        assert ids(await collect(reader, 1)) == ids(sent)
    assert [each for each in caplog.records if each.name == "aiki.queue"] == []


async def dead(node: service.RabbitMq) -> list[str]:
    """The runs of messages that were delivered too often, as soon as there are some."""
    found: list[str] = []
    async with asyncio.timeout(LATE_SECONDS):
        while not found:
            async with raw(node.url) as channel:
                while body := (await channel.basic_get(DEAD)).body:
                    found.append(run_of(body))
    return found


async def test_what_a_worker_never_settles_ends_among_the_dead_and_is_swept_by_a_server(
    node: service.RabbitMq,
) -> None:
    stream = fresh()
    over, alive = messages(stream, 2)

    async def live(asked: object) -> set[str]:
        return {alive.run_id}

    async with publisher(url_of(node, "server")) as sender:
        await sender.publish([over, alive])
        for _ in range(DELIVERY_LIMIT + 1):
            async with consumer(url_of(node, "worker"), stream) as reader:
                held: list[str] = []
                while len(held) < 2:
                    held += ids((await reader.read(2)).deliveries)
        swept = 0
        async with asyncio.timeout(LATE_SECONDS):
            while swept == 0:
                swept = await sender.sweep(live)
        assert swept == 1
        assert await dead(node) == [alive.run_id]
        assert await sender.sweep(live) == 0
        assert await dead(node) == [alive.run_id]


async def test_a_worker_can_neither_announce_nor_delete_nor_read_what_is_dead(
    node: service.RabbitMq,
) -> None:
    stream = fresh()
    async with publisher(url_of(node, "server")) as sender:
        await sender.publish(messages(stream, 1))
    worker = url_of(node, "worker")
    async with raw(worker) as channel:
        with pytest.raises(ChannelAccessRefused):
            await channel.basic_publish(b"{}", routing_key=stream.name)
    async with raw(worker) as channel:
        with pytest.raises(ChannelAccessRefused):
            await channel.queue_delete(stream.name)
    async with raw(worker) as channel:
        with pytest.raises(ChannelAccessRefused):
            await channel.queue_declare(fresh().name, durable=True)
    async with raw(worker) as channel:
        with pytest.raises(ChannelAccessRefused):
            await channel.basic_get(DEAD)
