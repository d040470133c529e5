"""The program that the crash walk kills: tasks, sleeps, events, children, retries and time-outs.

Run as `python -m tests.crash.program URL`: a worker that prints one line for each execution of a
task, so that whoever watches can kill it after any of them. The URL names a database, which it
opens itself, or a server.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable
from datetime import timedelta

import aiki
from aiki import Retry, Run, event, failpoints, task, task_context, workflow

poke = event("poke", int)
POKE = 7


@task
async def add(left: int, right: int) -> int:
    """A plain task."""
    announce(f"add {left} {right}")
    return left + right


@task(retry=Retry.fixed(20, timedelta(milliseconds=5)))
async def stubborn(number: int) -> int:
    """Fails at its first attempt."""
    announce(f"stubborn {number}")
    if task_context().attempt == 1:
        raise ValueError("not yet")
    return number * 2


@task
def blocking(number: int) -> int:
    """A task on a thread."""
    announce(f"blocking {number}")
    return number * 3


def announce(what: str) -> None:
    """Tell the watcher that a task is executed."""
    print(f"{task_context().run_id} {what}", flush=True)


@workflow("crash-child").version("1")
async def child(run: Run, number: int) -> int:
    """A child with two steps and a sleep between."""
    first = await add(run, number, 1)
    await run.sleep("pause", timedelta(milliseconds=3))
    return await add(run, first, 1)


@workflow("crash-walk").version("1", events=[poke])
async def walk(run: Run, seed: int) -> int:
    """A random walk over everything that a run can wait for."""
    total = 0
    for kind, number in steps(seed):
        total += await step(run, kind, number)
    return total


async def step(run: Run, kind: str, number: int) -> int:
    """One step of the walk."""
    match kind:
        case "sequence":
            return await add(run, await add(run, number, 1), 1)
        case "parallel":
            same = await asyncio.gather(*(add(run, number, 5) for _ in range(3)))
            return sum(same)
        case "retry":
            return await stubborn(run, number)
        case "thread":
            return await blocking(run, number)
        case "sleep":
            await run.sleep(f"nap {number}", timedelta(milliseconds=number))
            return 0
        case "child":
            return await child(run, number)
        case "children":
            return sum(await run.map(child, [number, number + 1, number + 2], concurrency=2))
        case "event":
            return await run.wait(poke)
        case _:
            try:
                async with asyncio.timeout(0.005):
                    await run.sleep("too long", timedelta(minutes=10))
            except TimeoutError:
                return 1
            return -1_000_000


def steps(seed: int) -> list[tuple[str, int]]:
    """What the walk of this seed does: exactly one event, the rest at random."""
    chance = random.Random(seed)
    kinds = ["sequence", "parallel", "retry", "thread", "sleep", "child", "children", "timeout"]
    chosen = [(chance.choice(kinds), chance.randrange(20)) for _ in range(6)]
    chosen.insert(chance.randrange(6), ("event", 0))
    return chosen


def expected(seed: int) -> int:
    """What the walk must return, computed without Aiki."""
    values: dict[str, Callable[[int], int]] = {
        "sequence": lambda n: n + 2,
        "parallel": lambda n: 3 * (n + 5),
        "retry": lambda n: 2 * n,
        "thread": lambda n: 3 * n,
        "sleep": lambda n: 0,
        "child": lambda n: n + 2,
        "children": lambda n: 3 * n + 9,
        "event": lambda n: POKE,
        "timeout": lambda n: 1,
    }
    return sum(values[kind](number) for kind, number in steps(seed))


async def work(url: str) -> None:
    """Work until killed."""
    if url.startswith(("http", "grpc")):
        # Where the engine is elsewhere, it arms nothing here.
        failpoints.arm_from_environment()
    async with aiki.connect(url) as client:
        print("ready", flush=True)
        await aiki.Worker(client, workflows=[walk, child], lease_ms=1_000).run()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
