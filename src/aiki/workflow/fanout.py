"""Fan-out: one call for each item, so many at a time, results in the order of the items."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from aiki.errors import InvalidRequest
from aiki.workflow.definition import Workflow
from aiki.workflow.task import Task

if TYPE_CHECKING:
    from aiki.workflow.run import Run

R = TypeVar("R")


async def fan_out(
    run: Run,
    fn: Callable[..., Coroutine[Any, Any, R]],
    items: Sequence[tuple[Any, ...]],
    concurrency: int | None,
) -> list[R]:
    """Call `fn` for each tuple of arguments; the first failure cancels the rest."""
    if not isinstance(fn, (Task, Workflow)):
        raise InvalidRequest(
            f"run.map and run.starmap take a task or a workflow, not {fn!r}; decorate it with @task"
        )
    if concurrency is not None and concurrency < 1:
        raise InvalidRequest(f"concurrency={concurrency}: at least 1, or None for no bound")
    results: dict[int, R] = {}
    places = iter(range(len(items)))

    async def lane() -> None:
        for place in places:
            results[place] = await fn(run, *items[place])

    lanes = min(len(items), concurrency or len(items))
    tasks = [asyncio.create_task(lane()) for _ in range(lanes)]
    await _all_or_first_failure(tasks)
    return [results[place] for place in range(len(items))]


async def _all_or_first_failure(tasks: list[asyncio.Task[None]]) -> None:
    if not tasks:
        return
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
