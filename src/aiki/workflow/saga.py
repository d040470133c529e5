"""A saga: what was done is undone, in reverse, when the block does not end well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self

from aiki.errors import Evicted, UndoFailed

if TYPE_CHECKING:
    from aiki.workflow.run import Run
    from aiki.workflow.task import Task

P = ParamSpec("P")
_Failed = list[tuple[str, Exception]]
_Undo = Callable[[], Coroutine[Any, Any, Any]]


class Saga:
    """Collects compensations inside `async with run.saga()`."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._undos: list[tuple[str, _Undo]] = []

    def undo(self, step: Task[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """If the block fails or is cancelled, call this task, the last one first."""
        self._undos.append((step.name, partial(step, self._run, *args, **kwargs)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._run.evicted:
            raise Evicted
        if error is None:
            return
        failed = await _to_the_end(asyncio.create_task(self._compensate()))
        if failed:
            names = ", ".join(name for name, _ in failed)
            raise UndoFailed(f"could not undo: {names} ({failed[0][1]})") from error

    async def _compensate(self) -> _Failed:
        failed: _Failed = []
        while self._undos:
            name, undo = self._undos.pop()
            try:
                await undo()
            except Exception as error:
                failed.append((name, error))
        return failed


async def _to_the_end(work: asyncio.Task[_Failed]) -> _Failed:
    """Await it whatever happens; a cancellation meanwhile is raised once all is undone.

    A request to stop that meets a compensation must not leave half of it undone.
    """
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError as error:
            cancelled = error
    failed = work.result()
    if cancelled is not None and not failed:
        raise cancelled
    return failed
