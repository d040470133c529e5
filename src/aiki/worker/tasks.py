"""Task execution: one attempt on the worker's loop or on a thread, with its time-out."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol

from aiki.clock import Instant
from aiki.errors import PayloadError
from aiki.model.failure import Failure, TimedOut, raised
from aiki.model.task import Key
from aiki.workflow.context import TaskContext, enter
from aiki.workflow.task import Task


class Attempt:
    """One execution of a task, as long as it is in flight."""

    __slots__ = (
        "arguments",
        "context",
        "error",
        "key",
        "number",
        "reported",
        "started_at",
        "task",
        "work",
    )

    def __init__(
        self, task: Task[..., Any], key: Key, arguments: bytes, number: int, context: TaskContext
    ) -> None:
        self.task = task
        self.key = key
        self.arguments = arguments
        self.number = number
        self.context = context
        self.started_at: Instant = 0
        self.reported = False
        """Whether its start is on record, or on its way there."""
        self.error: BaseException | None = None
        """What the user's code raised, for the retry policy."""
        self.work: asyncio.Task[bytes | Failure] | None = None

    def cancel(self) -> None:
        """Nobody waits for the result any more."""
        self.context.cancelled = True
        if self.work is not None:
            self.work.cancel()


class TaskRunner(Protocol):
    """How task functions are called."""

    async def ready(self) -> None:
        """Return when the function can be entered at once: a time-out begins only then."""
        ...

    async def run(self, task: Task[..., Any], arguments: bytes, context: TaskContext) -> Any:
        """Decode the arguments, call the function, and answer its value."""
        ...


class LoopRunner:
    """Async functions, on the worker's own loop."""

    async def ready(self) -> None:
        """The loop is always there."""

    async def run(self, task: Task[..., Any], arguments: bytes, context: TaskContext) -> Any:
        enter(context)
        args, kwargs = task.signature.decode(arguments)
        value: Any = task.fn(*args, **kwargs)
        return await value


class ThreadRunner:
    """Sync functions, on threads. A thread cannot be stopped: it learns by `context.cancelled`."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="aiki-task")
        self._free = asyncio.Semaphore(threads)

    async def ready(self) -> None:
        """Take a thread; it is free again when the function has ended, not when it timed out."""
        await self._free.acquire()

    async def run(self, task: Task[..., Any], arguments: bytes, context: TaskContext) -> Any:
        def call() -> Any:
            enter(context)
            args, kwargs = task.signature.decode(arguments)
            try:
                return task.fn(*args, **kwargs)
            except StopIteration as error:
                # No future can carry it; a coroutine that raises it gets this error as well.
                raise RuntimeError(f"task {task.name} raised StopIteration") from error

        loop = asyncio.get_running_loop()

        def free(_: Future[Any]) -> None:
            # A thread may outlive its worker's loop; then nobody waits for its place.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._free.release)

        running = self._threads.submit(contextvars.copy_context().run, call)
        running.add_done_callback(free)
        return await asyncio.wrap_future(running)

    def close(self) -> None:
        """Take no more work; what runs is left to end."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Attempts:
    """Starts attempts, and hands their results to whoever asked."""

    def __init__(self, threads: int) -> None:
        self._thread_runner = ThreadRunner(threads)
        self._runners: dict[str, TaskRunner] = {
            "loop": LoopRunner(),
            "thread": self._thread_runner,
        }

    def start(self, attempt: Attempt, done: Callable[[Attempt, bytes | Failure], None]) -> None:
        """Begin; `done` is called from a plain callback, unless the attempt is cancelled."""

        def finished(work: asyncio.Task[bytes | Failure]) -> None:
            if not work.cancelled():
                done(attempt, work.result())

        work = asyncio.get_running_loop().create_task(self._execute(attempt))
        attempt.work = work
        work.add_done_callback(finished)

    async def _execute(self, attempt: Attempt) -> bytes | Failure:
        task = attempt.task
        runner = self._runners[task.executor]
        limit: asyncio.Timeout | None = None
        try:
            await runner.ready()
            if task.timeout_ms is not None:
                limit = asyncio.timeout(task.timeout_ms / 1000)
            if limit is None:
                value = await runner.run(task, attempt.arguments, attempt.context)
            else:
                async with limit:
                    value = await runner.run(task, attempt.arguments, attempt.context)
            return task.signature.returns.encode(value)
        except asyncio.CancelledError as error:
            if attempt.context.cancelled:
                raise
            return self._failed(attempt, error)
        except TimeoutError as error:
            if limit is not None and task.timeout_ms is not None and limit.expired():
                attempt.context.cancelled = True
                attempt.error = error
                return TimedOut(task.timeout_ms, f"task {task.name}")
            return self._failed(attempt, error)
        except BaseException as error:
            return self._failed(attempt, error)

    def _failed(self, attempt: Attempt, error: BaseException) -> Failure:
        attempt.error = error
        failure = raised(error)
        if isinstance(error, PayloadError):
            attempt.error = None
        return failure

    def close(self) -> None:
        """Take no more work."""
        self._thread_runner.close()
