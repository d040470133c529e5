"""The consumer of RabbitMQ: takes as many messages as its worker has room for, and no more."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from aiki.clock import SYSTEM, Clock
from aiki.errors import QueueUnavailable
from aiki.operations.work import RefusedMessage
from aiki.queue.consumer import Batch, Delivery
from aiki.queue.message import MalformedMessage, Queue
from aiki.queue.pacing import divide
from aiki.queue.rabbitmq.address import Address
from aiki.queue.rabbitmq.connection import FAILURES, Link, Links
from aiki.queue.rabbitmq.source import Source
from aiki.queue.rabbitmq.stream import Stream, decode
from aiki.queue.subscriber import Interest

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel, DeliveredMessage

_SHOWN = 500
"""Characters of what is no message, for people."""


class _Tag(NamedTuple):
    """The broker's handle of a delivery: a number that is void without its channel."""

    source: Source
    channel: AbstractChannel
    number: int

    @property
    def is_void(self) -> bool:
        return self.source.channel is not self.channel


class _Arrival(NamedTuple):
    """What the broker delivered and nobody has looked at."""

    stream: Stream
    tag: _Tag
    content: DeliveredMessage


class RabbitConsumer:
    """Reads the queues of a worker's workflows, and leaves out those that fail.

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
        clock: Clock = SYSTEM,
    ) -> None:
        self._prefetch = prefetch
        self._links = Links(Address.parse(url), name="aiki consumer", timeout_ms=timeout_ms)
        self._wait_seconds = wait_ms / 1000
        self._clock = clock
        self._sources: deque[Source] = deque()
        self._prepared: Link | None = None
        self._arrived: deque[_Arrival] = deque()
        self._some_arrived = asyncio.Event()
        self._unsettled: set[_Tag] = set()
        self._refused: dict[tuple[str, str], list[_Tag]] = {}

    async def open(self, interest: Interest) -> None:
        streams = (
            Stream(Queue(interest.namespace, offer.workflow, shard), offer.version)
            for offer in interest.offers
            for shard in interest.shards or ("",)
        )
        self._sources = deque(
            Source(stream, self._clock, self._arrive, self._some_arrived.set) for stream in streams
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
        self._forget_void()
        if self._unsettled:
            try:
                async with self._links.in_time():
                    await self._return(list(self._unsettled))
            except QueueUnavailable:
                # The broker takes back what was delivered over a connection that ended.
                pass
        await self._links.close()

    # Receiving

    async def _begin(self, capacity: int) -> None:
        """Let the broker send so many."""
        async with self._links.in_time() as link:
            if link is not self._prepared:
                self._forget_void()
                self._prepared = link
            await self._open(link)
            if capacity < len(self._sources):
                await self._fetch(link, capacity)
            if not self._arrived:
                await self._consume(link, capacity)

    async def _open(self, link: Link) -> None:
        """Find the queues that are not read yet, as far as it is their turn to be tried."""
        closed = [source for source in self._sources if not source.is_open]
        due = [source for source in closed if source.condition.allows()]
        await self._each(link, [(source, source.open(link)) for source in due])
        if any(source.is_open for source in self._sources):
            return
        failures = [source.condition.failure for source in self._sources]
        if failures and all(failures):
            name = self._sources[0].stream.name
            raise self._links.unavailable(f"no queue works, as {name}: {failures[0]}")

    async def _each(
        self, link: Link, work: Sequence[tuple[Source, Coroutine[Any, Any, None]]]
    ) -> None:
        """Do this at each of these queues; one that fails although the broker answers is left."""
        answers = await asyncio.gather(
            *(_patiently(each, self._links.patience_seconds) for _, each in work),
            return_exceptions=True,
        )
        failed: list[tuple[Source, BaseException]] = []
        for (source, _), answer in zip(work, answers, strict=True):
            if isinstance(answer, FAILURES):
                failed.append((source, answer))
            elif isinstance(answer, BaseException):
                raise answer
        if failed:
            await link.ping()
        for source, error in failed:
            source.leave()
            source.condition.failed(error)

    async def _fetch(self, link: Link, capacity: int) -> None:
        """Look into each queue, beginning where the last look found enough."""
        unseen = len(self._sources)
        while unseen and len(self._arrived) < capacity:
            some = [
                self._sources[place] for place in range(min(unseen, capacity - len(self._arrived)))
            ]
            self._sources.rotate(-len(some))
            unseen -= len(some)
            await self._each(link, [(each, each.fetch()) for each in some if each.is_open])

    async def _consume(self, link: Link, capacity: int) -> None:
        # Where there is less room than queues each may send one; what is too much is given back.
        sources = [source for source in self._sources if source.is_open]
        shares = divide(max(capacity, len(sources)), sources)
        await self._each(link, [(source, source.begin(share)) for source, share in shares])

    def _arrive(self, source: Source, content: DeliveredMessage) -> None:
        tag = _Tag(source, content.channel, content.delivery_tag or 0)
        self._unsettled.add(tag)
        self._arrived.append(_Arrival(source.stream, tag, content))
        self._some_arrived.set()

    async def _wait(self) -> None:
        """Return when something arrived, the link was lost, or it took too long."""
        link = self._links.current
        if link is None or self._arrived:
            return
        self._some_arrived.clear()
        # A queue that was left out is tried again when its time has come.
        pauses = [each.condition.pause_seconds for each in self._sources if not each.is_open]
        waiting = [
            asyncio.ensure_future(self._some_arrived.wait()),
            asyncio.ensure_future(link.lost()),
        ]
        try:
            await asyncio.wait(
                waiting,
                timeout=min([self._wait_seconds, *pauses]),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            for each in waiting:
                each.cancel()

    async def _end(self, capacity: int) -> None:
        """Let the broker send no more. A link over which that fails is lost."""
        link = self._links.current
        read = [source for source in self._sources if source.is_read]
        if link is None or not read:
            return
        try:
            async with self._links.in_time():
                await self._each(link, [(source, source.end()) for source in read])
                self._forget_void()
                await self._return(
                    [self._arrived.pop().tag for _ in range(len(self._arrived) - capacity)]
                )
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
        """Settle those that are not settled; those of a channel that was lost are void."""
        self._forget_void()
        tags = [tag for tag in dict.fromkeys(tags) if tag in self._unsettled]
        if not tags:
            return
        async with self._links.in_time():
            for tag in tags:
                if not tag.is_void:
                    await tag.channel.basic_ack(tag.number, wait=tag is tags[-1])
                self._unsettled.discard(tag)

    async def _return(self, tags: Sequence[_Tag]) -> None:
        """Leave these to others."""
        for tag in tags:
            if not tag.is_void:
                await tag.channel.basic_nack(tag.number, requeue=True, wait=tag is tags[-1])
            self._unsettled.discard(tag)

    def _forget_void(self) -> None:
        """The broker has taken back what was delivered over a channel that is lost."""
        if self._prepared is not self._links.current:
            self._prepared = None
            for source in self._sources:
                source.leave()
        void = {tag for tag in self._unsettled if tag.is_void}
        self._unsettled -= void
        if void:
            self._arrived = deque(each for each in self._arrived if each.tag not in void)


async def _patiently(work: Coroutine[Any, Any, None], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await work


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Do it to its end although the caller is cancelled: half of it would cost the connection."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
