"""The trees of a cell: started and sent their events at their times, and followed to their ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TypeVar

import aiki
from aiki.errors import AikiError, ServiceError
from aiki.model.run import TERMINAL
from aiki.operations.runs import RunQuery
from tests.chaos.expectation import Expectation
from tests.chaos.report import Stuck
from tests.chaos.trees import Node, counted, draw, draw_line, go, possible, steps, tree, waits

R = TypeVar("R")
PAUSE_SECONDS = (0.02, 0.28)
"""Between two starts."""
LINES = 0.3
"""Share of what is started that is a line of runs without children, some of a shard."""
_DESCRIBE_SECONDS = 20
_PULSE_SECONDS = 0.05


class Planned(NamedTuple):
    """A tree or a line that is to be started at so many seconds."""

    at: float
    node: Node

    @property
    def runs(self) -> tuple[Node, ...]:
        """What is started: one after the other, as a line has an order."""
        return self.node.parts if self.node.kind == "line" else (self.node,)


def plan(seed: int, seconds: float) -> list[Planned]:
    """Trees and lines over so many seconds: a function of the seed alone."""
    random = Random(f"trees {seed}")
    found: list[Planned] = []
    at = 0.0
    while at < seconds:
        drawn = draw_line if random.random() < LINES else draw
        found.append(Planned(at, drawn(random, str(len(found)))))
        at += random.uniform(*PAUSE_SECONDS)
    return found


def expectation(planned: Sequence[Planned]) -> Expectation:
    """What the ledger must show of these."""
    nodes = [each.node for each in planned]
    lines = [[frozenset(counted(run)) for run in each.runs] for each in planned]
    return Expectation(
        certain=frozenset(id for node in nodes for id in counted(node)),
        possible=frozenset(id for node in nodes for id in possible(node)),
        shards={
            id: run.shard
            for each in planned
            for run in each.runs
            if run.shard
            for id in counted(run)
        },
        lines=[line for line in lines if len(line) > 1],
    )


class Load:
    """Runs in flight, and what came of each."""

    def __init__(self, client: aiki.Client, ledger: Path) -> None:
        self._client = client
        self._ledger = ledger
        self._following: dict[str, asyncio.Task[int]] = {}
        self._wanted: dict[str, int] = {}
        self.longest_pause_seconds = 0.0
        """The longest time in which there were unfinished runs and nothing was done for any."""

    @property
    def accepted(self) -> list[str]:
        """Ids of the runs whose starts were acknowledged."""
        return list(self._following)

    async def start(self, planned: Sequence[Planned]) -> None:
        """Start all, each at its time or as soon as a server answers, and send their events."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as starting:
            for each in planned:
                await asyncio.sleep(max(0.0, began + each.at - time.monotonic()))
                starting.create_task(self._start_all(each))

    async def _start_all(self, planned: Planned) -> None:
        for node in planned.runs:
            await self._start_one(
                node, ordering_key=planned.node.id if len(planned.runs) > 1 else None
            )

    async def _start_one(self, node: Node, ordering_key: str | None) -> None:
        # Under a name of its own, so that a start whose answer was lost is not made twice.
        named = (steps if node.kind == "steps" else tree).options(
            reference_id=node.id,
            on_conflict="return_existing",
            shard=node.shard,
            ordering_key=ordering_key,
        )
        handle = await _insist(partial(named.enqueue, self._client, node))
        self._wanted[handle.id] = sum(1 for _ in counted(node))
        self._following[handle.id] = asyncio.create_task(_insist(handle.result))
        begun = time.monotonic()
        for wait in sorted(waits(node), key=lambda wait: wait.number):
            await asyncio.sleep(max(0.0, begun + wait.number / 1_000 - time.monotonic()))
            await _insist(partial(handle.send, go, wait.number, key=wait.id))

    async def watch(self) -> None:
        """Measure progress, until cancelled."""
        last, since = self._progress(), time.monotonic()
        while True:
            await asyncio.sleep(_PULSE_SECONDS)
            now, seen = time.monotonic(), self._progress()
            idle = all(task.done() for task in self._following.values())
            if idle or seen != last:
                last, since = seen, now
            self.longest_pause_seconds = max(self.longest_pause_seconds, now - since)

    def _progress(self) -> tuple[int, int]:
        executed = self._ledger.stat().st_size if self._ledger.exists() else 0
        return executed, sum(task.done() for task in self._following.values())

    async def finish(self, within_seconds: float) -> tuple[dict[str, tuple[int, int]], list[Stuck]]:
        """Wait for all; answers what the wrong ones returned and should have, and the stuck."""
        if self._following:
            await asyncio.wait(self._following.values(), timeout=within_seconds)
        wrong: dict[str, tuple[int, int]] = {}
        stuck: list[Stuck] = []
        for id, task in self._following.items():
            if not task.done() or task.exception() is not None:
                error = repr(task.exception()) if task.done() else ""
                stuck += [each._replace(error=error) for each in await self._describe(id)]
            elif task.result() != self._wanted[id]:
                wrong[id] = (task.result(), self._wanted[id])
            task.cancel()
        return wrong, stuck

    async def _describe(self, id: str) -> list[Stuck]:
        """The run as it stands, and what hangs below it."""
        try:
            async with asyncio.timeout(_DESCRIBE_SECONDS):
                return [each async for each in _unfinished(self._client, id)]
        except (AikiError, TimeoutError) as error:
            return [Stuck(id, "unknown", repr(error))]


async def _unfinished(client: aiki.Client, id: str) -> Any:
    history = await client.run(id, tree).history()
    last = history.transitions[-1]
    yield Stuck(id, history.run.status, f"{last.status} ({last.reason}) at {last.at}")
    async for child in client.runs(RunQuery(parent_id=id)):
        if child.status not in TERMINAL:
            async for each in _unfinished(client, child.id):
                yield each


async def _insist(call: Callable[[], Awaitable[R]]) -> R:
    """Repeat what a client gave up; starts and events have names that make it safe."""
    while True:
        try:
            return await call()
        except ServiceError:
            await asyncio.sleep(0.1)
