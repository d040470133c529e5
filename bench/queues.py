"""`python -m bench.queues`: what each way to hear of work costs: runs a second, and round trips.

A server in a process of its own, PostgreSQL, the broker, and a worker in this process; round trips
are counted by proxies before the server and before the broker, which all of them go through, so
that the figures are for comparison with one another.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiki
from aiki import Subscriber
from bench.databases import Database, databases
from bench.topologies import server_process
from bench.workloads import one_step
from tests.services import rabbitmq, redis
from tests.services.proxy import Proxy

RUNS = 2_000
_AT_ONCE = 200


class Strategy(NamedTuple):
    """A way to hear of work, and the broker that it needs."""

    broker: str | None
    subscriber: Callable[[str], Subscriber]


STRATEGIES = {
    "simple polling": Strategy(None, lambda _: aiki.SimplePolling()),
    "adaptive polling": Strategy(None, lambda _: aiki.AdaptivePolling()),
    "redis streams": Strategy("redis", aiki.RedisStreams),
    "rabbitmq": Strategy("rabbitmq", aiki.RabbitMQ),
}


class Figures(NamedTuple):
    """What was measured of a strategy."""

    strategy: str
    runs_a_second: float
    server_round_trips: float
    """A run, between worker and server: claims, reports, and starts by the client."""
    broker_round_trips: float
    """A run, of worker and server with the broker."""
    yardstick: float

    def line(self) -> str:
        """In words."""
        return (
            f"{self.strategy:<17} {self.runs_a_second:>7.0f} runs/s = "
            f"{self.runs_a_second / self.yardstick:.2f} Y;  round trips a run: "
            f"{self.server_round_trips:.2f} with the server, "
            f"{self.broker_round_trips:.2f} with the broker"
        )


@contextmanager
def _broker(kind: str | None) -> Iterator[str | None]:
    if kind == "redis":
        with redis.private_server() as server:
            yield server.url
    elif kind == "rabbitmq":
        with rabbitmq.private_node() as node:
            yield node.url
    else:
        yield None


@asynccontextmanager
async def _through(url: str | None) -> AsyncGenerator[tuple[str | None, Proxy | None]]:
    """The URL of a proxy to this one."""
    if url is None:
        yield None, None
        return
    port = urlsplit(url).port
    assert port is not None
    async with Proxy.to_port(port) as proxy:
        yield url.replace(f":{port}", f":{proxy.port}"), proxy


async def _measure(name: str, strategy: Strategy, database: Database, runs: int) -> Figures:
    before = await asyncio.to_thread(database.commits_a_second)
    with _broker(strategy.broker) as broker:
        async with (
            _through(broker) as (queue, at_broker),
            server_process(database, queue) as server,
        ):
            async with _through(server) as (url, at_server):
                assert url is not None and at_server is not None
                async with aiki.connect(url) as client:
                    worker = asyncio.create_task(
                        aiki.Worker(
                            client,
                            workflows=[one_step],
                            subscriber=strategy.subscriber(queue or ""),
                            max_concurrent_runs=_AT_ONCE,
                        ).run()
                    )
                    try:
                        await _execute(client, 50)
                        turns = (at_server.turns, at_broker.turns if at_broker else 0)
                        began = time.perf_counter()
                        await _execute(client, runs)
                        seconds = time.perf_counter() - began
                        server_turns = at_server.turns - turns[0]
                        broker_turns = (at_broker.turns if at_broker else 0) - turns[1]
                    finally:
                        worker.cancel()
                        await asyncio.gather(worker, return_exceptions=True)
    after = await asyncio.to_thread(database.commits_a_second)
    return Figures(
        name,
        runs / seconds,
        server_turns / runs,
        broker_turns / runs,
        statistics.mean((before, after)),
    )


async def _execute(client: aiki.Client, runs: int) -> None:
    for start in range(0, runs, _AT_ONCE):
        calls = [one_step.call(number) for number in range(start, min(start + _AT_ONCE, runs))]
        handles = await one_step.enqueue_many(client, calls)
        await asyncio.gather(*(handle.result() for handle in handles))


def measure(names: list[str], runs: int, store: str = "postgresql") -> list[Figures]:
    """Each strategy on a database of its own."""
    with tempfile.TemporaryDirectory() as folder, databases(store, Path(folder), None) as made:
        return [asyncio.run(_measure(name, STRATEGIES[name], made.fresh(), runs)) for name in names]


def main(arguments: list[str]) -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.queues", description=__doc__)
    parser.add_argument("strategies", nargs="*", metavar="STRATEGY", help="all, if none is named")
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="postgresql")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--json", action="store_true", help="print JSON")
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.strategies) - STRATEGIES.keys()
    if unknown:
        parser.error(f"no strategy {', '.join(unknown)}; there are {', '.join(STRATEGIES)}")
    found = measure(chosen.strategies or list(STRATEGIES), chosen.runs, chosen.store)
    if chosen.json:
        print(json.dumps([dict[str, Any](each._asdict()) for each in found], indent=2))
        return
    for each in found:
        print(each.line())


if __name__ == "__main__":
    main(sys.argv[1:])
