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
    HAND_OVER_PAGE,
    LOST_GROUP,
    NOTHING_THERE,
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
_MOST_TOLD = 500
"""Messages of one command; a script can be given no more than some thousands."""
_FAREWELL_SECONDS = 1.0


class _Tag(NamedTuple):
    """Where a delivery lies."""

    stream: Stream
    entry: str


class _Arrival(NamedTuple):
    """What was read and nobody has looked at."""

    stream: Stream
    entry: Entry


_Part = tuple[Stream, list[str]]
"""Some messages of a stream, by their ids."""


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
        """Whether our group is there is not known; of those that fail it never is."""
        self._failing: dict[Stream, Refusal] = {}
        self._doubtful: set[Stream] = set()
        """Redis may have handed over from these what never came."""
        self._waiting: dict[asyncio.Task[Answer], tuple[Stream, ...]] = {}
        self._retry: asyncio.Task[None] | None = None
        self._unexplained: Refusal | None = None
        """Of a read of several streams: it does not say which of them is to blame."""
        self._is_drained = False
        """The last read waited at all streams, and none had as much as it might have given."""
        self._arrived: deque[_Arrival] = deque()
        self._mine: set[_Tag] = set()
        self._unsettled: set[_Tag] = set()
        """They are over, and Redis was not told."""
        self._refused: defaultdict[tuple[str, str], set[_Tag]] = defaultdict(set)

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
            if not self._arrived and not self._may_wait_at_once(room):
                await self._look(room)
            if len(self._arrived) < room:
                await self._take_over(room - len(self._arrived))
            if not self._arrived:
                await self._wait(room)
        except BaseException:
            self._doubtful.update(self._streams)
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
        parts = _parts(delivery.tag for delivery in deliveries)
        answers = await self._connection.each_answered(
            [stream.refresh(self._name, ids) for stream, ids in parts]
        )
        for (stream, _), answer in zip(parts, answers, strict=True):
            self._hear(stream, answer)

    async def close(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            await asyncio.wait([self._retry])
        await self._end_waiting()
        with suppress(QueueUnavailable, TimeoutError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self._hand_over()
        await self._connection.close()

    async def _hand_over(self) -> None:
        """What is pending for us need not be waited for."""
        streams = self._healthy()
        while streams:
            answers = await self._connection.each_answered(
                [stream.hand_over(self._name) for stream in streams]
            )
            streams = [
                stream
                for stream, answer in zip(streams, answers, strict=True)
                if answer == HAND_OVER_PAGE
            ]

    # Which streams work

    async def _prepare(self) -> None:
        """Make the groups that are not known to be there; catch up with what failed by the way."""
        if len(self._failing) == len(self._streams):
            await self._make_groups(self._streams)
        else:
            await self._make_groups(self._without_group - self._failing.keys())
        self._check_that_some_work()
        await self._settle(())
        await self._read_own()

    async def _make_groups(self, streams: Iterable[Stream]) -> None:
        missing = list(streams)
        answers = await self._connection.each_answered([stream.create() for stream in missing])
        for stream, answer in zip(missing, answers, strict=True):
            if not isinstance(answer, Refusal) or answer.code == GROUP_EXISTS:
                self._note_success(stream)
            else:
                self._note_failure(stream, answer)

    async def _retry_later(self) -> None:
        """Try those that fail; a server that is away may keep this waiting, and nothing else."""
        await asyncio.sleep(self._options.block_time_ms / 1000)
        with suppress(QueueUnavailable):
            await self._make_groups(self._failing)

    def _hear(self, stream: Stream, answer: Answer) -> bool:
        """Whether this was obeyed, or there is nothing left that it could be about."""
        if isinstance(answer, Refusal) and answer.code not in NOTHING_THERE:
            self._note_failure(stream, answer)
            return False
        return True

    def _note_success(self, stream: Stream) -> None:
        self._without_group.discard(stream)
        self._failing.pop(stream, None)

    def _note_failure(self, stream: Stream, refusal: Refusal) -> None:
        """One stream that fails holds up none of the others."""
        if stream not in self._failing:
            logger.warning("stream %s cannot be used: %s", stream.key, refusal.text)
        self._failing[stream] = refusal
        self._without_group.add(stream)
        self._doubtful.add(stream)

    def _check_that_some_work(self) -> None:
        if self._failing and len(self._failing) == len(self._streams):
            raise self._connection.unavailable(next(iter(self._failing.values())).text)

    def _healthy(self) -> list[Stream]:
        return [stream for stream in self._streams if stream not in self._without_group]

    # Reading

    async def _read_own(self) -> None:
        """Messages that are pending for us, and that we know nothing of."""
        known = self._mine | {_Tag(stream, entry.id) for stream, entry in self._arrived}
        after = dict.fromkeys(self._doubtful.intersection(self._healthy()), "0")
        while after:
            asked = list(after)
            answers = await self._connection.each_answered(
                [stream.read_own(self._name, after[stream], _OWN_PAGE) for stream in asked]
            )
            for stream, answer in zip(asked, answers, strict=True):
                after.pop(stream)
                if isinstance(answer, Refusal):
                    self._not_read((stream,), answer)
                    continue
                found = [_Arrival(stream, each) for each in entries_by_key(answer)[stream.key]]
                self._arrived.extend(
                    each for each in found if _Tag(stream, each.entry.id) not in known
                )
                if len(found) == _OWN_PAGE:
                    after[stream] = found[-1].entry.id
                else:
                    self._doubtful.discard(stream)

    async def _look(self, room: int) -> None:
        """Look into the streams, in another order each time, until something is found.

        The room is divided among those looked at together, so that a long stream cannot hold up the
        others.
        """
        unexplained, self._unexplained = self._unexplained, None
        failing = len(self._failing)
        streams = self._healthy()
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
        if unexplained is not None and len(self._failing) == failing:
            raise self._connection.unavailable(unexplained.text)

    async def _take_over(self, room: int) -> None:
        """What dead workers left, while there is room for it."""
        taken = await self._recovery.take(self._name, self._healthy(), room)
        self._arrived.extend(_Arrival(stream, entry) for stream, entry in taken)

    async def _wait(self, room: int) -> None:
        """Wait at all streams for the first message; a read that waits on serves a later call."""
        share = room // len(self._streams)
        at_work = self._waited_at()
        idle = [stream for stream in self._healthy() if stream not in at_work]
        for streams in self._parcels(idle):
            self._begin_to_wait(streams, max(1, share))
        if self._failing and (self._retry is None or self._retry.done()):
            self._retry = asyncio.create_task(self._retry_later())
        at_work = self._waited_at()
        if self._waiting:
            retries = [self._retry] if self._retry is not None and not self._retry.done() else []
            await asyncio.wait([*self._waiting, *retries], return_when=asyncio.FIRST_COMPLETED)
        self._gather_arrived()
        self._is_drained = at_work.issuperset(self._healthy()) and len(self._arrived) < share

    def _may_wait_at_once(self, room: int) -> bool:
        """Whether a look would find nothing that the wait does not."""
        return self._is_drained and self._unexplained is None and room >= len(self._streams)

    def _waited_at(self) -> set[Stream]:
        return {stream for streams in self._waiting.values() for stream in streams}

    def _parcels(self, streams: Sequence[Stream]) -> list[tuple[Stream, ...]]:
        """Which streams are waited at together: those of a group, if one server has them all."""
        room = max(0, self._options.parallelism - len(self._waiting))
        if self._connection.is_cluster:
            chosen = random.sample(streams, min(room, len(streams)))
            return [(stream,) for stream in chosen]
        groups: defaultdict[str, list[Stream]] = defaultdict(list)
        for stream in streams:
            groups[stream.group].append(stream)
        return [tuple(group) for group in list(groups.values())[:room]]

    def _begin_to_wait(self, streams: tuple[Stream, ...], count: int) -> None:
        wait_ms = self._options.block_time_ms
        command = read_together(streams, self._name, count, wait_ms)
        self._waiting[asyncio.create_task(self._connection.wait(command, wait_ms))] = streams

    def _gather_arrived(self) -> None:
        """Take what the reads that waited have brought."""
        failure: QueueUnavailable | None = None
        for task in [task for task in self._waiting if task.done()]:
            streams = self._waiting.pop(task)
            try:
                self._receive(streams, task.result())
            except QueueUnavailable as error:
                self._doubtful.update(streams)
                failure = error
        if failure is not None:
            raise failure

    def _receive(self, streams: Sequence[Stream], answer: Answer) -> None:
        if isinstance(answer, Refusal):
            self._not_read(streams, answer)
            return
        for stream in streams:
            self._note_success(stream)
        by_key = {stream.key: stream for stream in streams}
        for key, found in entries_by_key(answer).items():
            self._arrived.extend(_Arrival(by_key[key], entry) for entry in found)

    def _not_read(self, streams: Sequence[Stream], refusal: Refusal) -> None:
        if refusal.code in LOST_GROUP:
            self._without_group.update(streams)
        elif len(streams) == 1:
            self._note_failure(streams[0], refusal)
        else:
            self._unexplained = refusal

    # What was read

    async def _take(self, room: int) -> Batch:
        """What there is room for; what is of no use to us is acknowledged."""
        deliveries: list[Delivery] = []
        refused: list[RefusedMessage] = []
        useless: list[_Tag] = []
        while self._arrived and len(deliveries) + len(refused) < room:
            stream, entry = self._arrived.popleft()
            tag = _Tag(stream, entry.id)
            if tag in self._mine:
                # A read that waited brought what was found among our own before.
                continue
            if not entry.fields:
                # It was deleted after it had been handed over.
                useless.append(tag)
                continue
            try:
                message = stream.parse(entry)
            except MalformedMessage as error:
                refused.append(self._refuse(tag, entry, str(error)))
                continue
            if message.version != stream.version:
                # Its own group has it, too, and that alone deletes it.
                useless.append(tag)
            else:
                self._mine.add(tag)
                deliveries.append(Delivery(message, tag))
        await self._acknowledge(useless)
        return Batch(tuple(deliveries), tuple(refused))

    def _refuse(self, tag: _Tag, entry: Entry, reason: str) -> RefusedMessage:
        queue = tag.stream.queue.key
        self._mine.add(tag)
        self._refused[queue, entry.id].add(tag)
        content = b" ".join(word for pair in entry.fields.items() for word in pair)
        return RefusedMessage(queue, entry.id, reason, content.decode("utf-8", "replace")[:_SHOWN])

    async def _let_go(self) -> None:
        """What there is no room for goes to others, and no read that waits brings more of it."""
        with suppress(QueueUnavailable):
            self._gather_arrived()
        await self._end_waiting()
        arrived = {_Tag(stream, entry.id) for stream, entry in self._arrived}
        surplus = _parts(arrived - self._mine)
        if surplus:
            with suppress(QueueUnavailable):
                answers = await self._connection.each_answered(
                    [stream.give_back(ids) for stream, ids in surplus]
                )
                self._arrived.clear()
                self._doubt_refused(surplus, answers)
                self._recovery.look_soon()

    async def _end_waiting(self) -> None:
        for task in self._waiting:
            task.cancel()
        if self._waiting:
            await asyncio.wait(self._waiting)
            # One that ended just before may have brought something.
            self._doubtful |= self._waited_at()
        self._waiting.clear()

    async def _acknowledge(self, tags: Sequence[_Tag]) -> None:
        """They are of no use to our group; what is not heard of this comes once more."""
        parts = _parts(tags)
        try:
            answers = await self._connection.each_answered(
                [stream.acknowledge(ids) for stream, ids in parts]
            )
        except QueueUnavailable:
            self._doubtful.update(stream for stream, _ in parts)
        else:
            self._doubt_refused(parts, answers)

    def _doubt_refused(self, parts: Sequence[_Part], answers: Sequence[Answer]) -> None:
        for (stream, _), answer in zip(parts, answers, strict=True):
            if isinstance(answer, Refusal):
                self._doubtful.add(stream)

    async def _settle(self, tags: Iterable[_Tag]) -> None:
        """Acknowledge and delete together, so that a stream holds only what is of use.

        What a stream that fails keeps is settled when it works again.
        """
        self._unsettled.update(tags)
        parts = _parts(tag for tag in self._unsettled if tag.stream not in self._failing)
        answers = await self._connection.each_answered(
            [stream.settle(ids) for stream, ids in parts]
        )
        for (stream, ids), answer in zip(parts, answers, strict=True):
            if self._hear(stream, answer):
                settled = {_Tag(stream, id) for id in ids}
                self._unsettled -= settled
                self._mine -= settled


def _parts(tags: Iterable[_Tag]) -> list[_Part]:
    """By streams, and no more at once than one command may name."""
    found: defaultdict[Stream, list[str]] = defaultdict(list)
    for stream, entry in tags:
        found[stream].append(entry)
    return [
        (stream, ids[start : start + _MOST_TOLD])
        for stream, ids in found.items()
        for start in range(0, len(ids), _MOST_TOLD)
    ]
