"""Random programs: nested tuples that one workflow function carries out, writing down what it sees.

A program is a literal, so that it can be the input of a real run: `("seq", (step, step, ...))`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

import aiki
from aiki import NonRetryable, Retry, Run, event, task, workflow

Program = tuple[Any, ...]
Trace = list[str]

go = event("go", int)
stop = event("stop", int)
EVENTS = {"go": go, "stop": stop}


class World:
    """What tasks do outside: each execution draws another number, and some of them fail."""

    def __init__(self) -> None:
        self.executed: list[tuple[str, int]] = []

    def draw(self, key: str) -> int:
        self.executed.append((key, len(self.executed)))
        return len(self.executed) - 1


world = World()
FAST = Retry.fixed(3, timedelta(milliseconds=1))


@task
async def work(n: int) -> int:
    """Identical calls get different results; every sixth execution fails."""
    drawn = world.draw(aiki.task_context().idempotency_key)
    await asyncio.sleep(0)
    if drawn % 6 == 5:
        raise NonRetryable(f"execution {drawn}")
    return 1000 + drawn


@task(retry=FAST)
async def flaky(n: int) -> int:
    """Fails at first, and is tried again."""
    drawn = world.draw(aiki.task_context().idempotency_key)
    if drawn % 2:
        raise OSError(f"execution {drawn}")
    return 2000 + drawn


@task
async def undo(n: int) -> int:
    """A compensation."""
    return world.draw(aiki.task_context().idempotency_key)


@workflow("random-child").version("1.0.0")
async def child(run: Run, n: int) -> int:
    if n == 2:
        raise NonRetryable("this child fails")
    return await work(run, n)


class Interpreter:
    """Carries a program out. `trace` holds all that workflow code can observe, in order."""

    def __init__(self, run: Run, trace: Trace) -> None:
        self.run = run
        self.trace = trace
        self.lock = asyncio.Lock()

    def saw(self, what: str, value: object = "") -> None:
        self.trace.append(f"{asyncio.get_running_loop().time():.3f} {what} {value}")

    async def do(self, step: Program) -> Any:
        act: Callable[..., Awaitable[Any]] = getattr(self, f"do_{step[0]}")
        value = await act(*step[1:])
        self.saw(step[0], value)
        return value

    def start(self, steps: Program) -> list[asyncio.Task[Any]]:
        return [asyncio.create_task(self.do(step)) for step in steps]

    async def do_task(self, n: int) -> int:
        return await work(self.run, n)

    async def do_flaky(self, n: int) -> int:
        return await flaky(self.run, n)

    async def do_seq(self, steps: Program) -> list[Any]:
        return [await self.do(step) for step in steps]

    async def do_gather(self, steps: Program) -> list[Any]:
        return await asyncio.gather(*(self.do(step) for step in steps))

    async def do_settle(self, steps: Program) -> list[str]:
        return [text(value) for value in await asyncio.gather(
            *(self.do(step) for step in steps), return_exceptions=True
        )]  # fmt: skip

    async def do_group(self, steps: Program) -> list[Any]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.do(step)) for step in steps]
        return [each.result() for each in tasks]

    async def do_race(self, steps: Program) -> list[str]:
        """The losers are cancelled; the set of winners is walked in its own order."""
        done, pending = await asyncio.wait(self.start(steps), return_when=asyncio.FIRST_COMPLETED)
        self.saw("winners", len(done))
        for loser in pending:
            loser.cancel()
        if pending:
            await asyncio.wait(pending)
        return [text(each.exception() or each.result()) for each in done]

    async def do_timeout(self, milliseconds: int, step: Program) -> Any:
        """Once more with the same arguments if it took too long."""
        try:
            async with asyncio.timeout(milliseconds / 1000):
                return await self.do(step)
        except TimeoutError:
            self.saw("again")
            return await self.do(step)

    async def do_nap(self, name: str, milliseconds: int) -> None:
        await self.run.sleep(name, timedelta(milliseconds=milliseconds))

    async def do_pause(self, milliseconds: int) -> None:
        await asyncio.sleep(milliseconds / 1000)

    async def do_wait(self, name: str, milliseconds: int | None) -> int:
        return await self.run.wait(EVENTS[name], timeout=span(milliseconds))

    async def do_any(self, milliseconds: int | None) -> tuple[str, int]:
        got = await self.run.wait_any(go, stop, timeout=span(milliseconds))
        return got.event, got.data

    async def do_child(self, n: int) -> int:
        return await child(self.run, n)

    async def do_started(self, n: int, milliseconds: int) -> tuple[int, int]:
        """Awaited with a time-out, and then twice."""
        handle = await self.run.start(child, n)
        try:
            await handle.result(timeout=span(milliseconds))
        except aiki.WaitTimeout:
            self.saw("not yet")
        return await handle, await handle

    async def do_told(self, n: int) -> None:
        """Effects: an event to a child, and a request to stop it."""
        handle = await self.run.start(child, n)
        await handle.send(go, n)
        await handle.cancel("enough")

    async def do_try(self, step: Program) -> Any:
        try:
            return await self.do(step)
        except Exception as error:
            return text(error)

    async def do_shelter(self, step: Program) -> Any:
        """Cleans up, whatever happens."""
        try:
            return await self.do(step)
        finally:
            self.saw("cleaning", await work(self.run, 9))

    async def do_raise(self) -> None:
        raise ValueError("the program says so")

    async def do_locked(self, steps: Program) -> list[Any]:
        async def one(step: Program) -> Any:
            async with self.lock:
                return await self.do(step)

        if self.lock.locked():  # within a step that holds it
            return [await self.do(step) for step in steps]
        return await asyncio.gather(*map(one, steps))

    async def do_queue(self, count: int) -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue(1)
        taken: list[int] = []

        async def produce() -> None:
            for _ in range(count):
                await queue.put(await work(self.run, 1))

        async def consume() -> None:
            taken.append(await flaky(self.run, await queue.get()))

        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            for _ in range(count):
                group.create_task(consume())
        return taken

    async def do_map(self, count: int, concurrency: int | None) -> list[int]:
        return await self.run.map(work, range(count), concurrency=concurrency)

    async def do_children(self, count: int) -> list[int]:
        return await self.run.map(child, range(count), concurrency=2)

    async def do_saga(self, step: Program) -> Any:
        async with self.run.saga() as saga:
            saga.undo(undo, 1)
            saga.undo(undo, 2)
            return await self.do(step)

    async def do_clock(self) -> tuple[str, str, str]:
        now = await self.run.now()
        return now.isoformat(), str(self.run.uuid("a"))[-6:], self.run.key("k")[-4:]


def span(milliseconds: int | None) -> timedelta | None:
    return None if milliseconds is None else timedelta(milliseconds=milliseconds)


def text(value: object) -> str:
    """A value or an error, without what differs from run to run by design."""
    if isinstance(value, BaseExceptionGroup):
        return f"group({', '.join(map(text, value.exceptions))})"
    if isinstance(value, (aiki.TaskFailed, aiki.ChildFailed)):
        return f"{type(value).__name__}: {value.failure.describe()}"
    return f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value)


async def carry_out(run: Run, program: Program, trace: Trace) -> Trace:
    """The workflow function of all random programs; its result is what it saw."""
    interpreter = Interpreter(run, trace)
    try:
        await interpreter.do(program)
    except Exception as error:
        interpreter.saw("failed", text(error))
    return trace


# What programs are made of

small = st.integers(0, 2)
delays = st.sampled_from([1, 5, 5, 10])
maybe = st.sampled_from([None, 5, 10])
leaves: st.SearchStrategy[Program] = st.one_of(
    st.tuples(st.just("task"), small),
    st.tuples(st.just("task"), st.just(0)),
    st.tuples(st.just("flaky"), small),
    st.tuples(st.just("nap"), st.sampled_from("ab"), delays),
    st.tuples(st.just("pause"), delays),
    st.tuples(st.just("wait"), st.sampled_from(["go", "stop"]), maybe),
    st.tuples(st.just("any"), maybe),
    st.tuples(st.just("child"), small),
    st.tuples(st.just("started"), small, delays),
    st.tuples(st.just("told"), small),
    st.tuples(st.just("queue"), st.integers(1, 3)),
    st.tuples(st.just("map"), st.integers(0, 3), st.sampled_from([None, 1, 2])),
    st.tuples(st.just("children"), small),
    st.just(("clock",)),
    st.just(("raise",)),
)


def compound(inner: st.SearchStrategy[Program]) -> st.SearchStrategy[Program]:
    several = st.lists(inner, min_size=1, max_size=4).map(tuple)
    names = ["seq", "seq", "gather", "settle", "group", "race", "race", "locked"]
    return st.one_of(
        st.tuples(st.sampled_from(names), several),
        st.tuples(st.just("timeout"), delays, inner),
        st.tuples(st.sampled_from(["try", "shelter", "saga"]), inner),
    )


programs: st.SearchStrategy[Program] = st.lists(
    st.recursive(leaves, compound, max_leaves=16), min_size=1, max_size=6
).map(lambda steps: ("seq", tuple(("try", step) for step in steps)))
