"""The event loop of one run: a ready queue and timers, nothing else.

It is stepped from a plain callback of the worker's loop until nothing is ready; then the run is at
rest. Everything that could not be replayed (threads, sockets, processes) is refused by name.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import weakref
from asyncio import tasks as asyncio_tasks
from collections import deque
from collections.abc import Callable, Generator
from contextvars import Context
from types import CodeType
from typing import Any, NoReturn, Protocol, TypeVar, TypeVarTuple, Unpack

from aiki.clock import SYSTEM, Instant
from aiki.errors import Evicted, ForbiddenInWorkflow

logger = logging.getLogger("aiki.workflow")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

TURN_CALLBACKS = 1_000
TURN_SECONDS = 0.005
_CLOCK_CHECK = 16
_FEW_TASKS = 64

_ENSURE_FUTURE: frozenset[CodeType] = frozenset(
    getattr(asyncio_tasks, name).__code__
    for name in ("ensure_future", "_ensure_future")
    if hasattr(asyncio_tasks, name)
)


class RunFuture(asyncio.Future[T]):
    """A future that hashes by creation number, so that sets iterate alike in every process."""

    def __init__(self, loop: RunLoop) -> None:
        self._hash = loop.seed + loop.next_number()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._hash


class RunTask(asyncio.Task[T]):
    """A task that hashes by creation number."""

    def __init__(self, coroutine: Any, loop: RunLoop, **options: Any) -> None:
        self.number = loop.next_number()
        self._hash = loop.seed + self.number
        super().__init__(coroutine, loop=loop, **options)

    def __hash__(self) -> int:
        return self._hash


class Timers(Protocol):
    """Who keeps the timers that a run arms."""

    def arm(self, handle: asyncio.TimerHandle, delay_ms: int) -> None:
        """A timer was armed: it fires when its entry is delivered."""
        ...

    def disarm(self, handle: asyncio.TimerHandle) -> None:
        """A timer was cancelled."""
        ...


class RunLoop(asyncio.AbstractEventLoop):
    """Implements what workflow code may use of an event loop."""

    def __init__(self, timers: Timers, instant: Instant, seed: int = 0) -> None:
        self.seed = seed
        """Where hashes begin: the same for a run in every process, and another for other runs,
        because asyncio keeps the tasks of all loops in one set."""
        self.instant = instant
        """The run's clock: the instant of the last delivered entry."""
        self.closed = False
        self.tasks: set[RunTask[Any]] = set()
        """Held here until they are done: the collector must never close one."""
        self._room = _FEW_TASKS
        self.turn_started: float | None = None
        """When the current turn began, by the monotonic clock, for the watchdog."""
        self._timers = timers
        self._ready: deque[asyncio.Handle] = deque()
        self._count = 0
        self._generators: weakref.WeakSet[Any] = weakref.WeakSet()

    def next_number(self) -> int:
        """How many futures and tasks this loop has created."""
        self._count += 1
        return self._count

    # Stepping

    def turn(self) -> bool:
        """Run callbacks until nothing is ready (True) or the turn is used up (False)."""
        ready = self._ready
        if not ready:
            return True
        outer = asyncio._get_running_loop()
        hooks = sys.get_asyncgen_hooks()
        asyncio._set_running_loop(self)
        sys.set_asyncgen_hooks(self._generators.add, self._finish_generator)
        self.turn_started = started = SYSTEM.monotonic()
        try:
            for count in range(TURN_CALLBACKS):
                if not ready:
                    return True
                handle = ready.popleft()
                if not handle.cancelled():
                    handle._run()
                if count % _CLOCK_CHECK == _CLOCK_CHECK - 1:
                    if SYSTEM.monotonic() - started > TURN_SECONDS:
                        break
            return not ready
        finally:
            self.turn_started = None
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(outer)

    def evict(self) -> None:
        """Close every coroutine, here and now and in the order of creation; drop what they raise.

        Nothing of the run may be left for the garbage collector, which would run its `finally`
        blocks at a moment of its own choice.
        """
        self.closed = True
        self._ready.clear()
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self)  # so that user code finds this loop, which does nothing
        try:
            for task in sorted(self.tasks, key=lambda task: task.number):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _close(task.get_coro())
            for generator in list(self._generators):
                _close_generator(generator)
        finally:
            asyncio._set_running_loop(outer)
        self.tasks.clear()

    def _finish_generator(self, generator: Any) -> None:
        if self.closed:
            _close_generator(generator)
        else:
            self.create_task(generator.aclose())

    # What asyncio asks of a loop

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        if self.closed:
            raise Evicted
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        if self.closed:
            raise Evicted
        handle = asyncio.TimerHandle(self.time() + delay, callback, args, self, context)
        delay_ms = round(delay * 1000)
        if delay_ms <= 0:
            self._ready.append(handle)
        else:
            self._timers.arm(handle, delay_ms)
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_later(when - self.time(), callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if not self.closed:
            self._timers.disarm(handle)

    def fire(self, handle: asyncio.TimerHandle) -> None:
        """The timer's entry was delivered."""
        self._ready.append(handle)

    def time(self) -> float:
        return self.instant / 1000

    def create_future(self) -> asyncio.Future[Any]:
        return RunFuture(self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None, **options: Any
    ) -> asyncio.Task[Any]:
        if self.closed:
            _close(coro)
            raise Evicted
        caller = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        if caller.f_code in _ENSURE_FUTURE:
            _refuse_as_completed()
        task: RunTask[Any] = RunTask(coro, self, name=name, context=context, **options)
        if len(self.tasks) >= self._room:
            self.tasks = {kept for kept in self.tasks if not kept.done()}
            self._room = max(_FEW_TASKS, 2 * len(self.tasks))
        self.tasks.add(task)
        return task

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        """Workflow code cannot change how its loop works."""

    def is_running(self) -> bool:
        return not self.closed

    def is_closed(self) -> bool:
        return self.closed

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.closed:
            error = context.get("exception")
            logger.error("in workflow code: %s", context.get("message"), exc_info=error)

    default_exception_handler = call_exception_handler


def make_loop(timers: Timers, instant: Instant, seed: int) -> RunLoop:
    """A loop for one run. What it refuses is set below, which type checkers cannot see."""
    make: Any = RunLoop
    loop: RunLoop = make(timers, instant, seed)
    return loop


def _forbid(name: str) -> Callable[..., NoReturn]:
    def refuse(*args: object, **options: object) -> NoReturn:
        raise ForbiddenInWorkflow(
            f"{_FORBIDDEN[name]} cannot be replayed; put it in a task and call the task"
        )

    return refuse


_FORBIDDEN: dict[str, str] = {
    "run_in_executor": "a thread (to_thread, run_in_executor)",
    "call_soon_threadsafe": "a callback from another thread",
    "run_forever": "running the loop by hand",
    "run_until_complete": "running the loop by hand",
    "subprocess_exec": "a subprocess",
    "subprocess_shell": "a subprocess",
    "getaddrinfo": "a network address",
    "getnameinfo": "a network address",
    "add_signal_handler": "a signal handler",
    "add_reader": "a file descriptor",
    "add_writer": "a file descriptor",
    "connect_read_pipe": "a pipe",
    "connect_write_pipe": "a pipe",
    "start_tls": "a socket",
    "sendfile": "a socket",
    **{
        name: "a socket"
        for name in (
            "create_connection",
            "create_server",
            "create_datagram_endpoint",
            "create_unix_connection",
            "create_unix_server",
            "sock_accept",
            "sock_connect",
            "sock_recv",
            "sock_recv_into",
            "sock_recvfrom",
            "sock_sendall",
            "sock_sendto",
            "sock_sendfile",
            "connect_accepted_socket",
        )
    },
}


for _name in _FORBIDDEN:
    setattr(RunLoop, _name, _forbid(_name))


def _refuse_as_completed() -> None:
    """`as_completed` puts bare coroutines through a set, whose order differs between processes."""
    for depth in range(3, 7):
        try:
            code = sys._getframe(depth).f_code  # pyright: ignore[reportPrivateUsage]
        except ValueError:
            return
        if "as_completed" in code.co_qualname.lower() or "_AsCompleted" in code.co_qualname:
            raise ForbiddenInWorkflow(
                "as_completed over bare coroutines starts them in an order that cannot be "
                "replayed; make tasks first: [asyncio.create_task(c) for c in coroutines]"
            )
        if code.co_filename != asyncio_tasks.__file__:
            return


def _close(coroutine: Any) -> None:
    try:
        coroutine.close()
    except BaseException as error:
        logger.debug("dropped while a run was evicted: %r", error)


def _close_generator(generator: Any) -> None:
    closing: Generator[Any, Any, Any] = generator.aclose().__await__()
    try:
        closing.send(None)
    except BaseException as error:
        logger.debug("dropped while a run was evicted: %r", error)
