"""The replay contract, sentence by sentence, on the execution itself: no worker and no database."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from aiki import Run, TaskFailed, event, task, workflow
from aiki.errors import Evicted, ForbiddenInWorkflow
from aiki.model.failure import Raised
from aiki.workflow.execution import Raised as RaisedOutcome
from tests.replay.holder import START, Holder

Main = Callable[[Run], Coroutine[Any, Any, Any]]
approval = event("approval", int)


@task
async def add(a: int, b: int = 1) -> int:
    return a + b


@task
async def numbers() -> list[int]:
    return [1, 2]


@task
async def pair() -> tuple[int, str]:
    return 1, "a"


@workflow("contract-child").version("1.0.0")
async def child(run: Run, n: int) -> int:
    return n


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    for holder in OPEN:
        holder.close()
    OPEN.clear()


OPEN: list[Holder] = []


def hold(main: Main, *choices: int, **options: Any) -> Holder:
    holder = Holder(main, choices, **options)
    OPEN.append(holder)
    holder.replay()
    return holder


def deliver(holder: Holder, kind: str, value: bytes | None = None, **details: Any) -> None:
    """The first live call of this kind is answered."""
    call = next(call for call in holder.execution.live.values() if call.kind == kind)
    number = len(holder.entries) + 1
    holder.now += details.pop("after", 0)
    fields = {"name": call.name, "value": value, **details}
    entry = aiki_entry(number, kind, *call.key, holder.now, **fields)
    holder.entries.append(entry)
    holder.execution.deliver(entry)
    holder.settle()
    holder.begin()


def aiki_entry(*args: Any, **fields: Any) -> Any:
    from aiki.model.task import Entry

    return Entry(*args, **fields)


def ending(main: Main) -> BaseException:
    """What a workflow raises that needs nothing from outside."""
    outcome = hold(main).execution.outcome
    assert isinstance(outcome, RaisedOutcome)
    return outcome.error


# 1. One event loop a run


async def to_thread(run: Run) -> None:
    await asyncio.to_thread(print)


async def executor(run: Run) -> None:
    await asyncio.get_running_loop().run_in_executor(None, print)


async def socket(run: Run) -> None:
    await asyncio.open_connection("127.0.0.1", 1)


async def server(run: Run) -> None:
    await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)


async def address(run: Run) -> None:
    await asyncio.get_running_loop().getaddrinfo("localhost", 1)


async def process(run: Run) -> None:
    await asyncio.create_subprocess_exec("true")


async def shell(run: Run) -> None:
    await asyncio.create_subprocess_shell("true")


async def from_thread(run: Run) -> None:
    asyncio.get_running_loop().call_soon_threadsafe(print)


async def signals(run: Run) -> None:
    asyncio.get_running_loop().add_signal_handler(1, print)


@pytest.mark.parametrize(
    "main",
    [to_thread, executor, socket, server, address, process, shell, from_thread, signals],
    ids=lambda main: str(main.__name__),
)
def test_what_cannot_be_replayed_is_refused_by_name(main: Main) -> None:
    error = ending(main)
    assert isinstance(error, ForbiddenInWorkflow)
    assert "put it in a task" in error.message


def test_as_completed_over_bare_coroutines_is_refused_with_the_fix() -> None:
    bare: list[Coroutine[Any, Any, int]] = []

    async def main(run: Run) -> None:
        bare.extend([add(run, 1), add(run, 2)])
        for each in asyncio.as_completed(bare):
            await each

    error = ending(main)
    for coroutine in bare:
        coroutine.close()
    assert isinstance(error, ForbiddenInWorkflow)
    assert "create_task" in error.message


def test_as_completed_over_tasks_replays() -> None:
    async def main(run: Run) -> list[int]:
        tasks = [asyncio.create_task(add(run, n)) for n in range(3)]
        return [await each for each in asyncio.as_completed(tasks)]

    live = hold(main, 2, 1, 0).finish()
    assert hold(main, entries=live.entries).ending == live.ending


def test_a_future_of_another_loop_is_refused() -> None:
    other = asyncio.new_event_loop()
    future = other.create_future()

    async def main(run: Run) -> None:
        await future

    assert isinstance(ending(main), ForbiddenInWorkflow)
    other.close()


def test_sets_of_tasks_iterate_alike_in_every_process() -> None:
    """Hashes come from the run and the creation number, not from addresses."""
    script = (
        "import asyncio\n"
        "from tests.replay.holder import Holder\n"
        "async def main(run):\n"
        "    async def one(n):\n"
        "        return n\n"
        "    tasks = [asyncio.create_task(one(n)) for n in range(40)]\n"
        "    done, _ = await asyncio.wait(tasks)\n"
        "    return [each.result() for each in done]\n"
        "print(Holder(main).finish().ending)\n"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", f"junk = [object() for _ in range({size})]\n{script}"],
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": str(size)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for size in (1, 5_000)
    }
    assert len(printed) == 1


def test_a_turn_runs_at_most_a_thousand_callbacks() -> None:
    async def main(run: Run) -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    holder = Holder(main)
    OPEN.append(holder)
    assert holder.execution.loop.turn() is False
    assert holder.execution.loop.turn() is False


# 2. Keys


def test_identical_calls_take_only_the_result_of_their_own_key() -> None:
    async def main(run: Run) -> list[int]:
        return list(await asyncio.gather(add(run, 1), add(run, 1)))

    live = hold(main, 1, 0).finish()
    assert [entry.ordinal for entry in live.entries] == [1, 0]
    assert hold(main, entries=live.entries).ending == live.ending == "returned [7002, 7001]"


def test_a_call_that_timed_out_and_was_repeated_has_another_key() -> None:
    async def main(run: Run) -> int:
        try:
            async with asyncio.timeout(1):
                return await add(run, 1)
        except TimeoutError:
            return await add(run, 1)

    live = hold(main)
    deliver(live, "timer", after=1_000)
    deliver(live, "task", b"5")
    assert live.entries[-1].ordinal == 1
    assert hold(main, entries=live.entries).ending == live.ending == "returned 5"


def test_a_childs_address_does_not_hold_its_version() -> None:
    other = workflow("contract-child").version("2.0.0")(child.fn)

    async def first(run: Run) -> int:
        return await child(run, 1)

    async def second(run: Run) -> Any:
        return await other(run, 1)

    live = hold(first, 0).finish()
    assert hold(second, entries=live.entries).ending == live.ending


# 3. Delivery


def test_two_results_of_one_commit_are_delivered_one_after_the_other() -> None:
    async def main(run: Run) -> int:
        tasks = [asyncio.create_task(add(run, n)) for n in range(2)]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        seen = len(done)
        await asyncio.wait(tasks)
        return seen

    live = hold(main, 0, 0).finish()
    assert hold(main, entries=live.entries).ending == live.ending == "returned 1"


def test_the_lowest_number_among_the_calls_asked_for_goes_first() -> None:
    async def together(run: Run) -> list[int]:
        return await asyncio.gather(*(add(run, n) for n in range(3)))

    async def backwards(run: Run) -> list[int]:
        return [await add(run, n) for n in (2, 1, 0)]

    live = hold(together, 0, 0, 0).finish()
    assert live.ending == "returned [7001, 7002, 7003]"
    assert hold(backwards, entries=live.entries).ending == "returned [7003, 7002, 7001]"


def test_new_calls_are_held_until_every_entry_is_delivered() -> None:
    async def recorded(run: Run) -> None:
        await add(run, 1)

    async def more(run: Run) -> None:
        await asyncio.gather(add(run, 2), add(run, 1))

    live = hold(recorded, 0).finish()
    holder = Holder(more, entries=live.entries)
    OPEN.append(holder)
    holder.settle()
    assert holder.execution.fresh == []
    assert len(holder.execution.held) == 1
    holder.replay()
    assert len(holder.tasks) == 1


# 5. Values


def test_what_a_workflow_does_to_a_result_changes_no_later_read() -> None:
    async def main(run: Run) -> list[int]:
        first = await numbers(run)
        first.append(3)
        return await numbers(run)

    live = hold(main)
    deliver(live, "task", b"[1,2]")
    deliver(live, "task", b"[1,2]")
    assert live.ending == "returned [1, 2]"


def test_a_result_has_the_type_that_the_task_declares() -> None:
    async def main(run: Run) -> tuple[int, str]:
        return await pair(run)

    live = hold(main)
    deliver(live, "task", b'[1,"a"]')
    assert live.ending == "returned (1, 'a')"


def test_a_failure_is_equal_live_and_replayed_and_no_user_class_is_made() -> None:
    seen: list[Any] = []

    async def main(run: Run) -> None:
        try:
            await add(run, 1)
        except TaskFailed as error:
            seen.append((type(error), error.failure, str(error), error.args))

    live = hold(main)
    deliver(live, "task", failure=Raised("Declined", "no", "at line 1", Raised("OSError", "x")))
    hold(main, entries=live.entries)
    assert seen[0] == seen[1]
    assert seen[0][0] is TaskFailed
    assert seen[0][1].cause == Raised("OSError", "x")


# 6. The clock


def test_the_runs_time_is_the_instant_of_the_last_delivered_entry() -> None:
    async def main(run: Run) -> list[float]:
        loop = asyncio.get_running_loop()
        times = [loop.time()]
        await add(run, 1)
        times.append(loop.time())
        assert (await run.now()).timestamp() == loop.time()
        return times

    live = hold(main)
    deliver(live, "task", b"1", after=1_234)
    assert live.ending == f"returned [{START / 1000}, {(START + 1_234) / 1000}]"
    assert hold(main, entries=live.entries).ending == live.ending


def test_a_timers_due_is_the_runs_time_plus_its_delay() -> None:
    async def main(run: Run) -> None:
        await add(run, 1)
        await run.sleep("nap", timedelta(seconds=2))

    live = hold(main)
    deliver(live, "task", b"1", after=500)
    (call,) = live.execution.live.values()
    assert call.due_at == START + 500 + 2_000


def test_arming_and_cancelling_a_timer_writes_nothing() -> None:
    async def main(run: Run) -> int:
        async with asyncio.timeout(5):
            return await add(run, 1)

    live = hold(main, 0).finish()
    assert [entry.kind for entry in live.entries] == ["task"]


# 7. Eviction


def evicted(main: Main) -> Holder:
    holder = hold(main)
    assert holder.execution.outcome is None
    holder.execution.evict()
    gc.collect()
    return holder


def test_everything_that_a_run_offers_raises_evicted_once_it_is_closed() -> None:
    raised: list[str] = []

    async def main(run: Run) -> None:
        try:
            await add(run, 1)
        finally:
            for attempt in (
                lambda: add(run, 2).send(None),
                lambda: run.sleep("a", timedelta(1)).send(None),
                lambda: run.wait(approval).send(None),
                lambda: run.now().send(None),
                lambda: run.start(child, 1).send(None),
                lambda: run.step("s", add.fn, 1).send(None),  # type: ignore[arg-type]
                run.uuid,
                run.saga,
                lambda: run.key("a"),
                lambda: loop.call_soon(print),
                lambda: loop.call_later(1, print),
                lambda: loop.create_task(add(run, 3)),
            ):
                try:
                    attempt()
                except Evicted:
                    raised.append("evicted")

    loop: Any = None

    async def outer(run: Run) -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        await main(run)

    assert evicted(outer).executed
    assert raised == ["evicted"] * 12


def test_the_sagas_undo_does_not_run_on_eviction() -> None:
    async def main(run: Run) -> None:
        async with run.saga() as saga:
            saga.undo(add, 9)
            await add(run, 1)

    holder = evicted(main)
    assert len(holder.executed) == 1
    assert holder.execution.fresh == []


async def test_user_code_that_is_closed_cannot_reach_the_workers_loop() -> None:
    """`get_running_loop()` in a `finally` must not give the loop that closes the run."""
    reached: list[str] = []

    async def leak() -> None:
        reached.append("the worker's loop")

    async def main(run: Run) -> None:
        try:
            await add(run, 1)
        finally:
            asyncio.create_task(leak())  # noqa: RUF006

    evicted(main)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert reached == []


def test_what_closing_raises_is_dropped() -> None:
    async def main(run: Run) -> None:
        try:
            await add(run, 1)
        except BaseException:
            raise RuntimeError("in the way") from None

    evicted(main)


def test_a_coroutine_that_will_not_close_is_left_behind_quietly() -> None:
    async def main(run: Run) -> None:
        while True:
            try:
                await add(run, 1)
            except GeneratorExit:
                break
        await add(run, 2)

    evicted(main)


def test_the_collector_never_closes_a_coroutine_of_a_run() -> None:
    """A task that nobody refers to waits until the run ends or is evicted."""
    closed: list[int] = []

    async def forgotten() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            closed.append(threading.get_ident())

    async def main(run: Run) -> None:
        asyncio.create_task(forgotten())  # noqa: RUF006
        await add(run, 1)

    holder = hold(main)
    gc.collect()
    assert closed == []
    holder.execution.evict()
    assert len(closed) == 1


def test_async_generators_are_closed_with_the_run() -> None:
    closed: list[str] = []

    async def main(run: Run) -> None:
        async def ticks() -> Any:
            try:
                yield 1
            finally:
                closed.append("generator")

        async for _ in ticks():
            await add(run, 1)

    evicted(main)
    assert closed == ["generator"]


def test_async_contexts_are_left_without_effect() -> None:
    async def main(run: Run) -> None:
        @asynccontextmanager
        async def locked() -> Any:
            try:
                yield
            finally:
                await add(run, 9)

        async with locked(), asyncio.Lock(), asyncio.TaskGroup() as group:
            group.create_task(add(run, 1))

    assert len(evicted(main).executed) == 1


# The run's logger


def test_the_logger_is_silent_during_replay() -> None:
    async def main(run: Run) -> None:
        run.logger.warning("begins")
        await add(run, 1)
        run.logger.warning("goes on")

    live = hold(main, 0).finish()
    assert [record.message for record in map(formatted, live.logs)] == ["begins", "goes on"]
    again = hold(main, entries=live.entries)
    assert "begins" not in [formatted(record).message for record in again.logs]


def formatted(record: logging.LogRecord) -> logging.LogRecord:
    record.message = record.getMessage()
    return record


# 9. Cancellation


def test_cancel_is_a_numbered_cancelled_error_in_the_main_coroutine() -> None:
    async def main(run: Run) -> str:
        try:
            await add(run, 1)
        except asyncio.CancelledError:
            return f"cleaned {await add(run, 2)}"
        return "not cancelled"

    live = hold(main)
    live.execution.deliver(aiki_entry(1, "cancel", "cancel", 0, START))
    live.entries.append(aiki_entry(1, "cancel", "cancel", 0, START))
    live.settle()
    live.begin()
    deliver(live, "task", b"3")
    assert live.ending == "returned cleaned 3"
    assert hold(main, entries=live.entries).ending == live.ending


def test_a_saga_undoes_everything_although_the_run_is_cancelled_meanwhile() -> None:
    async def main(run: Run) -> None:
        async with run.saga() as saga:
            saga.undo(add, 1)
            saga.undo(add, 2)
            raise ValueError("failed")

    live = hold(main)
    live.execution.deliver(aiki_entry(1, "cancel", "cancel", 0, START))
    live.entries.append(aiki_entry(1, "cancel", "cancel", 0, START))
    live.settle()
    live.begin()
    deliver(live, "task", b"3")
    deliver(live, "task", b"3")
    assert live.ending == "raised CancelledError()"
    assert len(live.executed) == 2
    assert hold(main, entries=live.entries).ending == live.ending


def test_run_names_hold_the_attempt() -> None:
    async def main(run: Run) -> tuple[str, str]:
        return run.key("a"), str(run.uuid("a"))

    first = hold(main).ending
    assert hold(main).ending == first
    assert "-1-a" in first
