"""The application that these tests run: workflows that end, fail, wait, work and diverge."""

import asyncio
from pathlib import Path
from typing import Any

from aiki import Run, Workflow, event, task, workflow

go = event("go", int)


@task
async def add(first: int, second: int) -> int:
    return first + second


@task
async def until_there(name: str) -> str:
    """Works until somebody makes the file."""
    print(f"began {name}", flush=True)
    while not await asyncio.to_thread(Path(name).exists):  # noqa: ASYNC110  (another process makes it)
        await asyncio.sleep(0.01)
    return "there"


@workflow("quick").version("1.0.0")
async def quick(run: Run, n: int, note: str = "") -> int:
    if n < 0:
        raise ValueError(f"{n} is negative")
    return await add(run, n, 1)


@workflow("waiting").version("1.0.0", events=[go])
async def waiting(run: Run, n: int = 0) -> int:
    return await add(run, n, await run.wait(go))


@workflow("long").version("1.0.0")
async def long(run: Run, name: str) -> str:
    return await until_there(run, name)


@workflow("unclaimed").version("1.0.0")
async def unclaimed(run: Run) -> None:
    """No worker offers it here, so that its runs stall."""


changing = workflow("changing")


@changing.version("1.0.0", events=[go])
async def before(run: Run) -> int:
    return await add(run, 1, 1) + await run.wait(go)


@changing.version("1.0.0", events=[go])
async def after(run: Run) -> int:
    return await add(run, 2, 2) + await run.wait(go)


OFFERED: list[Workflow[..., Any]] = [quick, waiting, long]
