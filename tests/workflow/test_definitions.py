"""What cannot be defined is refused at once, with the way out."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import aiki
from aiki import DefinitionError, Retry, Run, event, task, workflow

SECOND = timedelta(seconds=1)


async def main(run: Run) -> None: ...


async def no_run() -> None: ...


def sync_main(run: Run) -> None: ...


async def connected(line: socket.socket) -> None: ...


async def plain(n: int) -> int:
    return n


def generator() -> Any:
    yield 1


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "workflow name empty": (lambda: workflow(""), "1 to 200 characters"),
    "workflow name long": (lambda: workflow("x" * 201), "1 to 200 characters"),
    "workflow name with a colon": (lambda: workflow("a:b"), "leave out"),
    "workflow name with an at": (lambda: workflow("a@b"), "leave out"),
    "workflow name with braces": (lambda: workflow("a{b}"), "leave out"),
    "workflow name with a control": (lambda: workflow("a\n"), "leave out"),
    "version empty": (lambda: workflow("a").version(""), "1 to 200 characters"),
    "workflow not async": (lambda: workflow("a").version("1")(sync_main), "async def"),  # type: ignore[arg-type]
    "workflow without run": (lambda: workflow("a").version("1")(no_run), "does not take its run"),  # type: ignore[arg-type]
    "time-out of zero": (lambda: workflow("a").version("1", timeout=timedelta(0)), "positive"),
    "time-out a number": (lambda: workflow("a").version("1", timeout=5), "timedelta"),  # type: ignore[arg-type]
    "no grace": (lambda: workflow("a").version("1", cancel_grace=timedelta(0)), "positive"),
    "conflict unknown": (
        lambda: workflow("a").version("1")(main).options(on_conflict="ignore"),  # type: ignore[arg-type]
        "return_existing",
    ),
    "task lambda": (lambda: task(lambda: 1), "no lambda"),
    "task not callable": (lambda: task(5), "takes a function"),  # type: ignore[call-overload]
    "task generator": (lambda: task(generator), "generator"),
    "task argument": (lambda: task(connected), "line"),
    "task time-out": (lambda: task(timeout=timedelta(-1))(plain), "positive"),
    "task executor": (lambda: task(executor="rocket")(plain), "executor"),  # type: ignore[call-overload]
    "async task on threads": (lambda: task(executor="thread")(plain), "runs on the loop"),
    "at most once and again": (
        lambda: task(at_most_once=True, retry=Retry.fixed(2, SECOND))(plain),
        "cannot be retried",
    ),
    "no attempts": (lambda: Retry.fixed(0, SECOND), "at least 1"),
    "negative delay": (lambda: Retry.fixed(2, -SECOND), "negative"),
    "shrinking delays": (lambda: Retry.exponential(2, SECOND, factor=0.5), "at least 1.0"),
    "jitter": (lambda: Retry.exponential(2, SECOND, jitter=2.0), "0.0 to 1.0"),
    "event name": (lambda: event(""), "1 to 200 characters"),
    "event name with a bar": (lambda: event("a|b"), "no '|'"),
    "event twice": (lambda: event("a", int, schema=int), "not both"),  # type: ignore[call-overload]
    "event payload": (lambda: event("a", socket.socket), "event a"),
}


@pytest.mark.parametrize("case", WRONG)
def test_it_is_refused_with_the_way_out(case: str) -> None:
    define, words = WRONG[case]
    with pytest.raises(DefinitionError) as caught:
        define()
    assert words in caught.value.message


def test_every_error_of_the_package_is_one_tree() -> None:
    signals = {"WaitTimeout", "NonRetryable", "RetryAfter", "Evicted"}
    errors = [
        value
        for name in aiki.__all__
        if isinstance(value := getattr(aiki, name), type) and issubclass(value, BaseException)
    ]
    assert len(errors) > 30
    for error in errors:
        assert issubclass(error, aiki.AikiError) or error.__name__ in signals
        assert error.__doc__
