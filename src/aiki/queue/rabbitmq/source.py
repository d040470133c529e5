"""A source: one queue as a worker reads it, over a channel of its own.

The broker closes a channel on which it refuses something, and a queue that lost its majority does
not answer at all: neither may touch what is read from other queues.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aiormq import spec

from aiki.clock import Clock
from aiki.queue.rabbitmq.condition import Condition
from aiki.queue.rabbitmq.connection import Link
from aiki.queue.rabbitmq.declaration import Absent, declare
from aiki.queue.rabbitmq.stream import Stream

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel, DeliveredMessage

Arrive = Callable[["Source", "DeliveredMessage"], None]


class Source:
    """A queue of a worker; `arrive` is told of each message, `changed` when the queue is gone."""

    def __init__(
        self, stream: Stream, clock: Clock, arrive: Arrive, changed: Callable[[], None]
    ) -> None:
        self.stream = stream
        self.condition = Condition(stream.name, clock)
        self._arrive = arrive
        self._changed = changed
        self._channel: AbstractChannel | None = None
        self._is_there = False
        self._consumer_tag: str | None = None
        self._prefetch = 0

    @property
    def channel(self) -> AbstractChannel | None:
        """What its messages are settled over; those of an earlier one are void."""
        if self._channel is not None and self._channel.is_closed:
            self.leave()
        return self._channel

    @property
    def is_open(self) -> bool:
        """Whether it can be read."""
        return self._is_there and self.channel is not None

    @property
    def is_read(self) -> bool:
        """Whether the broker may send."""
        return self._consumer_tag is not None

    async def open(self, link: Link) -> None:
        """Find its queue; where there is none, and this user may make none, it stays closed."""
        try:
            await declare(link, self.stream)
        except Absent:
            self.condition.absent()
            return
        if self.channel is None:
            self._channel = await link.channel()
            self._channel.on_consumer_cancel_callbacks.add(self._lose)
        self._is_there = True

    async def fetch(self) -> None:
        """Take the first message, if there is one."""
        found = await self._opened.basic_get(self.stream.name)
        if isinstance(found.delivery, spec.Basic.GetOk):
            self._arrive(self, found)
        self.condition.works()

    async def begin(self, prefetch: int) -> None:
        """Let the broker send so many."""
        if prefetch != self._prefetch:
            await self._opened.basic_qos(prefetch_count=prefetch)
            self._prefetch = prefetch

        async def arrive(content: DeliveredMessage) -> None:
            self._arrive(self, content)

        answer = await self._opened.basic_consume(self.stream.name, arrive)
        self._consumer_tag = answer.consumer_tag
        self.condition.works()

    async def end(self) -> None:
        """Let the broker send no more."""
        consumer_tag, self._consumer_tag = self._consumer_tag, None
        if consumer_tag is not None and self.channel is not None:
            await self._opened.basic_cancel(consumer_tag)

    def leave(self) -> None:
        """Its channel is of no use any more."""
        self._channel = None
        self._is_there = False
        self._consumer_tag = None
        self._prefetch = 0

    @property
    def _opened(self) -> AbstractChannel:
        assert self._channel is not None
        return self._channel

    def _lose(self, _: spec.Basic.Cancel) -> None:
        """Somebody deleted the queue; what was taken from it can still be settled."""
        self._is_there = False
        self._consumer_tag = None
        self._changed()
