"""What every `Subscriber` must do. Inherit it in a test module, and say how yours is made:

    class TestMine(SubscriberBehaviour):
        def make(self) -> Subscriber:
            return Mine()

Its methods are coroutines: pytest runs them with `asyncio_mode = "auto"`.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from aiki.errors import StoreUnavailable
from aiki.operations.work import Offer
from aiki.queue.subscriber import Ask, Interest, Subscriber

INTEREST = Interest("behaviour", "default", (Offer("orders", "1.0.0"),), ())
SOON_SECONDS = 10.0
_ROOM = 5


class _Makes(Protocol):
    def make(self) -> Subscriber: ...


class SubscriberBehaviour:
    """The behaviour of subscribers, one test a promise."""

    def make(self) -> Subscriber:
        """A new subscriber, not opened yet."""
        raise NotImplementedError("say how your subscriber is made: def make(self): return Mine()")

    async def test_it_asks_at_once_when_it_begins(self) -> None:
        """What became ready while no worker was there is not left until the next news."""
        ask = await _first_ask(self, 10)
        assert ask.wait_ms >= 0

    async def test_it_never_asks_for_more_than_there_is_room_for(self) -> None:
        for capacity in (1, 3, 1_000):
            assert 1 <= (await _first_ask(self, capacity)).limit <= capacity

    async def test_it_goes_on_asking_after_it_found_nothing(self) -> None:
        """News has no authority: a worker that is never told anything must look by itself."""
        subscriber = await _opened(self)
        for _ in range(20):
            ask = await asyncio.wait_for(subscriber.next(_ROOM), SOON_SECONDS)
            assert 1 <= ask.limit <= _ROOM
            subscriber.learn(0)
        await subscriber.close()

    async def test_it_goes_on_asking_after_it_found_something(self) -> None:
        subscriber = await _opened(self)
        for _ in range(20):
            ask = await asyncio.wait_for(subscriber.next(_ROOM), SOON_SECONDS)
            subscriber.learn(ask.limit)
        await subscriber.close()

    async def test_it_goes_on_asking_after_a_failure(self) -> None:
        subscriber = await _opened(self)
        await subscriber.next(_ROOM)
        subscriber.failed(StoreUnavailable("for a moment"))
        ask = await asyncio.wait_for(subscriber.next(_ROOM), SOON_SECONDS)
        assert 1 <= ask.limit <= _ROOM
        await subscriber.close()

    async def test_it_may_be_cancelled_while_it_waits(self) -> None:
        """A worker that stops does not wait for news; and nothing is broken by it."""
        subscriber = await _opened(self)
        await subscriber.next(1)
        subscriber.failed(StoreUnavailable("so that it pauses"))
        waiting = asyncio.create_task(_next(subscriber))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting], timeout=SOON_SECONDS)
        assert waiting.done()
        await subscriber.close()

    async def test_it_closes_in_any_state(self) -> None:
        unused = await _opened(self)
        await unused.close()
        await unused.close()


async def _next(subscriber: Subscriber) -> Ask:
    return await subscriber.next(1)


async def _opened(maker: _Makes) -> Subscriber:
    subscriber = maker.make()
    await subscriber.open(INTEREST)
    return subscriber


async def _first_ask(maker: _Makes, capacity: int) -> Ask:
    subscriber = await _opened(maker)
    ask = await asyncio.wait_for(subscriber.next(capacity), SOON_SECONDS)
    await subscriber.close()
    return ask
