"""The publisher of RabbitMQ: every message is confirmed by the broker, or counts as not sent."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiormq import spec
from aiormq.exceptions import AMQPChannelError, DeliveryError, PublishError

from aiki.clock import SYSTEM, Clock
from aiki.ids import new_id
from aiki.queue.message import Message
from aiki.queue.publisher import NOWHERE, LiveRuns, Publication, Published
from aiki.queue.rabbitmq.address import Address
from aiki.queue.rabbitmq.condition import Condition
from aiki.queue.rabbitmq.connection import Link, Links
from aiki.queue.rabbitmq.declaration import DEAD, declare, declare_dead
from aiki.queue.rabbitmq.stream import Stream, encode, run_of, stream_of

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel

_PERSISTENT = 2
_MOST_SUSPECTS = 100_000
"""Messages that were not found once, kept for the next look."""
_MOST_TRIALS = 50
"""Channels beside the one for all queues that work; a broker has some 2,000 for a connection."""
_MOST_SWEPT = 500
"""Messages that were delivered too often, looked at by one sweep."""
_NOBODY = "aiki.nobody"
"""No queue has this name: what is sent to it is confirmed, and dropped."""


@dataclass
class _Outcome:
    """What became of messages that were sent."""

    taken: set[Message] = field(default_factory=set[Message])
    returned: list[Message] = field(default_factory=list[Message])
    """Those that have no queue."""
    failures: dict[Stream, BaseException] = field(default_factory=dict[Stream, BaseException])


class RabbitPublisher:
    """Announces ready runs in quorum queues.

    RabbitMQ gives a message no id by which it could be found. So one counts as gone when its queue
    was empty at two looks that were both after it was published: what a consumer holds unsettled
    for longer than the time between them is announced twice, which is harmless.
    """

    name = "rabbitmq"
    one_look_proves = False

    def __init__(self, url: str, *, timeout_ms: int = 5_000, clock: Clock = SYSTEM) -> None:
        self._links = Links(Address.parse(url), name="aiki publisher", timeout_ms=timeout_ms)
        self._clock = clock
        self._prepared: Link | None = None
        self._channel: AbstractChannel | None = None
        self._preparing = asyncio.Lock()
        self._incarnation = ""
        self._proven: set[Stream] = set()
        self._dead_is_there = False
        self._trials = asyncio.Semaphore(_MOST_TRIALS)
        self._conditions: dict[str, Condition] = {}
        self._suspects: defaultdict[Stream, set[Published]] = defaultdict(set)

    async def open(self) -> None:
        """Nothing is needed: the first call connects."""

    async def publish(self, messages: Sequence[Message]) -> list[Publication]:
        async with self._links.in_time() as link:
            channel = await self._prepare(link)
            outcome = await self._send(link, channel, messages)
            if outcome.returned:
                # Somebody deleted their queues.
                self._proven.difference_update(map(stream_of, outcome.returned))
                again = await self._send(link, channel, outcome.returned)
                outcome.taken.update(again.taken)
        place = Publication("", self._incarnation)
        return [place if message in outcome.taken else NOWHERE for message in messages]

    async def missing(self, published: Sequence[Published]) -> list[Message]:
        asked: defaultdict[Stream, list[Published]] = defaultdict(list)
        for each in published:
            asked[stream_of(each.message)].append(each)
        waiting: dict[Stream, int] = {}
        async with self._links.in_time() as link:
            await _all([self._look(link, stream, waiting) for stream in asked])
        return [
            message
            for stream, its in asked.items()
            if stream in waiting
            for message in self._gone(stream, waiting[stream], its)
        ]

    async def sweep(self, live: LiveRuns) -> int:
        """Removes dead news alone, since whoever reads a message settles it; forgets the looks."""
        self._suspects.clear()
        async with self._links.in_time() as link:
            await self._prepare(link)
            channel = await link.channel()
            dead = await self._dead(channel)
        try:
            runs = [run_id for run_id in dead.values() if run_id]
            alive = await live(runs) if runs else set[str]()
            over = [tag for tag, run_id in dead.items() if run_id not in alive]
            async with self._links.in_time():
                for tag in over:
                    await channel.basic_ack(tag, wait=False)
        finally:
            # What nobody acknowledged stays where it was.
            await channel.close()
        return len(over)

    async def ping(self) -> None:
        async with self._links.in_time() as link:
            channel = await self._prepare(link)
            await channel.basic_publish(b"", routing_key=_NOBODY)

    async def close(self) -> None:
        await self._links.close()

    async def _prepare(self, link: Link) -> AbstractChannel:
        async with self._preparing:
            if self._channel is None or link is not self._prepared:
                self._proven.clear()
                self._dead_is_there = False
                self._incarnation = new_id()
                self._channel = await link.channel(confirming=True)
                self._prepared = link
            if not self._dead_is_there and self._condition(DEAD).allows():
                await self._make_dead(link)
            return self._channel

    async def _make_dead(self, link: Link) -> None:
        try:
            await declare_dead(link)
        except AMQPChannelError as error:
            self._condition(DEAD).failed(error)
        else:
            self._dead_is_there = True
            self._condition(DEAD).works()

    def _condition(self, name: str) -> Condition:
        if name not in self._conditions:
            self._conditions[name] = Condition(name, self._clock)
        return self._conditions[name]

    async def _send(
        self, link: Link, channel: AbstractChannel, messages: Sequence[Message]
    ) -> _Outcome:
        """Send all, and wait until the broker has them."""
        outcome = _Outcome()
        parts: defaultdict[Stream, list[Message]] = defaultdict(list)
        for message in messages:
            parts[stream_of(message)].append(message)
        await _all(
            [
                self._send_over(channel, its, outcome)
                if stream in self._proven
                else self._try(link, stream, its, outcome)
                for stream, its in parts.items()
                if self._condition(stream.name).allows()
            ]
        )
        if outcome.failures:
            # Whether it is the broker that does not answer.
            await link.ping()
        for stream, error in outcome.failures.items():
            self._proven.discard(stream)
            self._condition(stream.name).failed(error)
        for stream in {stream_of(message) for message in outcome.taken} - set(outcome.failures):
            self._proven.add(stream)
            self._condition(stream.name).works()
        return outcome

    async def _try(
        self, link: Link, stream: Stream, messages: Sequence[Message], outcome: _Outcome
    ) -> None:
        """Send to a queue that has not proved itself over a channel of its own.

        A broker waits for the first answer of each queue before it goes on with a channel.
        """
        try:
            async with self._trials, asyncio.timeout(self._links.patience_seconds):
                await declare(link, stream)
                async with link.question(confirming=True) as channel:
                    await self._send_over(channel, messages, outcome)
        except (AMQPChannelError, TimeoutError) as error:
            outcome.failures[stream] = error

    async def _send_over(
        self, channel: AbstractChannel, messages: Sequence[Message], outcome: _Outcome
    ) -> None:
        async def send(message: Message) -> None:
            try:
                async with asyncio.timeout(self._links.patience_seconds):
                    await _publish(channel, message)
            except PublishError:
                outcome.returned.append(message)
            except (DeliveryError, TimeoutError) as error:
                outcome.failures[stream_of(message)] = error
            else:
                outcome.taken.add(message)

        await _all([send(message) for message in messages])

    async def _look(self, link: Link, stream: Stream, waiting: dict[Stream, int]) -> None:
        """Note how many messages wait for a consumer; a queue that fails proves nothing."""
        condition = self._condition(stream.name)
        if condition.pause_seconds:
            return
        try:
            async with self._trials:
                waiting[stream] = await declare(link, stream)
        except AMQPChannelError as error:
            condition.failed(error)

    async def _dead(self, channel: AbstractChannel) -> dict[int, str]:
        """Some of what was delivered too often: the broker's number of each, and its run."""
        dead: dict[int, str] = {}
        try:
            while len(dead) < _MOST_SWEPT:
                found = await channel.basic_get(DEAD)
                if not isinstance(found.delivery, spec.Basic.GetOk):
                    break
                dead[found.delivery.delivery_tag or 0] = run_of(found.body)
        except AMQPChannelError as error:
            self._dead_is_there = False
            self._condition(DEAD).failed(error)
            return {}
        return dead

    def _gone(self, stream: Stream, waiting: int, asked: Sequence[Published]) -> list[Message]:
        gone = [each.message for each in asked if each.publication == NOWHERE]
        if waiting:
            self._suspects.pop(stream, None)
            return gone
        return gone + self._convict(stream, [each for each in asked if each.publication != NOWHERE])

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


async def _all(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Do all of it to its end, whatever fails; then raise the first failure."""
    for answer in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(answer, BaseException):
            raise answer
