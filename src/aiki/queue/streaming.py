"""The subscriber of a broker: asks for what was announced, and polls while the broker is away."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from aiki.clock import SYSTEM, Clock
from aiki.ending import end_all
from aiki.errors import ConfigurationError, QueueUnavailable
from aiki.operations.work import Claims, RefusedMessage
from aiki.queue.breaker import CircuitBreaker
from aiki.queue.consumer import Consumer, Delivery
from aiki.queue.polling import AdaptivePolling
from aiki.queue.subscriber import Ask, Interest, Subscriber

T = TypeVar("T")
logger = logging.getLogger("aiki.queue")
_FAREWELL_SECONDS = 1.0
_Place = tuple[str, str, str]
"""Workflow, version and shard."""


class Streaming:
    """Turns messages into hints, and keeps each message for as long as its run is executed.

    A message stands for one run of its queue, and the server decides which one. Without the broker,
    and once every `look_interval_ms` beside it, the server is asked for whatever is ready, so that
    nothing depends on a message.
    """

    def __init__(
        self,
        consumer: Consumer,
        *,
        max_retry_interval_ms: int = 30_000,
        look_interval_ms: int = 30_000,
        refresh_interval_ms: int = 20_000,
        fallback: Subscriber | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        for name, value in (
            ("max_retry_interval_ms", max_retry_interval_ms),
            ("look_interval_ms", look_interval_ms),
            ("refresh_interval_ms", refresh_interval_ms),
        ):
            if value < 1:
                raise ConfigurationError(f"{name}={value}: at least 1")
        self.breaker = CircuitBreaker(longest_pause_ms=max_retry_interval_ms, clock=clock)
        self._consumer = consumer
        self._look_seconds = look_interval_ms / 1000
        self._refresh_seconds = refresh_interval_ms / 1000
        self._fallback = fallback or AdaptivePolling()
        self._clock = clock
        self._looked_at: float | None = None
        self._is_announced = True
        """Whether the server can tell the broker of what is ready."""
        self._asked: tuple[Delivery, ...] = ()
        self._refused: tuple[RefusedMessage, ...] = ()
        self._held: dict[str, Delivery] = {}
        self._settling: deque[Delivery] = deque()
        self._granting: deque[Delivery] = deque()
        self._dismissing: deque[RefusedMessage] = deque()
        self._work = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._failed = False

    async def open(self, interest: Interest) -> None:
        await self._fallback.open(interest)
        await self._consumer.open(interest)
        self._tasks = [
            asyncio.create_task(self._settle_loop()),
            asyncio.create_task(self._refresh_loop()),
        ]

    async def next(self, capacity: int) -> Ask:
        if self._failed:
            # After the pause of a failure, what was announced is asked for once more.
            await self._fallback.next(capacity)
            if self._asked or self._refused:
                return self._ask(capacity)
        while not self._is_time_to_look():
            if not self._is_announced:
                return await self._fallback.next(capacity)
            if not self.breaker.allows():
                ask = await self._fallback.next(capacity)
                return Ask(ask.limit, min(ask.wait_ms, max(1, self.breaker.remaining_ms())))
            if await self._read(capacity):
                return self._ask(capacity)
        return Ask(capacity, 0)

    async def _read(self, capacity: int) -> bool:
        """Whether anything came."""
        try:
            found = await self._consumer.read(capacity)
        except QueueUnavailable as error:
            self._fail(error)
            return False
        self._succeed()
        self._asked += found.deliveries
        self._refused += found.refused
        return bool(self._asked or self._refused)

    def _ask(self, capacity: int) -> Ask:
        hints = tuple(each.message.hint for each in self._asked)
        limit = min(capacity, len(hints)) or capacity
        return Ask(limit, 0, hints, self._refused)

    def _is_time_to_look(self) -> bool:
        now = self._clock.monotonic()
        if self._looked_at is not None and now - self._looked_at < self._look_seconds:
            return False
        self._looked_at = now
        return True

    def _fail(self, error: QueueUnavailable) -> None:
        if not self.breaker.is_open:
            logger.warning("the broker is away, the server is polled meanwhile: %s", error)
        self.breaker.failed()

    def _succeed(self) -> None:
        if self.breaker.is_open:
            logger.warning("the broker is back")
            self._work.set()
        self.breaker.succeeded()

    def learn(self, claims: Claims) -> None:
        self._failed = False
        self._fallback.learn(claims)
        refused, self._refused = self._refused, ()
        self._dismissing.extend(refused)
        if claims.alone_waiting and not claims.runs:
            # A run must have a worker for itself: this one looks again at once, and keeps its
            # messages until then.
            self._looked_at = None
        else:
            self._settle_asked(claims)
        self._work.set()

    def _settle_asked(self, claims: Claims) -> None:
        asked, self._asked = self._asked, ()
        granted, rest = _match(asked, claims)
        # A run that was granted anew needs its earlier message no more.
        rest.extend(self._held.pop(run_id) for run_id in granted.keys() & self._held.keys())
        self._held.update(granted)
        self._granting.extend(granted.values())
        self._settling.extend(rest)

    def ended(self, run_id: str) -> None:
        delivery = self._held.pop(run_id, None)
        if delivery is not None:
            self._settling.append(delivery)
            self._work.set()

    def failed(self, error: Exception) -> None:
        """Nothing was decided: what was announced is kept and asked for again; a look is due."""
        self._failed = True
        self._looked_at = None
        self._fallback.failed(error)

    def note_announcing(self, announcing: bool) -> None:
        if announcing is not self._is_announced:
            logger.warning(
                "the server announces runs at the broker again"
                if announcing
                else "the server announces no runs at the broker, and is polled meanwhile"
            )
        self._is_announced = announcing

    async def close(self) -> None:
        await end_all(self._tasks)
        self._tasks = []
        await self._say_the_last()
        await self._consumer.close()
        await self._fallback.close()

    async def _say_the_last(self) -> None:
        """What is over and was not told yet is told now, if that takes no time."""
        if not self.breaker.is_open:
            with suppress(QueueUnavailable, TimeoutError):
                async with asyncio.timeout(_FAREWELL_SECONDS):
                    await self._settle()

    # Beside the asking

    async def _settle_loop(self) -> None:
        """Tell the broker what is over; what it could not be told is told later."""
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._settle()
            except QueueUnavailable as error:
                self._fail(error)
                await asyncio.sleep(self.breaker.remaining_ms() / 1000)
                self._work.set()

    async def _settle(self) -> None:
        await _drain(self._granting, self._consumer.granted)
        await _drain(self._settling, self._consumer.done)
        await _drain(self._dismissing, self._consumer.dismiss)

    async def _refresh_loop(self) -> None:
        while True:
            await asyncio.sleep(self._refresh_seconds)
            if not self._held:
                continue
            try:
                await self._consumer.refresh(tuple(self._held.values()))
            except QueueUnavailable as error:
                self._fail(error)


async def _drain(waiting: deque[T], tell: Callable[[Sequence[T]], Awaitable[None]]) -> None:
    """Tell all that waits; what was not heard waits on, in its place."""
    told = list(waiting)
    if told:
        await tell(told)
        for _ in told:
            waiting.popleft()


def _match(asked: Sequence[Delivery], claims: Claims) -> tuple[dict[str, Delivery], list[Delivery]]:
    """The messages that stand for the granted runs, and those that stand for nothing.

    A run's own message is preferred; where the server chose another run of the queue, any of the
    queue stands for it.
    """
    places: defaultdict[_Place, dict[str, Delivery]] = defaultdict(dict)
    rest: list[Delivery] = []
    for delivery in asked:
        hint = delivery.message.hint
        here = places[hint.workflow, hint.version, hint.shard]
        if hint.run_id in here:
            rest.append(delivery)
        else:
            here[hint.run_id] = delivery
    granted: dict[str, Delivery] = {}
    others: list[tuple[_Place, str]] = []
    for run in claims.runs:
        place = (run.workflow, run.version, run.shard)
        own = places[place].pop(run.id, None)
        if own is None:
            others.append((place, run.id))
        else:
            granted[run.id] = own
    for place, run_id in others:
        here = places[place]
        if here:
            granted[run_id] = here.pop(next(iter(here)))
    rest.extend(delivery for here in places.values() for delivery in here.values())
    return granted, rest
