"""The workloads, on the public API alone."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, NamedTuple, ParamSpec, TypeVar

import aiki
from aiki import Client, Run, Start, task, workflow


@task
async def nothing(number: int) -> dict[str, int]:
    """A step without any work."""
    return {"number": number}


@workflow("bench-one").version("1")
async def one_step(run: Run, number: int) -> dict[str, int]:
    """One step."""
    return await nothing(run, number)


@workflow("bench-sequence").version("1")
async def sequence(run: Run, steps: int) -> int:
    """Steps one after the other."""
    for number in range(steps):
        await nothing(run, number)
    return steps


@workflow("bench-parallel").version("1")
async def parallel(run: Run, steps: int) -> int:
    """Steps all at once."""
    return len(await run.map(nothing, range(steps)))


@workflow("bench-parent").version("1")
async def parent(run: Run, children: int) -> int:
    """A parent and its children."""
    return len(await run.map(one_step, range(children)))


P = ParamSpec("P")
R = TypeVar("R")
WORKFLOWS: list[aiki.Workflow[..., Any]] = [one_step, sequence, parallel, parent]


class Sizes(NamedTuple):
    """How much of each workload."""

    single: int = 300
    sequence: int = 100
    short_runs: int = 2_000
    long_runs: int = 200
    long_steps: int = 50
    fan: int = 500


TINY = Sizes(10, 10, 40, 5, 4, 10)


class Measured(NamedTuple):
    """One figure: its name, value and unit."""

    name: str
    value: float
    unit: str


async def latency(client: Client, sizes: Sizes) -> list[Measured]:
    """W1: start a workflow of one step and wait for its result, one after the other."""
    seconds = []
    for number in range(sizes.single):
        began = time.perf_counter()
        await (await one_step.enqueue(client, number)).result()
        seconds.append(time.perf_counter() - began)
    seconds.sort()
    p99 = seconds[min(len(seconds) - 1, round(len(seconds) * 0.99))]
    return [
        Measured("W1 p50", statistics.median(seconds) * 1000, "ms"),
        Measured("W1 p99", p99 * 1000, "ms"),
    ]


async def steps_in_sequence(client: Client, sizes: Sizes) -> list[Measured]:
    """W2: one workflow of many steps in sequence."""
    seconds = await _timed(lambda: _one(client, sequence, sizes.sequence))
    return [Measured("W2", seconds / sizes.sequence * 1000, "ms a step")]


async def short_runs(client: Client, sizes: Sizes) -> list[Measured]:
    """W3: many workflows of one step, from the first enqueue to the last completion."""
    calls = [one_step.call(number) for number in range(sizes.short_runs)]
    seconds = await _timed(lambda: _all(client, one_step, calls))
    return [Measured("W3", sizes.short_runs / seconds, "workflows/s")]


async def long_runs(client: Client, sizes: Sizes) -> list[Measured]:
    """W4: workflows of many steps."""
    calls = [sequence.call(sizes.long_steps) for _ in range(sizes.long_runs)]
    seconds = await _timed(lambda: _all(client, sequence, calls))
    return [Measured("W4", sizes.long_runs * sizes.long_steps / seconds, "steps/s")]


async def starts(client: Client, sizes: Sizes) -> list[Measured]:
    """W5: start workflows without waiting: one at a time, and by the bulk call."""
    count = sizes.short_runs

    async def singly() -> None:
        for number in range(count):
            await one_step.options(delay=_LATER).enqueue(client, number)

    async def bulk() -> None:
        calls = [one_step.call(number) for number in range(count)]
        await one_step.options(delay=_LATER).enqueue_many(client, calls)

    return [
        Measured("W5 singly", count / await _timed(singly), "starts/s"),
        Measured("W5 bulk", count / await _timed(bulk), "starts/s"),
    ]


async def fan_out(client: Client, sizes: Sizes) -> list[Measured]:
    """W6: one parent with many children; one workflow with many parallel steps."""
    children = await _timed(lambda: _one(client, parent, sizes.fan))
    parallel_steps = await _timed(lambda: _one(client, parallel, sizes.fan))
    return [
        Measured("W6 children", children, "s"),
        Measured("W6 steps", parallel_steps, "s"),
    ]


_LATER = timedelta(days=1)

Workload = Callable[[Client, Sizes], Awaitable[list[Measured]]]
WORKLOADS: dict[str, Workload] = {
    "W1": latency,
    "W2": steps_in_sequence,
    "W3": short_runs,
    "W4": long_runs,
    "W5": starts,
    "W6": fan_out,
}


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def _one(client: Client, definition: aiki.Workflow[..., int], size: int) -> int:
    return await (await definition.enqueue(client, size)).result()


async def _all(client: Client, definition: aiki.Workflow[P, R], calls: list[Start[P]]) -> None:
    handles = await definition.enqueue_many(client, calls)
    await asyncio.gather(*(handle.result() for handle in handles))
