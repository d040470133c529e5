"""What every `Subscriber` must do. Inherit it in a test module, and say how yours is made:

    class TestMine(SubscriberBehaviour):
        def make(self) -> Subscriber:
            return Mine()

Its methods are coroutines: pytest runs them with `asyncio_mode = "auto"`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from aiki.client.client import Client
from aiki.compose import connect
from aiki.errors import StoreUnavailable
from aiki.ids import new_id
from aiki.operations.work import ClaimedRun, Claims, Offer
from aiki.queue.subscriber import Ask, Interest, Subscriber
from aiki.worker.worker import Worker
from aiki.workflow.definition import workflow
from aiki.workflow.run import Run
from aiki.workflow.task import task

INTEREST = Interest("behaviour", "default", (Offer("orders", "1.0.0"),), ())
SOON_SECONDS = 10.0
_ROOM = 5
_RUNS = 30
_RUN_LIMIT = timedelta(seconds=60)
_WINDOW_SECONDS = 0.5
_MOST_ASKS_IN_WINDOW = 50
_CANCELLED_AFTER_TURNS = (*range(10), 100)
_CLOSED_AFTER_TURNS = (*range(10), 30, 100, 300, 1_000)
_LOOK_SECONDS = 0.01
_executed: Counter[tuple[str, int, str]] = Counter()


@task
def _step(test: str, number: int, name: str) -> None:
    _executed[test, number, name] += 1


@workflow("behaviour-once").version("1.0.0")
async def _once(run: Run, test: str, number: int) -> None:
    await _step(run, test, number, "only")


@workflow("behaviour-parking").version("1.0.0")
async def _parking(run: Run, test: str, number: int) -> None:
    await _step(run, test, number, "before")
    await run.sleep("a moment", timedelta(milliseconds=5))
    await _step(run, test, number, "after")


class _Makes(Protocol):
    def make(self) -> Subscriber: ...


class SubscriberBehaviour:
    """The behaviour of subscribers, one test a promise."""

    def make(self) -> Subscriber:
        """A new subscriber, not opened yet."""
        raise NotImplementedError("say how your subscriber is made: def make(self): return Mine()")

    async def open_connections(self) -> int:
        """How many connections of your subscribers are open: override it if they have any."""
        return 0

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
            subscriber.learn(Claims())
        await subscriber.close()

    async def test_it_goes_on_asking_after_it_found_something(self) -> None:
        subscriber = await _opened(self)
        for _ in range(20):
            ask = await asyncio.wait_for(subscriber.next(_ROOM), SOON_SECONDS)
            claims = claims_of(ask.limit)
            subscriber.learn(claims)
            for run in claims.runs:
                subscriber.ended(run.id)
        await subscriber.close()

    async def test_it_goes_on_asking_after_a_failure(self) -> None:
        subscriber = await _opened(self)
        await subscriber.next(_ROOM)
        subscriber.failed(StoreUnavailable("for a moment"))
        ask = await asyncio.wait_for(subscriber.next(_ROOM), SOON_SECONDS)
        assert 1 <= ask.limit <= _ROOM
        await subscriber.close()

    async def test_it_pauses_after_failures(self) -> None:
        """A server in trouble is not asked in a loop without pauses."""
        subscriber = await _opened(self)
        asks = await _asks_of_a_failing_server(subscriber)
        assert asks <= _MOST_ASKS_IN_WINDOW
        await subscriber.close()

    async def test_it_may_be_cancelled_at_any_moment_and_asked_again(self) -> None:
        subscriber = await _opened(self)
        for turns in _CANCELLED_AFTER_TURNS:
            await _cancelled_after(turns, subscriber)
            ask = await asyncio.wait_for(subscriber.next(_ROOM), SOON_SECONDS)
            assert 1 <= ask.limit <= _ROOM
            subscriber.learn(Claims())
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

    async def test_it_is_told_of_the_end_of_runs_that_it_does_not_know(self) -> None:
        """A worker tells the end of every claim, also of one that came without this subscriber."""
        subscriber = await _opened(self)
        subscriber.ended(new_id())
        await asyncio.wait_for(subscriber.next(_ROOM), SOON_SECONDS)
        (run,) = claims_of(1).runs
        subscriber.learn(Claims(runs=(run,)))
        subscriber.ended(run.id)
        subscriber.ended(run.id)
        ask = await asyncio.wait_for(subscriber.next(_ROOM), SOON_SECONDS)
        assert 1 <= ask.limit <= _ROOM
        await subscriber.close()

    async def test_it_closes_in_any_state(self) -> None:
        unused = await _opened(self)
        await unused.close()
        await unused.close()

    async def test_it_closes_while_it_is_asked(self) -> None:
        """A worker that stops cancels `next` and closes, whatever is under way: nothing is left."""
        before = asyncio.all_tasks()
        closed: list[Subscriber] = []
        for turns in _CLOSED_AFTER_TURNS:
            subscriber = await _opened(self)
            await asyncio.wait_for(subscriber.next(_ROOM), SOON_SECONDS)
            subscriber.learn(Claims())
            await _closed_after(turns, subscriber)
            # It is kept, so that nothing ends because it was forgotten.
            closed.append(subscriber)
        async with asyncio.timeout(SOON_SECONDS):
            left = True
            while left:
                await asyncio.sleep(_LOOK_SECONDS)
                left = bool(asyncio.all_tasks() - before) or await self.open_connections() > 0

    async def test_a_worker_executes_every_run_once_with_it(self) -> None:
        """More runs than the worker has room for."""
        test = new_id()
        async with _working(self) as client:
            calls = [_once.call(test, number) for number in range(_RUNS)]
            for handle in await _once.enqueue_many(client, calls):
                await handle.result(timeout=_RUN_LIMIT)
        assert _executions(test) == {(number, "only"): 1 for number in range(_RUNS)}

    async def test_a_worker_goes_on_with_runs_that_slept_with_it(self) -> None:
        """A run that wakes is claimed anew."""
        test = new_id()
        async with _working(self) as client:
            calls = [_parking.call(test, number) for number in range(_RUNS)]
            for handle in await _parking.enqueue_many(client, calls):
                await handle.result(timeout=_RUN_LIMIT)
        steps = [(number, name) for number in range(_RUNS) for name in ("before", "after")]
        assert _executions(test) == dict.fromkeys(steps, 1)


def claims_of(count: int) -> Claims:
    """What a request brings that is granted so many runs."""
    return Claims(runs=tuple(_claimed(number) for number in range(count)))


def _claimed(number: int) -> ClaimedRun:
    return ClaimedRun(
        id=f"01890000-0000-7000-8000-{number:012x}",
        namespace=INTEREST.namespace,
        workflow="orders",
        version="1.0.0",
        attempt=1,
        epoch=1,
        memo_version=0,
        input=b"null",
    )


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


async def _asks_of_a_failing_server(subscriber: Subscriber) -> int:
    """How often it is asked in a while, or one more than it may be."""
    asks = 0
    try:
        async with asyncio.timeout(_WINDOW_SECONDS):
            while asks <= _MOST_ASKS_IN_WINDOW:
                await subscriber.next(_ROOM)
                subscriber.failed(StoreUnavailable("all the time"))
                asks += 1
    except TimeoutError:
        pass
    return asks


async def _cancelled_after(turns: int, subscriber: Subscriber) -> None:
    """Begin to wait, let the loop turn so often, and cancel."""
    waiting = asyncio.create_task(_next(subscriber))
    for _ in range(turns):
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting], timeout=SOON_SECONDS)
    assert waiting.done()


async def _closed_after(turns: int, subscriber: Subscriber) -> None:
    """Begin to wait, let the loop turn so often, cancel and close without waiting for the end."""
    waiting = asyncio.create_task(_next(subscriber))
    for _ in range(turns):
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait_for(subscriber.close(), SOON_SECONDS)
    await asyncio.wait([waiting], timeout=SOON_SECONDS)
    assert waiting.done()
    assert waiting.cancelled() or waiting.result().limit == 1


@asynccontextmanager
async def _working(maker: _Makes) -> AsyncGenerator[Client]:
    """A client of a server in this process, and a worker with this subscriber."""
    with TemporaryDirectory() as folder:
        async with connect(f"sqlite:///{Path(folder) / 'behaviour.db'}") as client:
            worker = Worker(
                client,
                workflows=[_once, _parking],
                subscriber=maker.make(),
                max_concurrent_runs=_ROOM,
            )
            working = asyncio.create_task(worker.run())
            try:
                yield client
            finally:
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)


def _executions(test: str) -> dict[tuple[int, str], int]:
    """How often each step of each run was executed."""
    return {
        (number, name): count for (its, number, name), count in _executed.items() if its == test
    }
