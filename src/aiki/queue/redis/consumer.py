"""The consumer of Redis Streams: reads with free room only, and takes over from the dead."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from aiki.clock import SYSTEM, Clock
from aiki.errors import QueueUnavailable
from aiki.operations.work import RefusedMessage
from aiki.queue.consumer import Batch, Delivery
from aiki.queue.message import MalformedMessage, Queue
from aiki.queue.pacing import divide
from aiki.queue.redis.address import Address
from aiki.queue.redis.command import Answer, Refusal
from aiki.queue.redis.connection import Connection
from aiki.queue.redis.options import RedisOptions
from aiki.queue.redis.recovery import Recovery
from aiki.queue.redis.stream import (
    GROUP_EXISTS,
    LOST_GROUP,
    WRONG_TYPE,
    Entry,
    Stream,
    entries_by_key,
    read_together,
)
from aiki.queue.subscriber import Interest

logger = logging.getLogger("aiki.queue")
_SHOWN = 500
"""Characters of what is no message, for people."""
_OWN_PAGE = 500
_FAREWELL_SECONDS = 1.0


class _Tag(NamedTuple):
    """Where a delivery lies."""

    stream: Stream
    entry: str


class _Arrival(NamedTuple):
    """What was read and nobody has looked at."""

    stream: Stream
    entry: Entry


class RedisConsumer:
    """Reads the streams of a worker's workflows, one group for each version.

    A message stays pending for this consumer, which bears the worker's incarnation as its name,
    until `done`. What the worker has no room for stays with Redis.
    """

    def __init__(
        self, url: str, options: RedisOptions | None = None, *, clock: Clock = SYSTEM
    ) -> None:
        self._options = (options or RedisOptions()).checked()
        self._address = Address.parse(url)
        self._connection = Connection(
            self._address,
            timeout_ms=self._options.timeout_ms,
            max_connections=self._options.max_connections,
        )
        self._recovery = Recovery(self._connection, self._options, clock)
        self._name = ""
        self._streams: list[Stream] = []
        self._without_group: set[Stream] = set()
        self._failing: dict[Stream, Refusal] = {}
        self._waiting: dict[asyncio.Task[Answer], tuple[Stream, ...]] = {}
        self._arrived: deque[_Arrival] = deque()
        self._mine: set[_Tag] = set()
        self._refused: defaultdict[tuple[str, str], set[_Tag]] = defaultdict(set)
        self._is_own_to_be_read = False
        self._is_drained = False
        """The last read waited at all streams, and none had as much as it might have given."""

    async def open(self, interest: Interest) -> None:
        self._name = interest.incarnation
        queues = (
            (Queue(interest.namespace, offer.workflow, shard), offer.version)
            for offer in interest.offers
            for shard in interest.shards or ("",)
        )
        self._streams = [
            Stream(queue, version, self._address.prefix + queue.key) for queue, version in queues
        ]
        self._without_group = set(self._streams)

    async def read(self, capacity: int) -> Batch:
        room = min(capacity, self._options.batch_size or capacity)
        try:
            await self._prepare()
            self._gather_arrived()
            if not self._arrived and not (self._is_drained and room >= len(self._streams)):
                await self._look(room)
            if len(self._arrived) < room:
                await self._take_over(room - len(self._arrived))
            if not self._arrived:
                await self._wait(room)
        except BaseException:
            # Redis may have handed over what never came.
            self._is_own_to_be_read = True
            raise
        batch = await self._take(room)
        if len(batch.deliveries) + len(batch.refused) >= capacity:
            await self._let_go()
        return batch

    async def granted(self, deliveries: Sequence[Delivery]) -> None:
        """Nothing is needed: they stay pending while their runs are executed."""

    async def done(self, deliveries: Sequence[Delivery]) -> None:
        await self._settle(delivery.tag for delivery in deliveries)

    async def dismiss(self, refused: Sequence[RefusedMessage]) -> None:
        places = [(each.queue, each.entry) for each in refused]
        await self._settle(tag for place in places for tag in self._refused.get(place, ()))
        for place in places:
            self._refused.pop(place, None)

    async def refresh(self, deliveries: Sequence[Delivery]) -> None:
        held = _by_stream(delivery.tag for delivery in deliveries)
        await self._connection.each(
            [stream.refresh(self._name, ids) for stream, ids in held.items()]
        )

    async def close(self) -> None:
        await self._end_waiting()
        with suppress(QueueUnavailable, TimeoutError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self._connection.each_answered(
                    [stream.hand_over(self._name) for stream in self._with_group()]
                )
        await self._connection.close()

    # Reading

    async def _prepare(self) -> None:
        """Make the groups that are not known to be there; read again what was lost by the way."""
        missing = list(self._without_group)
        answers = await self._connection.each_answered([stream.create() for stream in missing])
        for stream, answer in zip(missing, answers, strict=True):
            if not isinstance(answer, Refusal) or answer.code == GROUP_EXISTS:
                self._without_group.discard(stream)
                self._failing.pop(stream, None)
            else:
                self._note_failure(stream, answer)
        self._check_that_some_work()
        if self._is_own_to_be_read:
            await self._read_own()
            self._is_own_to_be_read = False

    async def _read_own(self) -> None:
        """Messages that are pending for us, and that we know nothing of."""
        known = self._mine | {_Tag(stream, entry.id) for stream, entry in self._arrived}
        for stream in self._healthy():
            after, page = "0", _OWN_PAGE
            while page == _OWN_PAGE:
                command = stream.read_own(self._name, after, _OWN_PAGE)
                (answer,) = await self._connection.each_answered([command])
                found = [] if isinstance(answer, Refusal) else entries_by_key(answer)[stream.key]
                page = len(found)
                for entry in found:
                    after = entry.id
                    if _Tag(stream, entry.id) not in known:
                        self._arrived.append(_Arrival(stream, entry))

    async def _look(self, room: int) -> None:
        """Look into the streams, in another order each time, until something is found.

        The room is divided among those looked at together, so that a long stream cannot hold up the
        others.
        """
        streams = self._healthy() or self._with_group()
        random.shuffle(streams)
        for start in range(0, len(streams), room):
            shares = divide(room, streams[start : start + room])
            answers = await self._connection.each_answered(
                [stream.read(self._name, count) for stream, count in shares]
            )
            for (stream, _), answer in zip(shares, answers, strict=True):
                self._receive((stream,), answer)
            if self._arrived:
                return
        self._check_that_some_work()

    async def _take_over(self, room: int) -> None:
        """What dead workers left, while there is room for it."""
        taken = await self._recovery.take(self._name, self._healthy(), room)
        for stream, entry in taken:
            tag = _Tag(stream, entry.id)
            if tag not in self._mine:
                self._arrived.append(_Arrival(stream, entry))

    async def _wait(self, room: int) -> None:
        """Wait at all streams for the first message; a read that waits on serves a later call."""
        share = room // len(self._streams)
        at_work = {stream for streams in self._waiting.values() for stream in streams}
        idle = [stream for stream in self._healthy() if stream not in at_work]
        for streams in self._parcels(idle):
            self._begin_to_wait(streams, max(1, share))
        for stream in self._failing.keys() - at_work - self._without_group:
            self._begin_to_wait((stream,), 1, after_ms=self._options.block_time_ms)
        waited_at = sum(len(streams) for streams in self._waiting.values())
        if self._waiting:
            await asyncio.wait(self._waiting, return_when=asyncio.FIRST_COMPLETED)
        self._gather_arrived()
        self._is_drained = waited_at == len(self._streams) and len(self._arrived) < share

    def _parcels(self, streams: Sequence[Stream]) -> list[tuple[Stream, ...]]:
        """Which streams are waited at together: those of a group, if one server has them all."""
        room = self._options.parallelism - len(self._waiting)
        if self._connection.is_cluster:
            chosen = random.sample(streams, min(room, len(streams)))
            return [(stream,) for stream in chosen]
        groups: defaultdict[str, list[Stream]] = defaultdict(list)
        for stream in streams:
            groups[stream.group].append(stream)
        return [tuple(group) for group in list(groups.values())[:room]]

    def _begin_to_wait(self, streams: tuple[Stream, ...], count: int, after_ms: int = 0) -> None:
        wait_ms = self._options.block_time_ms
        command = read_together(streams, self._name, count, wait_ms)

        async def wait() -> Answer:
            if after_ms:
                await asyncio.sleep(after_ms / 1000)
            return await self._connection.wait(command, wait_ms)

        self._waiting[asyncio.create_task(wait())] = streams

    def _gather_arrived(self) -> None:
        """Take what the reads that waited have brought."""
        failure: QueueUnavailable | None = None
        for task in [task for task in self._waiting if task.done()]:
            streams = self._waiting.pop(task)
            try:
                self._receive(streams, task.result())
            except QueueUnavailable as error:
                failure = error
        if failure is not None:
            raise failure

    def _receive(self, streams: Sequence[Stream], answer: Answer) -> None:
        if isinstance(answer, Refusal):
            if answer.code in LOST_GROUP:
                self._without_group.update(streams)
            elif len(streams) == 1:
                self._note_failure(streams[0], answer)
            return
        for stream in streams:
            self._failing.pop(stream, None)
        by_key = {stream.key: stream for stream in streams}
        for key, found in entries_by_key(answer).items():
            self._arrived.extend(_Arrival(by_key[key], entry) for entry in found)

    def _note_failure(self, stream: Stream, refusal: Refusal) -> None:
        """One stream that fails holds up none of the others."""
        if stream not in self._failing:
            logger.warning("stream %s cannot be read: %s", stream.key, refusal.text)
        self._failing[stream] = refusal

    def _check_that_some_work(self) -> None:
        if self._failing and len(self._failing) == len(self._streams):
            raise self._connection.unavailable(next(iter(self._failing.values())).text)

    def _with_group(self) -> list[Stream]:
        return [stream for stream in self._streams if stream not in self._without_group]

    def _healthy(self) -> list[Stream]:
        return [stream for stream in self._with_group() if stream not in self._failing]

    # What was read

    async def _take(self, room: int) -> Batch:
        """What there is room for; what is of no use to us is settled."""
        deliveries: list[Delivery] = []
        refused: list[RefusedMessage] = []
        foreign: list[_Tag] = []
        while self._arrived and len(deliveries) + len(refused) < room:
            stream, entry = self._arrived.popleft()
            tag = _Tag(stream, entry.id)
            try:
                message = stream.parse(entry)
            except MalformedMessage as error:
                refused.append(self._refuse(tag, entry, str(error)))
                continue
            if message.version != stream.version:
                foreign.append(tag)
            else:
                self._mine.add(tag)
                deliveries.append(Delivery(message, tag))
        await self._leave_to_others(foreign)
        return Batch(tuple(deliveries), tuple(refused))

    def _refuse(self, tag: _Tag, entry: Entry, reason: str) -> RefusedMessage:
        queue = tag.stream.queue.key
        self._refused[queue, entry.id].add(tag)
        content = b" ".join(word for pair in entry.fields.items() for word in pair)
        return RefusedMessage(queue, entry.id, reason, content.decode("utf-8", "replace")[:_SHOWN])

    async def _let_go(self) -> None:
        """What there is no room for goes to others, and no read that waits brings more of it."""
        with suppress(QueueUnavailable):
            self._gather_arrived()
        await self._end_waiting()
        surplus = _by_stream(_Tag(stream, entry.id) for stream, entry in self._arrived)
        if surplus:
            with suppress(QueueUnavailable):
                await self._connection.each(
                    [stream.give_back(ids) for stream, ids in surplus.items()]
                )
                self._arrived.clear()
                self._recovery.look_soon()

    async def _end_waiting(self) -> None:
        for task in self._waiting:
            task.cancel()
        if self._waiting:
            await asyncio.wait(self._waiting)
            # One that ended just before may have brought something.
            self._is_own_to_be_read = True
        self._waiting.clear()

    async def _leave_to_others(self, foreign: Sequence[_Tag]) -> None:
        """Messages of other versions: their group has them, too, and it alone deletes them."""
        try:
            await self._connection.each(
                [stream.acknowledge(ids) for stream, ids in _by_stream(foreign).items()]
            )
        except QueueUnavailable:
            # They are read once more among our own.
            self._is_own_to_be_read = True

    async def _settle(self, tags: Iterable[_Tag]) -> None:
        """Acknowledge and delete together, so that a stream holds only what is of use."""
        settled = list(tags)
        answers = await self._connection.each_answered(
            [stream.settle(ids) for stream, ids in _by_stream(settled).items()]
        )
        for answer in answers:
            # Where somebody put something else in the stream's place, nothing is left to settle.
            if isinstance(answer, Refusal) and answer.code != WRONG_TYPE:
                raise self._connection.unavailable(answer.text)
        self._mine.difference_update(settled)


def _by_stream(tags: Iterable[_Tag]) -> dict[Stream, list[str]]:
    found: defaultdict[Stream, list[str]] = defaultdict(list)
    for stream, entry in tags:
        found[stream].append(entry)
    return found
