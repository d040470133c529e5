"""What a worker asks of its subscriber, and what it does with the answer."""

from __future__ import annotations

import asyncio

from aiki import Run, SimplePolling, workflow
from aiki.queue.subscriber import Ask
from tests.support.app import LIMIT, App


@workflow("quick").version("1.0.0")
async def quick(run: Run, n: int) -> int:
    return n + 1


class Slow(SimplePolling):
    """Takes its time to end what goes on, and notes what happens."""

    def __init__(self) -> None:
        super().__init__(poll_interval_ms=10)
        self.log: list[str] = []
        self.asked = asyncio.Event()

    async def next(self, capacity: int) -> Ask:
        self.asked.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            self.log.append("next ended")
        return Ask(capacity, 0)

    async def close(self) -> None:
        self.log.append("closed")


async def test_a_subscriber_is_closed_when_its_last_next_has_ended(app: App) -> None:
    slow = Slow()
    worker = app.work(quick, subscriber=slow)
    await slow.asked.wait()
    await app.stop(worker)
    assert slow.log == ["next ended", "closed"]


async def test_a_worker_with_more_room_than_a_claim_may_have_claims_as_much_as_it_may(
    app: App,
) -> None:
    app.work(quick, max_concurrent_runs=50_000)
    assert await (await quick.enqueue(app.client, 1)).result(timeout=LIMIT) == 2
