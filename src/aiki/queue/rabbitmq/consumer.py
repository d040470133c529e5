"""The consumer of RabbitMQ: takes as many messages as its worker has room for, and no more."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from aiormq import spec

from aiki.errors import QueueUnavailable
from aiki.operations.work import RefusedMessage
from aiki.queue.consumer import Batch, Delivery
from aiki.queue.message import MalformedMessage, Queue
from aiki.queue.pacing import divide
from aiki.queue.rabbitmq.address import Address
from aiki.queue.rabbitmq.connection import Link, Links
from aiki.queue.rabbitmq.stream import Stream, declare, declare_dead, decode
from aiki.queue.subscriber import Interest

if TYPE_CHECKING:
    from aiormq.abc import DeliveredMessage

_SHOWN = 500
"""Characters of what is no message, for people."""


class _Tag(NamedTuple):
    """The broker's handle of a delivery: a number that is void without its link."""

    link: Link
    number: int


class _Arrival(NamedTuple):
    """What the broker delivered and nobody has looked at."""

    stream: Stream
    tag: _Tag
    content: DeliveredMessage


class RabbitConsumer:
    """Reads the quorum queues of a worker's workflows over one channel.

    The broker sends only while a read waits, and no more than the read may take; so a worker that
    has no room keeps no messages from others. A message is acknowledged once its run is granted:
    from then on the lease protects the run.
    """

    def __init__(
        self,
        url: str,
        *,
        prefetch: int | None = None,
        timeout_ms: int = 5_000,
        wait_ms: int = 5_000,
    ) -> None:
        self._prefetch = prefetch
        self._links = Links(Address.parse(url), name="aiki consumer", timeout_ms=timeout_ms)
        self._wait_seconds = wait_ms / 1000
        self._streams: deque[Stream] = deque()
        self._prepared: Link | None = None
        self._consuming: list[str] = []
        self._arrived: deque[_Arrival] = deque()
        self._some_arrived = asyncio.Event()
        self._unsettled: set[_Tag] = set()
        self._refused: dict[tuple[str, str], list[_Tag]] = {}

    async def open(self, interest: Interest) -> None:
        self._streams = deque(
            Stream(Queue(interest.namespace, offer.workflow, shard), offer.version)
            for offer in interest.offers
            for shard in interest.shards or ("",)
        )

    async def read(self, capacity: int) -> Batch:
        capacity = min(capacity, self._prefetch or capacity)
        self._forget_void()
        if not self._arrived:
            try:
                await _whole(self._begin(capacity))
                await self._wait()
            finally:
                await _whole(self._end(capacity))
            if self._links.current is None:
                raise self._links.unavailable("the connection was lost")
        return self._take(capacity)

    async def granted(self, deliveries: Sequence[Delivery]) -> None:
        await self._acknowledge([delivery.tag for delivery in deliveries])

    async def done(self, deliveries: Sequence[Delivery]) -> None:
        await self._acknowledge([delivery.tag for delivery in deliveries])

    async def dismiss(self, refused: Sequence[RefusedMessage]) -> None:
        for each in refused:
            await self._acknowledge(self._refused.get((each.queue, each.entry), []))
            self._refused.pop((each.queue, each.entry), None)

    async def refresh(self, deliveries: Sequence[Delivery]) -> None:
        """Nothing is needed: what is executed was acknowledged when it was granted."""

    async def close(self) -> None:
        link = self._links.current
        if link is not None and self._unsettled:
            try:
                async with self._links.in_time():
                    await self._return(link, [tag for tag in self._unsettled if tag.link is link])
            except QueueUnavailable:
                # The broker takes back what was delivered over a connection that ended.
                pass
        await self._links.close()

    # Receiving

    async def _begin(self, capacity: int) -> None:
        """Let the broker send so many."""
        async with self._links.in_time() as link:
            await self._prepare(link)
            if capacity < len(self._streams):
                await self._fetch(link, capacity)
            if not self._arrived:
                await self._consume(link, capacity)

    async def _prepare(self, link: Link) -> None:
        if link is not self._prepared:
            self._forget_void()
            await declare_dead(link.channel)
            for stream in self._streams:
                await declare(link.channel, stream)
            self._prepared = link

    async def _fetch(self, link: Link, capacity: int) -> None:
        """Look into each queue, beginning where the last look found enough."""
        for _ in range(len(self._streams)):
            stream = self._streams[0]
            self._streams.rotate(-1)
            found = await link.channel.basic_get(stream.name)
            if isinstance(found.delivery, spec.Basic.GetOk):
                self._arrive(stream, link, found)
            if len(self._arrived) == capacity:
                return

    async def _consume(self, link: Link, capacity: int) -> None:
        # Where there is less room than queues each may send one; what is too much is given back.
        shares = divide(max(capacity, len(self._streams)), list(self._streams))
        prefetch = 0
        for stream, share in shares:
            if share != prefetch:
                await link.channel.basic_qos(prefetch_count=share)
                prefetch = share

            async def arrive(content: DeliveredMessage, stream: Stream = stream) -> None:
                self._arrive(stream, link, content)

            answer = await link.channel.basic_consume(stream.name, arrive)
            self._consuming.append(answer.consumer_tag or "")

    def _arrive(self, stream: Stream, link: Link, content: DeliveredMessage) -> None:
        tag = _Tag(link, content.delivery_tag or 0)
        self._unsettled.add(tag)
        self._arrived.append(_Arrival(stream, tag, content))
        self._some_arrived.set()

    async def _wait(self) -> None:
        """Return when something arrived, the link was lost, or it took too long."""
        link = self._links.current
        if link is None or self._arrived:
            return
        self._some_arrived.clear()
        waiting = [
            asyncio.ensure_future(self._some_arrived.wait()),
            asyncio.ensure_future(link.lost()),
        ]
        try:
            await asyncio.wait(
                waiting, timeout=self._wait_seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for each in waiting:
                each.cancel()

    async def _end(self, capacity: int) -> None:
        """Let the broker send no more. A link over which that fails is lost."""
        consuming, self._consuming = self._consuming, []
        link = self._links.current
        if link is None or not consuming:
            return
        try:
            async with self._links.in_time():
                for consumer_tag in consuming:
                    await link.channel.basic_cancel(consumer_tag)
                surplus = [self._arrived.pop().tag for _ in range(len(self._arrived) - capacity)]
                await self._return(link, surplus)
        except QueueUnavailable:
            self._forget_void()

    def _take(self, capacity: int) -> Batch:
        deliveries: list[Delivery] = []
        refused: list[RefusedMessage] = []
        while self._arrived and len(deliveries) + len(refused) < capacity:
            stream, tag, content = self._arrived.popleft()
            try:
                deliveries.append(Delivery(decode(stream, content.body), tag))
            except MalformedMessage as error:
                refused.append(self._refuse(stream, tag, content, str(error)))
        return Batch(tuple(deliveries), tuple(refused))

    def _refuse(
        self, stream: Stream, tag: _Tag, content: DeliveredMessage, reason: str
    ) -> RefusedMessage:
        message_id = str(content.header.properties.message_id or "")
        entry = sha256(message_id.encode() + b"\0" + content.body).hexdigest()
        self._refused.setdefault((stream.name, entry), []).append(tag)
        return RefusedMessage(
            stream.name, entry, reason, content.body[:_SHOWN].decode("utf-8", "replace")
        )

    # Settling

    async def _acknowledge(self, tags: Sequence[_Tag]) -> None:
        """Settle those that are not settled; those of a link that was lost are void."""
        self._forget_void()
        link = self._links.current
        tags = [tag for tag in dict.fromkeys(tags) if tag in self._unsettled]
        if link is None or not tags:
            return
        async with self._links.in_time():
            for tag in tags:
                await link.channel.basic_ack(tag.number, wait=tag is tags[-1])
                self._unsettled.discard(tag)

    async def _return(self, link: Link, tags: Sequence[_Tag]) -> None:
        """Leave these to others."""
        for tag in tags:
            await link.channel.basic_nack(tag.number, requeue=True, wait=tag is tags[-1])
            self._unsettled.discard(tag)

    def _forget_void(self) -> None:
        """The broker has taken back what was delivered over a link that is lost."""
        link = self._links.current
        if self._prepared is link:
            return
        self._prepared = None
        self._consuming.clear()
        self._arrived.clear()
        self._unsettled.clear()
        self._refused.clear()


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Do it to its end although the caller is cancelled: half of it would cost the connection."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
