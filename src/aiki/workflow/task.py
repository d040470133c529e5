"""Tasks: functions with effects, executed by workers and recorded once."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    overload,
)

from aiki.errors import DefinitionError
from aiki.model import limits
from aiki.model.retry import Retry
from aiki.workflow.calls import is_storable
from aiki.workflow.signature import Signature

if TYPE_CHECKING:
    from aiki.workflow.run import Run

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Executor = Literal["thread", "loop"]


def milliseconds(what: str, span: timedelta | None) -> int | None:
    """A positive duration in milliseconds, rounded up; raises `DefinitionError`."""
    if span is None:
        return None
    if not isinstance(span, timedelta):
        raise DefinitionError(f"{what}={span!r}: give a datetime.timedelta")
    if span <= timedelta(0):
        raise DefinitionError(f"{what}={span!r}: must be positive")
    return -(-(span // timedelta(microseconds=1)) // 1000)


class Task(Generic[P, R_co]):
    """A function that a workflow may call: `await charge(run, "tok", amount)`.

    Its result, or its failure once the retry policy gives up, is recorded before anything else
    leaves the run because of it. An attempt whose worker died is repeated, unless `at_most_once`.
    """

    def __init__(
        self,
        fn: Callable[P, Any],
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        executor: Executor | None = None,
        at_most_once: bool = False,
    ) -> None:
        self.name = name or fn.__name__
        _check_name(self.name)
        self._fn = fn
        self.is_async = inspect.iscoroutinefunction(fn)
        self.executor: Executor = executor or ("loop" if self.is_async else "thread")
        self._check_executor()
        self.signature = Signature.of(fn, skip_first=False, what=f"task {self.name}")
        self.retry = retry or Retry.never()
        self.timeout_ms = milliseconds("timeout", timeout)
        self.at_most_once = at_most_once
        if at_most_once and self.retry.attempts > 1:
            raise DefinitionError(
                f"task {self.name}: at_most_once cannot be retried; leave out the retry policy"
            )
        self.key: str | None = None

    def _check_executor(self) -> None:
        if self.executor not in ("loop", "thread"):
            raise DefinitionError(
                f'task {self.name}: executor={self.executor!r}: "loop" or "thread"'
            )
        if self.is_async and self.executor != "loop":
            raise DefinitionError(
                f"task {self.name} is async: it runs on the loop; leave out executor="
            )

    @property
    def fn(self) -> Callable[P, R_co | Coroutine[Any, Any, R_co]]:
        """The function itself, for unit tests and plain calls."""
        return self._fn

    def __call__(self, run: Run, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Call the task from a workflow; await the result."""
        return run._call_task(self, args, kwargs)  # pyright: ignore[reportPrivateUsage]

    def options(
        self,
        *,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        key: str | None = None,
    ) -> Self:
        """The task with other options for this call; a `key` tells equal calls apart."""
        other = copy.copy(self)
        if retry is not None:
            other.retry = retry
        if timeout is not None:
            other.timeout_ms = milliseconds("timeout", timeout)
        if key is not None:
            other.key = key
        return other

    def __repr__(self) -> str:
        return f"<task {self.name}>"


def _check_name(name: str) -> None:
    wrong = not name or name == "<lambda>" or "#" in name or not is_storable(name)
    if wrong or len(name) > limits.NAME_LENGTH:
        raise DefinitionError(
            f"task name {name!r}: 1 to {limits.NAME_LENGTH} characters, no '#', and no lambda; "
            'give one with @task(name="...")'
        )


class _TaskDecorator(Protocol):
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...  # pyright: ignore[reportOverlappingOverload]
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Task[P, R]: ...


@overload
def task(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...  # pyright: ignore[reportOverlappingOverload]
@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *,
    name: str | None = None,
    retry: Retry = ...,
    timeout: timedelta | None = None,
    executor: Executor | None = None,
    at_most_once: bool = False,
) -> _TaskDecorator: ...
def task(fn: Any = None, /, **options: Any) -> Any:
    """Make a function a task: async on the worker's loop, sync on its threads.

    Raises `DefinitionError` if an argument or the result could not be encoded.
    """
    if fn is None:

        def decorate(function: Callable[..., Any]) -> Task[..., Any]:
            return Task(function, **options)

        return decorate
    if not callable(fn):
        raise DefinitionError(f"@task takes a function, not {fn!r}")
    made: Task[..., Any] = Task(fn)
    return made
