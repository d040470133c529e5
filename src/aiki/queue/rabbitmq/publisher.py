"""The publisher of RabbitMQ: every message is confirmed by the broker, or counts as not sent."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiormq import spec
from aiormq.exceptions import PublishError

from aiki.ids import new_id
from aiki.queue.message import Message
from aiki.queue.publisher import LiveRuns, Publication, Published
from aiki.queue.rabbitmq.address import Address
from aiki.queue.rabbitmq.connection import Link, Links
from aiki.queue.rabbitmq.stream import Stream, declare, declare_dead, encode, stream_of

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel

_PERSISTENT = 2
_ALWAYS_THERE = "amq.direct"
"""An exchange that every broker has."""
_MOST_SUSPECTS = 100_000
"""Messages that were not found once, kept for the next look."""


class RabbitPublisher:
    """Announces ready runs in quorum queues.

    RabbitMQ gives a message no id by which it could be found. So one counts as gone when its queue
    was empty at two looks that were both after it was published: what a consumer holds unsettled
    for longer than the time between them is announced twice, which is harmless.
    """

    name = "rabbitmq"
    one_look_proves = False

    def __init__(self, url: str, *, timeout_ms: int = 5_000) -> None:
        self._links = Links(Address.parse(url), name="aiki publisher", timeout_ms=timeout_ms)
        self._prepared: Link | None = None
        self._incarnation = ""
        self._declared: set[Stream] = set()
        self._suspects: defaultdict[Stream, set[Published]] = defaultdict(set)

    async def open(self) -> None:
        """Nothing is needed: the first call connects."""

    async def publish(self, messages: Sequence[Message]) -> list[Publication]:
        async with self._links.in_time() as link:
            await self._prepare(link)
            returned = await self._send(link.channel, messages)
            if returned:
                # Somebody deleted their queues.
                self._declared.difference_update(stream_of(message) for message in returned)
                if await self._send(link.channel, returned):
                    raise self._links.unavailable("a queue is deleted again and again")
        return [Publication("", self._incarnation)] * len(messages)

    async def missing(self, published: Sequence[Published]) -> list[Message]:
        asked: defaultdict[Stream, list[Published]] = defaultdict(list)
        for each in published:
            asked[stream_of(each.message)].append(each)
        gone: list[Message] = []
        async with self._links.in_time() as link:
            await self._prepare(link)
            for stream, its in asked.items():
                if await declare(link.channel, stream):
                    self._suspects.pop(stream, None)
                else:
                    gone.extend(self._convict(stream, its))
        return gone

    async def sweep(self, live: LiveRuns) -> int:
        """Removes nothing, since whoever reads a message settles it; forgets the looks so far."""
        self._suspects.clear()
        return 0

    async def ping(self) -> None:
        async with self._links.in_time() as link:
            await link.channel.exchange_declare(_ALWAYS_THERE, passive=True)

    async def close(self) -> None:
        await self._links.close()

    async def _prepare(self, link: Link) -> None:
        if link is not self._prepared:
            await declare_dead(link.channel)
            self._incarnation = new_id()
            self._prepared = link

    async def _send(self, channel: AbstractChannel, messages: Sequence[Message]) -> list[Message]:
        """Send all, and wait until the broker has them. Answers those that have no queue."""
        for stream in dict.fromkeys(map(stream_of, messages)):
            if stream not in self._declared:
                await declare(channel, stream)
                self._declared.add(stream)
        answers = await asyncio.gather(
            *(_publish(channel, message) for message in messages), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, PublishError):
                raise answer
        return [
            message
            for message, answer in zip(messages, answers, strict=True)
            if isinstance(answer, PublishError)
        ]

    def _convict(self, stream: Stream, asked: Sequence[Published]) -> list[Message]:
        """Its queue is empty: those that another look has missed before are gone."""
        suspects = self._suspects[stream]
        gone = [each for each in asked if each in suspects]
        suspects.difference_update(gone)
        if sum(map(len, self._suspects.values())) + len(asked) <= _MOST_SUSPECTS:
            suspects.update(set(asked).difference(gone))
        return [each.message for each in gone]


async def _publish(channel: AbstractChannel, message: Message) -> None:
    await channel.basic_publish(
        encode(message),
        routing_key=stream_of(message).name,
        properties=spec.Basic.Properties(
            content_type="application/json", delivery_mode=_PERSISTENT
        ),
        mandatory=True,
    )
