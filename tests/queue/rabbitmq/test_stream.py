"""Laws of the names and of the bodies at the broker."""

from __future__ import annotations

import pytest

from aiki.ids import new_id
from aiki.queue.message import MalformedMessage, Message, Queue
from aiki.queue.rabbitmq.stream import Stream, decode, encode
from tests.queue.rabbitmq.support import collect, consumer, publisher
from tests.services import rabbitmq as service

rabbitmq = service.rabbitmq
STREAM = Stream(Queue("default", "orders"), "3")
LONG = "ü" * 200
RUN = "019a0000-0000-7000-8000-000000000000"


def test_a_name_says_queue_and_version() -> None:
    assert STREAM.name == "workflow:orders@3"
    assert Stream(Queue("acme", "orders", "eu"), "3").name == "acme:workflow:orders:eu@3"


def test_names_that_the_broker_would_refuse_differ_and_fit() -> None:
    names = {
        Stream(Queue(namespace, LONG, shard), version).name
        for namespace in ("default", "amq.x", LONG)
        for shard in ("", "a", LONG)
        for version in ("1", "2")
    }
    assert len(names) == 18
    assert all(len(name.encode()) <= 255 for name in names)
    assert not any(name.startswith("amq.") for name in names)
    assert all("#" in name for name in names)


async def test_the_broker_takes_such_names(rabbitmq: service.RabbitMq) -> None:
    for namespace, workflow in (("amq.x", new_id()), ("default", LONG), ("a/b", "*!\\$~ +,")):
        message = Message(Queue(namespace, workflow), new_id(), new_id())
        async with publisher(rabbitmq.url) as sender:
            assert len(await sender.publish([message])) == 1


async def test_a_long_name_carries_messages(rabbitmq: service.RabbitMq) -> None:
    stream = Stream(Queue("default", LONG[:-36] + new_id()), "1")
    message = Message(stream.queue, stream.version, new_id())
    async with publisher(rabbitmq.url) as sender, consumer(rabbitmq.url, stream) as reader:
        await sender.publish([message])
        assert [each.message for each in await collect(reader, 1)] == [message]


def test_a_body_comes_back_as_its_message() -> None:
    message = Message(STREAM.queue, STREAM.version, new_id())
    assert decode(STREAM, encode(message)) == message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"v":"1"}',
        b'{"v":1,"run":"x","version":"3"}',
        b'{"v":"1","run":"\xed\xa0\x80","version":"3"}',
        encode(Message(STREAM.queue, "4", RUN)),
        encode(Message(STREAM.queue, STREAM.version, RUN)) + b" " * 5_000,
    ],
)
def test_anything_else_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(STREAM, body)
