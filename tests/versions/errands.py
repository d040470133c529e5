"""A workflow that uses what the wire has: a task that is retried, an event, a timer, a child."""

from __future__ import annotations

from datetime import timedelta

from aiki import Retry, Run, event, task, task_context, workflow

go = event("go", int)


@task(retry=Retry.fixed(3, timedelta(milliseconds=1)))
async def double(number: int) -> int:
    """Fails once."""
    if task_context().attempt == 1:
        raise ValueError("not yet")
    return number * 2


@workflow("versions-leg").version("1")
async def leg(run: Run, number: int) -> int:
    """A child."""
    return await double(run, number)


@workflow("versions-errand").version("1", events=[go])
async def errand(run: Run, number: int) -> int:
    """Ends with `2 * number`, the event, and `2 * number` of its child."""
    first = await double(run, number)
    await run.sleep("a moment", timedelta(milliseconds=2))
    return first + await run.wait(go) + await leg(run, number)
