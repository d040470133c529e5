"""Laws of a worker's subscriber over RabbitMQ: what is announced is asked for, and settled."""

from __future__ import annotations

import asyncio

from aiki.operations.work import ClaimedRun, Claims, Offer
from aiki.queue.rabbitmq.consumer import RabbitConsumer
from aiki.queue.streaming import Streaming
from aiki.queue.subscriber import Ask, Interest
from tests.queue.rabbitmq.support import consumer, fresh, messages, publisher, waiting
from tests.services import rabbitmq as service

rabbitmq = service.rabbitmq


def granted(run_id: str, workflow: str) -> ClaimedRun:
    return ClaimedRun(
        id=run_id, namespace="default", workflow=workflow, version="1",
        attempt=1, epoch=1, memo_version=0, input=None,
    )  # fmt: skip


async def test_an_announced_run_is_asked_for_and_its_message_is_settled(
    rabbitmq: service.RabbitMq,
) -> None:
    stream = fresh()
    workflow = stream.queue.workflow
    streaming = Streaming(RabbitConsumer(rabbitmq.url), look_interval_ms=10_000_000)
    await streaming.open(Interest("here", "default", (Offer(workflow, "1"),), ()))
    async with publisher(rabbitmq.url) as sender:
        assert await streaming.next(2) == Ask(2, 0)
        streaming.learn(Claims())
        sent = messages(stream, 3)
        await sender.publish(sent)
        asked: list[str] = []
        while len(asked) < 3:
            ask = await asyncio.wait_for(streaming.next(2), 15)
            assert ask.limit == len(ask.hints) <= 2
            asked += [hint.run_id for hint in ask.hints]
            # The first of each request is granted, the other went to somebody else.
            streaming.learn(Claims(runs=(granted(ask.hints[0].run_id, workflow),)))
        assert sorted(asked) == sorted(message.run_id for message in sent)
        # They are settled by the time that another worker has been answered.
        last = messages(stream, 1)
        await sender.publish(last)
        async with consumer(rabbitmq.url, stream) as other:
            found = (await other.read(5)).deliveries
            assert [each.message for each in found] == last
            await other.done(found)
        for run_id in asked:
            streaming.ended(run_id)
        await streaming.close()
    assert await waiting(rabbitmq.url, stream) == 0
