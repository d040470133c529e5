"""Workflows that rest in each state that a backup may find, and what they must return."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from aiki import Run, Workflow, event, task, task_context, workflow
from tests.support.app import Ledger

SLEEP = timedelta(hours=1)
ledger = Ledger()
keys: dict[str, set[str]] = {}
"""The idempotency keys under which each line was written, before the backup and after it."""
gates: dict[str, asyncio.Event] = {}
go = event("go", str)


def write(line: str) -> None:
    """Have a line in the ledger, which tells one call from every other."""
    ledger.add(line)
    keys.setdefault(line, set()).add(task_context().idempotency_key)


@task
async def note(line: str) -> str:
    """Writes a line."""
    write(line)
    return line


@task
async def hold(line: str) -> str:
    """Writes a line, and ends when the test lets it."""
    write(line)
    await gates["all"].wait()
    return line


@workflow("queued").version("1")
async def queued(run: Run, name: str) -> list[str]:
    """No worker offers it before the backup."""
    return [await note(run, f"{name} first"), await note(run, f"{name} last")]


@workflow("running").version("1")
async def running(run: Run, name: str) -> list[str]:
    """It is inside a task at the backup."""
    first = await note(run, f"{name} first")
    return [first, await hold(run, f"{name} held"), await note(run, f"{name} last")]


@workflow("sleeping").version("1")
async def sleeping(run: Run, name: str) -> list[str]:
    """It sleeps at the backup."""
    first = await note(run, f"{name} first")
    await run.sleep("long", SLEEP)
    return [first, await note(run, f"{name} last")]


@workflow("waiting").version("1", events=[go])
async def waiting(run: Run, name: str) -> list[str]:
    """It waits for an event at the backup."""
    first = await note(run, f"{name} first")
    return [first, await run.wait(go), await note(run, f"{name} last")]


@workflow("moving").version("1")
async def moving(run: Run, name: str) -> list[str]:
    """The backup finds it anywhere."""
    return [await note(run, f"{name} {place}") for place in range(3)]


WORKFLOWS: dict[str, Workflow[..., Any]] = {
    flow.name: flow for flow in (queued, running, sleeping, waiting, moving)
}
EVENT = "the event"


def expected(flow: str, name: str) -> list[str]:
    """What a run must return."""
    middle = {"running": [f"{name} held"], "waiting": [EVENT]}.get(flow, [])
    if flow == "moving":
        return [f"{name} {place}" for place in range(3)]
    return [f"{name} first", *middle, f"{name} last"]
