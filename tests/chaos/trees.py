"""Trees of actions, drawn from a seed: each is a run, whose counters are known beforehand."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random

from aiki import ChildFailed, Retry, Run, event, task, task_context, workflow
from tests.chaos.expectation import Execution

LEDGER = "AIKI_CHAOS_LEDGER"
SHARD = "AIKI_CHAOS_SHARD"
"""Says of a worker which shard it serves."""
SHARDS = ("east", "west")
_SHORT = Retry.fixed(20, timedelta(milliseconds=20))
_LEAVES = ("count", "count", "sleep", "flaky", "stubborn")
_BRANCHES = ("both", "both", "child")
_NEVER = timedelta(days=1)
_GRACE = timedelta(seconds=5)
go = event("go", int)


@dataclass(frozen=True)
class Node:
    """An action; `parts` are executed by those that have some."""

    kind: str
    id: str
    number: int = 0
    """Milliseconds of a sleep, until an event is sent, or until a child is cancelled; failures
    before a success.
    """
    parts: tuple[Node, ...] = ()
    shard: str = ""
    """Of a run without children."""


def draw(random: Random, id: str, depth: int = 3, doomed: bool = False) -> Node:
    """A tree; the same for the same state of `random`.

    Below what is `doomed` nobody sends events, and nothing is started that would outlive it.
    """
    leaves = _LEAVES if doomed else (*_LEAVES, "wait")
    branches = _BRANCHES if doomed else (*_BRANCHES, "doomed")
    kind = random.choice([*leaves, *branches * (depth > 0)]) if depth < 3 else "both"
    if kind in ("both", "child"):
        count = random.randint(2, 4)
        parts = [draw(random, f"{id}.{place}", depth - 1, doomed) for place in range(count)]
        return Node(kind, id, parts=tuple(parts))
    if kind == "doomed":
        part = draw(random, f"{id}.0", depth - 1, doomed=True)
        return Node(kind, id, random.randint(0, 1_500), (part,))
    numbers = {
        "sleep": random.randint(1, 1_500),
        "flaky": random.randint(1, 3),
        "stubborn": random.randint(1, 2),
        "wait": random.randint(0, 1_500),
    }
    return Node(kind, id, numbers.get(kind, 0))


def draw_line(random: Random, id: str) -> Node:
    """Runs without children, which have one ordering key where there are several."""
    shard = random.choice(("", *SHARDS))
    runs = [_draw_steps(random, f"{id}.{place}", shard) for place in range(random.randint(1, 3))]
    return Node("line", id, parts=tuple(runs))


def _draw_steps(random: Random, id: str, shard: str) -> Node:
    kinds = ("count", random.choice(("sleep", "flaky")), "count")
    parts = [
        Node(kind, f"{id}.{place}", random.randint(1, 2 if kind == "flaky" else 300))
        for place, kind in enumerate(kinds)
    ]
    return Node("steps", id, parts=tuple(parts), shard=shard)


def all_of(node: Node) -> Iterator[Node]:
    """It, and all below it."""
    yield node
    for part in node.parts:
        yield from all_of(part)


def counted(node: Node) -> Iterator[str]:
    """The counters that the tree certainly raises, by the ids of the actions."""
    if node.kind in ("count", "flaky"):
        yield node.id
    elif node.kind == "stubborn":
        yield from (f"{node.id}/{attempt}" for attempt in range(1, node.number + 2))
    elif node.kind != "doomed":
        for part in node.parts:
            yield from counted(part)


def possible(node: Node, doomed: bool = False) -> Iterator[str]:
    """Those that it may raise, if their branch gets so far before it is cancelled."""
    doomed = doomed or node.kind == "doomed"
    if doomed and not node.parts:
        yield from counted(node)
    for part in node.parts:
        yield from possible(part, doomed)


@task(retry=_SHORT)
async def count(id: str) -> str:
    """Raise a counter outside of Aiki: once, whoever asks how often."""
    _write(id)
    return id


@task(retry=_SHORT)
async def fail_first(id: str, failures: int) -> str:
    """Fail so often before the counter is raised."""
    if task_context().attempt <= failures:
        raise OSError(f"{id} fails")
    _write(id)
    return id


def _write(id: str) -> None:
    line = f"{id} {task_context().idempotency_key} {os.environ.get(SHARD, '')}\n"
    file = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


@workflow("tree").version("1.0.0")
async def tree(run: Run, node: Node) -> int:
    """Execute the tree; answers how many counters it raised."""
    return await _execute(run, node)


async def _execute(run: Run, node: Node) -> int:
    match node.kind:
        case "count":
            await count(run, node.id)
            return 1
        case "flaky":
            await fail_first(run, node.id, node.number)
            return 1
        case "sleep":
            await run.sleep(node.id, timedelta(milliseconds=node.number))
            return 0
        case "wait":
            await run.wait(go)
            return 0
        case "child":
            found = [await child(run, part) for part in node.parts if not has_wait(part)]
            own = [await _execute(run, part) for part in node.parts if has_wait(part)]
            return sum(found) + sum(own)
        case "stubborn":
            return await stubborn(run, node)
        case "doomed":
            return await _cancel(run, node)
        case _:
            return sum(await asyncio.gather(*(_execute(run, part) for part in node.parts)))


@workflow("branch").version("1.0.0")
async def child(run: Run, node: Node) -> int:
    """A part of a tree as a run of its own; nobody sends it events."""
    return await _execute(run, node)


async def _cancel(run: Run, node: Node) -> int:
    """Start a child that would never end, and stop it."""
    handle = await run.start(doomed, node.parts[0])
    await run.sleep(node.id, timedelta(milliseconds=node.number))
    await handle.cancel("it is doomed")
    try:
        return await handle
    except ChildFailed as error:
        if getattr(error.failure, "status", "") != "cancelled":
            raise
        return 0


@workflow("doomed").version("1.0.0", cancel_grace=_GRACE)
async def doomed(run: Run, node: Node) -> int:
    """A part of a tree, and then a wait for its end."""
    await _execute(run, node)
    await run.sleep("for ever", _NEVER)
    return -1


@workflow("stubborn").version("1.0.0", retry=_SHORT)
async def stubborn(run: Run, node: Node) -> int:
    """A run whose first attempts fail as a whole; each begins anew, and counts."""
    await count(run, f"{node.id}/{run.attempt}")
    if run.attempt <= node.number:
        raise OSError(f"{node.id} fails")
    return run.attempt


@workflow("steps").version("1.0.0", shards=SHARDS)
async def steps(run: Run, node: Node) -> int:
    """One part after the other, without children."""
    return sum([await _execute(run, part) for part in node.parts])


def waits(node: Node) -> list[Node]:
    """The waits of its run, each for an event."""
    return [each for each in all_of(node) if each.kind == "wait"]


WORKFLOWS = [tree, child, doomed, stubborn, steps]


def has_wait(node: Node) -> bool:
    """Whether an event is needed in it or below: only the tree's own run is sent any."""
    return bool(waits(node))


def ledger_of(path: Path) -> list[Execution]:
    """All executions so far."""
    written = path.read_text("utf-8").splitlines() if path.exists() else []
    return [Execution(*line.split(" ")) for line in written]
