"""A worker in a process of its own that a test may kill, and what it has loaded.

Run as `python -m tests.remote.program URL`: it prints a line for each task that it begins, and
before the first one the modules of servers and drivers that it has loaded, which are none.
"""

from __future__ import annotations

import asyncio
import sys

import aiki
from aiki import Run, task, workflow

FOREIGN = (
    "aiki.engine", "aiki.store", "aiki.server", "sqlite3", "asyncpg", "asyncmy", "grpc",
    "starlette", "uvicorn",
)  # fmt: skip


@task
async def hang(killed: str) -> str:
    """Ends in every process but the one that is to be killed."""
    print(f"began {aiki.task_context().run_id}", flush=True)
    if killed in sys.argv:
        await asyncio.Event().wait()
    return "done"


@workflow("hanging").version("1")
async def hanging(run: Run, killed: str) -> str:
    """One task that is in the middle of its work when its worker dies."""
    return await hang(run, killed)


async def work(url: str) -> None:
    """Work until killed; the lease is so long that only presence tells of the death."""
    async with aiki.connect(url) as client:
        worker = aiki.Worker(client, workflows=[hanging], lease_ms=600_000)
        working = asyncio.create_task(worker.run())
        loaded = [name for name in FOREIGN if name in sys.modules]
        print(f"loaded {' '.join(loaded)}", flush=True)
        await working


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
