"""The run as workflow code sees it: the same live, after a crash, and on another machine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar, TypeVarTuple, Unpack, overload
from uuid import UUID

from aiki.clock import from_datetime, to_datetime
from aiki.errors import DefinitionError, Evicted, InvalidRequest, LimitExceeded, WaitTimeout
from aiki.ids import derived_id
from aiki.model import limits
from aiki.model.task import Entry
from aiki.operations.runs import StartRun
from aiki.operations.work import EventSend, StopRequest
from aiki.workflow import canonical
from aiki.workflow.calls import Call, address_of, error_of, is_storable
from aiki.workflow.codec import Codec
from aiki.workflow.definition import Workflow
from aiki.workflow.event import Event, Received
from aiki.workflow.execution import Execution
from aiki.workflow.fanout import fan_out
from aiki.workflow.logger import RunLogger
from aiki.workflow.saga import Saga
from aiki.workflow.task import Task

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
Ts = TypeVarTuple("Ts")


class RunFacts(NamedTuple):
    """What is known of a run when an execution of it begins."""

    id: str
    reference_id: str | None
    attempt: int
    workflow: str
    events: tuple[str, ...]


def _due_ms(what: str, span: timedelta) -> int:
    if not isinstance(span, timedelta):
        raise InvalidRequest(f"{what}={span!r}: give a datetime.timedelta")
    return max(0, -(-(span // timedelta(microseconds=1)) // 1000))


def _check_name(name: str) -> None:
    """A name becomes part of what is stored: one that cannot be must not get as far as a report."""
    if len(name) > limits.NAME_LENGTH or not is_storable(name):
        raise InvalidRequest(
            f"the name {name[:50]!r}: at most {limits.NAME_LENGTH} characters, and no surrogates"
        )


class Run:
    """What a workflow may ask of its run. Every method is durable, and replayed from records."""

    def __init__(
        self,
        facts: RunFacts,
        execution: Execution,
        keep_log: Callable[[logging.LogRecord], None],
    ) -> None:
        self.id: str = facts.id
        self.reference_id: str | None = facts.reference_id
        self.attempt: int = facts.attempt
        self._facts = facts
        self._execution = execution
        self._keep_log = keep_log
        self._children = 0
        self._logger: RunLogger | None = None

    @property
    def logger(self) -> logging.Logger:
        """Silent during replay; a line leaves the run once what it follows from is recorded."""
        if self._logger is None:
            name = f"aiki.workflow.{self._facts.workflow}"
            self._logger = RunLogger(name, self._execution, self._keep_log)
        return self._logger

    @property
    def evicted(self) -> bool:
        """Whether the run has left memory: nothing may be done any more."""
        return self._execution.closed

    # Names and time

    def uuid(self, name: str = "") -> UUID:
        """An id that is the same whenever this attempt is replayed; each call gives another."""
        self._alive()
        ordinal = self._execution.ordinal(f"uuid:{name}")
        return UUID(derived_id(self.id, "uuid", str(self.attempt), name, str(ordinal)))

    def key(self, name: str) -> str:
        """An idempotency key: the same for this name in this attempt of the run."""
        self._alive()
        return f"{self.id}-{self.attempt}-{name}"

    async def now(self) -> datetime:
        """The run's clock: the instant of the last thing that happened to it."""
        self._alive()
        return to_datetime(self._execution.instant)

    async def sleep(self, name: str, delay: timedelta) -> None:
        """Sleep durably: never shorter than `delay`, on whatever machine it ends."""
        _check_name(name)
        delay_ms = _due_ms("delay", delay)
        await self._sleep(f"sleep:{name}:{delay_ms}", name, self._execution.instant + delay_ms)

    async def sleep_until(self, name: str, when: datetime) -> None:
        """Sleep durably until an aware datetime."""
        _check_name(name)
        try:
            due_at = from_datetime(when)
        except ValueError as error:
            raise InvalidRequest(str(error)) from error
        await self._sleep(f"until:{name}:{due_at}", name, due_at)

    async def _sleep(self, address: str, name: str, due_at: int) -> None:
        await self._answer(self._ask("timer", address, name, due_at=due_at))

    # Events

    async def wait(self, ev: Event[T], *, timeout: timedelta | None = None) -> T:
        """Wait for an event; one that was sent earlier is taken at once.

        Raises `WaitTimeout` after `timeout`; the event is then kept for a later wait.
        """
        entry = await self._wait((ev,), timeout)
        data: T = ev.codec.decode(entry.value or b"null")
        return data

    @overload
    async def wait_any(
        self, a: Event[T1], b: Event[T2], /, *, timeout: timedelta | None = None
    ) -> Received[T1] | Received[T2]: ...
    @overload
    async def wait_any(
        self, a: Event[T1], b: Event[T2], c: Event[T3], /, *, timeout: timedelta | None = None
    ) -> Received[T1] | Received[T2] | Received[T3]: ...
    async def wait_any(self, *events: Event[Any], timeout: timedelta | None = None) -> Any:
        """Wait for the first of several events; `is_event` tells which it was."""
        entry = await self._wait(events, timeout)
        ev = next(ev for ev in events if ev.name == entry.name)
        return Received(ev.name, ev.codec.decode(entry.value or b"null"))

    async def _wait(self, events: tuple[Event[Any], ...], timeout: timedelta | None) -> Entry:
        names = tuple(ev.name for ev in events)
        declared = self._facts.events
        unknown = [name for name in names if declared and name not in declared]
        if unknown:
            raise DefinitionError(
                f"workflow {self._facts.workflow} declares {', '.join(declared)}, but waits for "
                f"{unknown[0]!r}: add it to events=[...]"
            )
        due_at, suffix = None, ""
        if timeout is not None:
            timeout_ms = _due_ms("timeout", timeout)
            due_at, suffix = self._execution.instant + timeout_ms, f":{timeout_ms}"
        address = f"wait:{'|'.join(names)}{suffix}"
        call = self._ask("event", address, "|".join(names), events=names, due_at=due_at)
        entry = await self._answer(call)
        if entry.kind == "timer":
            raise WaitTimeout(f"no {' or '.join(names)} within {timeout}")
        return entry

    # Tasks and children

    async def step(
        self, name: str, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Execute a function as a task of this name, recorded once: for what is used only here."""
        return await Task[P, R](fn, name=name)(self, *args, **kwargs)

    async def _call_task(
        self, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        arguments = task.signature.encode(args, kwargs)
        address = address_of(task.name, arguments, task.key)
        call = self._ask("task", address, task.name, arguments=arguments, details=task)
        entry = await self._answer(call)
        if entry.failure is not None:
            raise error_of(entry.failure)
        return task.signature.returns.decode(entry.value or b"null")

    async def start(
        self, wf: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> ChildHandle[R]:
        """Start a child and go on; await the handle for its result."""
        return self._start_child(wf, args, kwargs, waited=False)

    async def _call_child(
        self, wf: Workflow[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        handle = self._start_child(wf, args, kwargs, waited=True)
        try:
            return await handle
        except asyncio.CancelledError:
            if not self.evicted and handle.abandoned:
                handle.request_stop("the call was cancelled")
            raise

    def _start_child(
        self, wf: Workflow[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, waited: bool
    ) -> ChildHandle[Any]:
        if not isinstance(wf, Workflow):
            raise InvalidRequest(f"{wf!r} is not a workflow: pass what @workflow(...) made")
        self._children += 1
        if self._children > limits.CHILDREN_PER_RUN:
            raise LimitExceeded(
                f"run {self.id} starts more than {limits.CHILDREN_PER_RUN} children; "
                "let children start their own"
            )
        arguments = wf.signature.encode(args, kwargs)
        address = address_of(f"child:{wf.name}", arguments)
        call = self._ask("child", address, wf.name, arguments=arguments, waited=waited)
        child_id = derived_id(self.id, str(self.attempt), str(call.key))
        start: StartRun = wf.start_of(arguments, child_id)
        call.details = start
        return ChildHandle(self, call, child_id, wf.signature.returns)

    async def map(
        self,
        fn: Callable[[Run, T], Coroutine[Any, Any, R]],
        items: Iterable[T],
        *,
        concurrency: int | None = None,
    ) -> list[R]:
        """Call a task or a workflow for each item, `concurrency` at a time; results in order.

        The first failure cancels the calls that are left, and is raised.
        """
        return await fan_out(self, fn, [(item,) for item in items], concurrency)

    async def starmap(
        self,
        fn: Callable[[Run, Unpack[Ts]], Coroutine[Any, Any, R]],
        items: Iterable[tuple[*Ts]],
        *,
        concurrency: int | None = None,
    ) -> list[R]:
        """Like `map`, with the arguments as tuples."""
        return await fan_out(self, fn, list(items), concurrency)

    def saga(self) -> AbstractAsyncContextManager[Saga]:
        """A block whose compensations run, last first, when it fails or is cancelled."""
        self._alive()
        return Saga(self)

    # Inside

    def _alive(self) -> None:
        if self._execution.closed:
            raise Evicted
        if asyncio._get_running_loop() is not self._execution.loop:  # pyright: ignore[reportPrivateUsage]
            raise InvalidRequest(
                f"run {self.id} was used outside its workflow function; "
                "a task gets plain arguments, not the run"
            )

    def _ask(self, kind: Any, address: str, name: str, **options: Any) -> Call:
        self._alive()
        return self._execution.ask(kind, address, name, **options)

    async def _answer(self, call: Call) -> Entry:
        try:
            return await call.future
        except asyncio.CancelledError:
            if not self._execution.closed:
                self._execution.withdraw(call)
            raise

    async def _effect(self, name: str, arguments: bytes, command: object) -> None:
        """Something that leaves the run, recorded in the same transaction."""
        await self._answer(self._ask("effect", address_of(name, arguments), name, details=command))


class ChildHandle(Generic[R_co]):
    """A child that was started."""

    def __init__(self, run: Run, call: Call, id: str, returns: Codec[Any]) -> None:
        self.id = id
        self._run = run
        self._call = call
        self._returns = returns
        self._waiting = 0

    def __await__(self) -> Generator[Any, Any, R_co]:
        return self._result().__await__()

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for the child, and its end was not delivered."""
        return self._waiting == 0 and not self._call.future.done()

    async def result(self, *, timeout: timedelta | None = None) -> R_co:
        """The child's result; raises `ChildFailed`, or `WaitTimeout` after `timeout`."""
        if timeout is None:
            return await self._result()
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                return await self._result()
        except TimeoutError as error:
            raise WaitTimeout(f"child {self.id} did not end within {timeout}") from error

    async def _result(self) -> R_co:
        run, call = self._run, self._call
        run._alive()  # pyright: ignore[reportPrivateUsage]
        self._waiting += 1
        run._execution.wait_for(call)  # pyright: ignore[reportPrivateUsage]
        try:
            entry = await asyncio.shield(call.future)
        finally:
            self._waiting -= 1
            if not run.evicted and self._waiting == 0 and not call.future.done():
                call.waited = False
        if entry.failure is not None:
            raise error_of(entry.failure)
        value: R_co = self._returns.decode(entry.value or b"null")
        return value

    async def cancel(self, reason: str = "") -> None:
        """Ask the child to stop; it may clean up."""
        run = self._run
        arguments = canonical.encode([self.id, reason])
        stop = StopRequest(self._effect_id("stop", arguments), self.id, reason)
        await run._effect("cancel child", arguments, stop)  # pyright: ignore[reportPrivateUsage]

    @overload
    async def send(self, ev: Event[None], /, *, key: str | None = None) -> None: ...
    @overload
    async def send(self, ev: Event[T], /, data: T, *, key: str | None = None) -> None: ...
    async def send(self, ev: Event[Any], /, data: Any = None, *, key: str | None = None) -> None:
        """Send the child an event; one that ended takes none."""
        value = ev.codec.encode(data)
        arguments = canonical.encode([self.id, ev.name, key]) + value
        event = EventSend(self._effect_id(ev.name, arguments), self.id, ev.name, value, key)
        await self._run._effect("send", arguments, event)  # pyright: ignore[reportPrivateUsage]

    def _effect_id(self, name: str, arguments: bytes) -> str:
        execution = self._run._execution  # pyright: ignore[reportPrivateUsage]
        address = address_of(f"effect:{name}", arguments)
        ordinal = str(execution.ordinal(address))
        return derived_id(self.id, str(self._run.attempt), address, ordinal)

    def request_stop(self, reason: str) -> None:
        """Give the call up: the child is asked to stop with the next record."""
        self._call.details = StopRequest(
            derived_id(self.id, "withdrawn", str(self._run.attempt)), self.id, reason
        )
        self._run._execution.withdraw(self._call)  # pyright: ignore[reportPrivateUsage]
