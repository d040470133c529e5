"""Trees of actions, drawn from a seed: each is a run, whose counters are known beforehand."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random

from aiki import Retry, Run, event, task, task_context, workflow
from tests.chaos.report import Execution

LEDGER = "AIKI_CHAOS_LEDGER"
_SHORT = Retry.fixed(20, timedelta(milliseconds=20))
go = event("go", int)


@dataclass(frozen=True)
class Node:
    """An action; `parts` are executed by `both` and `child`."""

    kind: str
    id: str
    number: int = 0
    """Milliseconds of a sleep, or until an event is sent; failures before a success."""
    parts: tuple[Node, ...] = ()


def draw(random: Random, id: str, depth: int = 3) -> Node:
    """A tree; the same for the same state of `random`."""
    kinds = ["count", "count", "sleep", "flaky", "wait"] + ["both", "both", "child"] * (depth > 0)
    kind = random.choice(kinds) if depth < 3 else "both"
    if kind in ("both", "child"):
        count = random.randint(2, 4)
        parts = tuple(draw(random, f"{id}.{place}", depth - 1) for place in range(count))
        return Node(kind, id, parts=parts)
    numbers = {
        "sleep": random.randint(1, 1_500),
        "flaky": random.randint(1, 3),
        "wait": random.randint(0, 1_500),
    }
    return Node(kind, id, numbers.get(kind, 0))


def counted(node: Node) -> Iterator[str]:
    """The counters that the tree raises, by the ids of the actions."""
    if node.kind in ("count", "flaky"):
        yield node.id
    for part in node.parts:
        yield from counted(part)


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
    line = f"{id} {task_context().idempotency_key}\n"
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
        case _:
            return sum(await asyncio.gather(*(_execute(run, part) for part in node.parts)))


@workflow("branch").version("1.0.0")
async def child(run: Run, node: Node) -> int:
    """A part of a tree as a run of its own; nobody sends it events."""
    return await _execute(run, node)


def waits(node: Node) -> Iterator[Node]:
    """The waits of its run, each for an event."""
    if node.kind == "wait":
        yield node
    for part in node.parts:
        yield from waits(part)


WORKFLOWS = [tree, child]


def has_wait(node: Node) -> bool:
    """Whether an event is needed in it or below: only the tree's own run is sent any."""
    return any(True for _ in waits(node))


def ledger_of(path: Path) -> list[Execution]:
    """All executions so far."""
    written = path.read_text("utf-8").splitlines() if path.exists() else []
    return [Execution(*line.split()) for line in written]
