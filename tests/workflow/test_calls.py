"""What a workflow can call and what an application can ask: the typed API, end to end."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import aiki
from aiki import NonRetryable, Retry, RetryAfter, Run, TaskFailed, event, is_event, task, workflow
from aiki.model.failure import ChildEnded, Raised, TimedOut
from tests.support.app import LIMIT, App, Ledger, until

TICK = timedelta(milliseconds=1)
number = event("number", int)
word = event("word", str)
ledger = Ledger()


@pytest.fixture(autouse=True)
def _empty_ledger() -> None:
    ledger.lines.clear()


@task
async def double(n: int) -> int:
    ledger.add(n)
    return 2 * n


@task
async def refuse(n: int) -> int:
    raise ValueError(f"not {n}")


@workflow("doubled").version("1.0.0", events=[number])
async def doubled(run: Run, n: int) -> int:
    if n < 0:
        raise NonRetryable("negative")
    if n == 0:
        return await run.wait(number)
    return await double(run, n)


async def result(app: App, wf: aiki.Workflow[..., Any], *args: Any, **options: Any) -> Any:
    app.work(wf, doubled, **options) if wf is not doubled else app.work(doubled, **options)
    return await (await wf.enqueue(app.client, *args)).result(timeout=LIMIT)


# Starting


async def test_enqueue_many_answers_handles_in_order(app: App) -> None:
    app.work(doubled)
    handles = await doubled.enqueue_many(app.client, [doubled.call(n) for n in range(1, 20)])
    assert [await each.result(timeout=LIMIT) for each in handles] == [2 * n for n in range(1, 20)]


async def test_a_reference_is_unique_or_returns_what_exists(app: App) -> None:
    first = await doubled.options(reference_id="r").enqueue(app.client, 1)
    with pytest.raises(aiki.Conflict):
        await doubled.options(reference_id="r").enqueue(app.client, 1)
    again = doubled.options(reference_id="r", on_conflict="return_existing")
    assert (await again.enqueue(app.client, 1)).id == first.id


async def test_a_delayed_run_begins_when_it_is_due(app: App) -> None:
    app.work(doubled)
    handle = await doubled.options(delay=timedelta(hours=1)).enqueue(app.client, 1)
    assert await handle.status() == "scheduled"
    await app.pass_time(3_600_001)
    assert await handle.result(timeout=LIMIT) == 2


async def test_a_run_that_takes_too_long_times_out(app: App) -> None:
    app.work(doubled)
    handle = await doubled.options(timeout=timedelta(hours=1)).enqueue(app.client, 0)
    await until(handle, "awaiting_event")
    await app.pass_time(3_600_001)
    with pytest.raises(aiki.RunTimedOut):
        await handle.result(timeout=LIMIT)


async def test_a_shard_is_served_by_its_workers_alone(app: App) -> None:
    app.work(doubled)
    handle = await doubled.options(shard="eu").enqueue(app.client, 1)
    assert await (await doubled.enqueue(app.client, 2)).result(timeout=LIMIT) == 4
    assert await handle.status() == "queued"
    app.work(doubled, shards=["eu"])
    assert await handle.result(timeout=LIMIT) == 2


async def test_a_higher_priority_goes_first(app: App) -> None:
    handles = [
        await doubled.options(priority=n).enqueue(app.client, n) for n in (1, 3, 2)
    ]  # fmt: skip
    app.work(doubled, max_concurrent_runs=1)
    for handle in handles:
        await handle.result(timeout=LIMIT)
    assert ledger.lines == [3, 2, 1]


async def test_a_wrong_call_is_refused_before_anything_is_sent(app: App) -> None:
    with pytest.raises(TypeError):
        await doubled.enqueue(app.client)  # type: ignore[call-arg]


# Following


async def test_a_result_that_does_not_come_in_time_raises_and_the_run_goes_on(app: App) -> None:
    handle = await doubled.enqueue(app.client, 1)
    with pytest.raises(aiki.WaitTimeout):
        await handle.result(timeout=TICK)
    app.work(doubled)
    assert await handle.result(timeout=LIMIT) == 2


async def test_watching_sees_the_end(app: App) -> None:
    app.work(doubled)
    handle = await doubled.enqueue(app.client, 1)
    statuses = [status async for status in handle.watch_status()]
    assert statuses[-1] == "completed"
    assert len(set(statuses)) == len(statuses)


# Events


async def test_an_event_sent_early_is_kept(app: App) -> None:
    handle = await doubled.enqueue(app.client, 0)
    await handle.send(number, 7)
    app.work(doubled)
    assert await handle.result(timeout=LIMIT) == 7


async def test_an_event_with_a_key_is_taken_once(app: App) -> None:
    handle = await doubled.enqueue(app.client, 0)
    await handle.send(number, 7, key="k")
    await handle.send(number, 7, key="k")
    with pytest.raises(aiki.Conflict):
        await handle.send(number, 8, key="k")


async def test_wait_any_tells_which_event_came(app: App) -> None:
    @workflow("either").version("1.0.0")
    async def either(run: Run) -> str:
        got = await run.wait_any(number, word)
        return f"number {got.data + 1}" if is_event(got, number) else f"word {got.data}"

    app.work(either)
    handle = await either.enqueue(app.client)
    await handle.send(word, "yes")
    assert await handle.result(timeout=LIMIT) == "word yes"


async def test_a_wait_ends_by_its_timeout(app: App) -> None:
    @workflow("waits").version("1.0.0")
    async def waits(run: Run) -> str:
        try:
            await run.wait(number, timeout=timedelta(hours=1))
        except aiki.WaitTimeout as error:
            return str(error)
        return "came"

    app.work(waits)
    handle = await waits.enqueue(app.client)
    await until(handle, "awaiting_event")
    await app.pass_time(3_600_001)
    assert "number" in await handle.result(timeout=LIMIT)


async def test_an_event_that_was_not_declared_is_refused(app: App) -> None:
    @workflow("declares").version("1.0.0", events=[number])
    async def declares(run: Run) -> str:
        return await run.wait(word)

    with pytest.raises(aiki.RunFailed, match=r"add it to events=\[\.\.\.\]"):
        await result(app, declares)


# Children


async def test_a_child_is_called_started_and_awaited_twice(app: App) -> None:
    @workflow("parent").version("1.0.0")
    async def parent(run: Run) -> list[int]:
        handle = await run.start(doubled, 2)
        return [await doubled(run, 1), await handle, await handle.result(timeout=LIMIT)]

    assert await result(app, parent) == [2, 4, 4]
    assert ledger.repeated == {}


async def test_a_failed_child_raises_child_failed_with_its_cause(app: App) -> None:
    @workflow("parent-of-failure").version("1.0.0")
    async def parent(run: Run) -> str:
        try:
            await doubled(run, -1)
        except aiki.ChildFailed as error:
            match error.failure:
                case ChildEnded(status="failed", cause=Raised(type=kind, message=message)):
                    return f"{kind} {message}"
        return "nothing"

    assert await result(app, parent) == "NonRetryable negative"


async def test_a_child_is_sent_events_and_cancelled(app: App) -> None:
    @workflow("teller").version("1.0.0")
    async def teller(run: Run) -> tuple[int, str]:
        told, stopped = await run.start(doubled, 0), await run.start(doubled, 0)
        await told.send(number, 5)
        await stopped.cancel("enough")
        try:
            await stopped
        except aiki.ChildFailed as error:
            return await told, error.failure.describe()
        return 0, "not cancelled"

    value, why = await result(app, teller)
    assert value == 5
    assert "cancelled" in why


async def test_cancelling_reaches_children(app: App) -> None:
    @workflow("cancelled-parent").version("1.0.0")
    async def parent(run: Run) -> int:
        return await doubled(run, 0)

    app.work(parent, doubled)
    handle = await parent.enqueue(app.client)
    await until(handle, "awaiting_child")
    await handle.cancel()
    with pytest.raises(aiki.RunCancelled):
        await handle.result(timeout=LIMIT)
    query = aiki_query(parent_id=handle.id)
    (child,) = [run async for run in app.client.runs(query)]
    assert await until(app.client.run(child.id, doubled), "cancelled") == "cancelled"


def aiki_query(**fields: Any) -> Any:
    from aiki.operations.runs import RunQuery

    return RunQuery(**fields)


# Fan-out


async def test_map_keeps_the_order_and_the_bound(app: App) -> None:
    at_once: list[int] = []
    running = 0

    @task
    async def counted(n: int) -> int:
        nonlocal running
        running += 1
        at_once.append(running)
        await asyncio.sleep(0)
        running -= 1
        return n

    @workflow("mapper").version("1.0.0")
    async def mapper(run: Run) -> list[int]:
        return await run.map(counted, range(20), concurrency=3)

    assert await result(app, mapper) == list(range(20))
    assert max(at_once) <= 3


async def test_the_first_failure_of_a_map_is_raised(app: App) -> None:
    @workflow("failing-map").version("1.0.0")
    async def mapper(run: Run) -> None:
        await run.starmap(refuse, [(n,) for n in range(3)], concurrency=1)

    with pytest.raises(aiki.RunFailed, match="not 0"):
        await result(app, mapper)


async def test_map_refuses_what_is_neither_task_nor_workflow(app: App) -> None:
    async def plain(run: Run, n: int) -> int:
        return n

    @workflow("wrong-map").version("1.0.0")
    async def mapper(run: Run) -> None:
        await run.map(plain, [1])

    with pytest.raises(aiki.RunFailed, match="decorate it with @task"):
        await result(app, mapper)


async def test_a_step_is_recorded_once(app: App) -> None:
    async def compute(n: int) -> int:
        return ledger.add("step") + n

    @workflow("stepper").version("1.0.0")
    async def stepper(run: Run) -> int:
        first = await run.step("compute", compute, 1)
        await run.sleep("a", TICK)
        return first

    assert await result(app, stepper, max_resident_runs=0) == 2


async def test_sleep_until_takes_an_aware_datetime(app: App) -> None:
    @workflow("sleeper").version("1.0.0")
    async def sleeper(run: Run) -> bool:
        await run.sleep_until("past", datetime(2020, 1, 1, tzinfo=UTC))
        try:
            await run.sleep_until("naive", datetime(2020, 1, 1))
        except aiki.InvalidRequest:
            return True
        return False

    assert await result(app, sleeper)


# Sagas


async def test_a_saga_undoes_in_reverse_and_names_what_it_could_not(app: App) -> None:
    @workflow("saga").version("1.0.0")
    async def sagas(run: Run) -> None:
        async with run.saga() as saga:
            saga.undo(double, 1)
            saga.undo(refuse, 2)
            saga.undo(double, 3)
            raise ValueError("failed")

    with pytest.raises(aiki.RunFailed, match="UndoFailed: could not undo: refuse"):
        await result(app, sagas)
    assert ledger.lines == [3, 1]


# Retries and time-outs


def failing(attempts: int, error: Exception, **options: Any) -> aiki.Task[[], int]:
    @task(**options)
    async def tried() -> int:
        assert aiki.task_context().attempt == len(ledger.lines) + 1
        if ledger.add("try") <= attempts:
            raise error
        return aiki.task_context().attempt

    return tried


async def tries(app: App, tried: aiki.Task[[], int]) -> int:
    @workflow("retrying").version("1.0.0")
    async def retrying(run: Run) -> int:
        return await tried(run)

    value: int = await result(app, retrying)
    return value


async def test_a_task_is_tried_so_often_and_no_more(app: App) -> None:
    assert await tries(app, failing(2, OSError("x"), retry=Retry.fixed(3, TICK))) == 3
    await app.stop()
    ledger.lines.clear()
    with pytest.raises(aiki.RunFailed, match="OSError: x"):
        await tries(app, failing(9, OSError("x"), retry=Retry.fixed(3, TICK)))
    assert len(ledger.lines) == 3


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (NonRetryable("x"), {}),
        (OSError("x"), {"stop_on": [OSError]}),
        (FileNotFoundError("x"), {"stop_on": [OSError]}),
        (OSError("x"), {"on": [ValueError]}),
    ],
    ids=["NonRetryable", "stop_on", "subclass", "not on"],
)
async def test_what_is_not_to_be_retried_is_tried_once(
    app: App, error: Exception, options: dict[str, Any]
) -> None:
    with pytest.raises(aiki.RunFailed):
        await tries(app, failing(9, error, retry=Retry.fixed(5, TICK, **options)))
    assert len(ledger.lines) == 1


async def test_retry_after_says_when(app: App) -> None:
    tried = failing(1, RetryAfter(timedelta(hours=1)), retry=Retry.fixed(2, TICK))

    @workflow("later").version("1.0.0")
    async def later(run: Run) -> int:
        return await tried(run)

    app.work(later)
    handle = await later.enqueue(app.client)
    await until(handle, "awaiting_retry")
    await app.pass_time(3_600_001)
    assert await handle.result(timeout=LIMIT) == 2


def test_exponential_pauses_grow_to_the_cap_within_the_jitter() -> None:
    policy = Retry.exponential(9, timedelta(seconds=1), cap=timedelta(seconds=5), jitter=0.5)
    assert [policy.delay_ms(n) for n in range(1, 6)] == [1_000, 2_000, 4_000, 5_000, 5_000]
    assert (policy.delay_ms(1, 0.5), policy.delay_ms(1, 1.5)) == (500, 1_500)
    assert policy.delay_ms(9) is None


async def test_async_and_sync_tasks_time_out(app: App) -> None:
    released = threading.Event()

    @task(timeout=TICK)
    async def waits() -> None:
        await asyncio.Event().wait()

    @task(timeout=TICK)
    def blocks() -> None:
        released.wait(10)

    @workflow("impatient").version("1.0.0")
    async def impatient(run: Run) -> list[int]:
        seen = []
        for each in (waits, blocks):
            try:
                await each(run)
            except aiki.TaskTimedOut as error:
                assert isinstance(error.failure, TimedOut)
                seen.append(error.failure.timeout_ms)
        return seen

    assert await result(app, impatient) == [1, 1]
    released.set()


async def test_sync_tasks_run_on_threads(app: App) -> None:
    @task
    def where() -> bool:
        return threading.current_thread().name.startswith("aiki-task")

    @workflow("threaded").version("1.0.0")
    async def threaded(run: Run) -> bool:
        return await where(run)

    assert await result(app, threaded)


def test_a_task_context_is_for_tasks() -> None:
    with pytest.raises(aiki.InvalidRequest):
        aiki.task_context()


async def test_a_result_that_is_too_large_fails_with_a_clear_error(app: App) -> None:
    @task
    async def huge() -> str:
        return "x" * (3 * 1024 * 1024)

    @workflow("too-large").version("1.0.0")
    async def large(run: Run) -> str:
        try:
            return await huge(run)
        except TaskFailed as error:
            return error.failure.describe()

    assert "LimitExceeded" in await result(app, large)
