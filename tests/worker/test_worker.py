"""Workers: capacity, stopping, isolation from user code, several at once, leases."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

import aiki
from aiki import Run, SimplePolling, Worker, event, task, workflow
from aiki.model import limits
from aiki.operations.work import RefusedMessage
from aiki.queue.subscriber import Ask
from tests.support.app import LIMIT, App, Ledger, app_on, holds, until
from tests.support.databases import url_of

go = event("go", int)
gates: dict[str, asyncio.Event] = {}
ledger = Ledger()
running: set[str] = set()
at_once: list[int] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    gates.clear()
    running.clear()
    ledger.lines.clear()
    at_once.clear()


@task
async def pass_gate(name: str) -> str:
    run_id = aiki.task_context().run_id
    running.add(run_id)
    at_once.append(len(running))
    ledger.add(name)
    try:
        await gates.setdefault(name, asyncio.Event()).wait()
    finally:
        running.discard(run_id)
    return name


@workflow("gated").version("1.0.0")
async def gated(run: Run, name: str) -> str:
    return await pass_gate(run, name)


@workflow("quick").version("1.0.0")
async def quick(run: Run, n: int) -> int:
    return n + 1


@workflow("quick").version("2.0.0")
async def quick_2(run: Run, n: int) -> int:
    return n + 2


def enough(lines: int) -> bool:
    """Whether so many tasks began."""
    return len(ledger.lines) >= lines


async def test_capacity_is_never_exceeded(app: App) -> None:
    app.work(gated, max_concurrent_runs=3)
    handles = await gated.enqueue_many(app.client, [gated.call(str(n)) for n in range(10)])
    for n in range(10):
        await holds(lambda: running)
        await holds(partial(enough, min(10, 3 + n)))
        gates[ledger.lines[n]].set()
    for handle in handles:
        await handle.result(timeout=LIMIT)
    assert max(at_once) == 3


async def test_stopping_lets_runs_end_that_end_in_time(app: App) -> None:
    worker = app.work(gated, graceful_shutdown_timeout_ms=20_000)
    handle = await gated.enqueue(app.client, "a")
    await holds(lambda: ledger.lines)
    worker.cancel()
    later = await gated.enqueue(app.client, "b")
    gates["a"].set()
    with suppress(asyncio.CancelledError):
        await worker
    assert await handle.status() == "completed"
    assert await later.status() == "queued"


async def test_what_does_not_end_in_time_is_released_to_others_at_once(app: App) -> None:
    """With a lease of ten minutes, and without any lost time."""
    worker = app.work(gated, graceful_shutdown_timeout_ms=1, lease_ms=600_000)
    handle = await gated.enqueue(app.client, "a")
    await holds(lambda: ledger.lines)
    await app.stop(worker)
    assert await handle.status() == "queued"
    app.work(gated)
    await holds(lambda: len(ledger.lines) == 2)
    gates["a"].set()
    assert await handle.result(timeout=LIMIT) == "a"


async def test_a_second_cancellation_ends_a_worker_at_once(app: App) -> None:
    worker = Worker(app.client, workflows=[gated], graceful_shutdown_timeout_ms=600_000)
    task = asyncio.create_task(worker.run())
    await gated.enqueue(app.client, "a")
    await holds(lambda: ledger.lines)
    task.cancel()
    await holds(lambda: worker._stopping)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=10)
    assert done


async def test_a_worker_runs_once(app: App) -> None:
    worker = Worker(app.client, workflows=[quick])
    first = asyncio.create_task(worker.run())
    await asyncio.sleep(0)
    with pytest.raises(aiki.ConfigurationError, match="runs already"):
        await worker.run()
    app.workers.append(first)


ERRORS = [
    ValueError("no"),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError(),
    StopIteration(1),
    StopAsyncIteration(),
    BaseException("base"),
    RecursionError(),
    MemoryError(),
    TimeoutError(),
    BaseExceptionGroup("several", [SystemExit(), ValueError()]),
]


@task
async def fail(n: int) -> None:
    raise ERRORS[n]


@task
def fail_in_thread(n: int) -> None:
    raise ERRORS[n]


@workflow("task-fails").version("1.0.0")
async def task_fails(run: Run, n: int) -> str:
    try:
        await fail(run, n)
    except aiki.TaskFailed as error:
        return error.failure.describe()
    return "nothing"


@workflow("thread-fails").version("1.0.0")
async def thread_fails(run: Run, n: int) -> str:
    try:
        await fail_in_thread(run, n)
    except aiki.TaskFailed as error:
        return error.failure.describe()
    return "nothing"


@workflow("workflow-fails").version("1.0.0")
async def workflow_fails(run: Run, n: int) -> str:
    await asyncio.gather(run.sleep("a", timedelta(milliseconds=1)), run.now())
    raise ERRORS[n]


@pytest.mark.parametrize("place", range(len(ERRORS)), ids=lambda n: type(ERRORS[n]).__name__)
@pytest.mark.parametrize("wf", [task_fails, thread_fails, workflow_fails], ids=lambda wf: wf.name)
async def test_no_exception_of_a_user_ends_a_worker(
    app: App, wf: aiki.Workflow[[int], str], place: int
) -> None:
    worker = app.work(wf, quick)
    handle = await wf.enqueue(app.client, place)
    if wf is workflow_fails:
        with pytest.raises(aiki.RunFailed, match=type(ERRORS[place]).__name__):
            await handle.result(timeout=LIMIT)
    else:
        assert await handle.result(timeout=LIMIT) != "nothing"
    assert await (await quick.enqueue(app.client, 1)).result(timeout=LIMIT) == 2
    assert not worker.done()


async def test_unknown_workflows_and_versions_are_never_claimed(app: App) -> None:
    app.work(quick)
    other = await quick_2.enqueue(app.client, 1)
    unknown = await gated.enqueue(app.client, "a")
    assert await (await quick.enqueue(app.client, 1)).result(timeout=LIMIT) == 2
    assert await other.status() == "queued"
    assert await unknown.status() == "queued"
    app.work(quick_2)
    assert await other.result(timeout=LIMIT) == 3


async def test_two_workers_in_one_process_share_the_work(app: App) -> None:
    app.work(gated, max_concurrent_runs=1)
    app.work(gated, max_concurrent_runs=1)
    handles = await gated.enqueue_many(app.client, [gated.call(str(n)) for n in range(2)])
    await holds(lambda: len(running) == 2)
    for gate in gates.values():
        gate.set()
    assert [await handle.result(timeout=LIMIT) for handle in handles] == ["0", "1"]


OTHER_PROCESS = """
import asyncio, sys
import aiki
from tests.worker.test_worker import quick

async def main():
    async with aiki.connect(sys.argv[1]) as client:
        worker = asyncio.create_task(aiki.Worker(client, workflows=[quick]).run())
        handle = await quick.enqueue(client, 40)
        print(await handle.result(), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        worker.cancel()
        await asyncio.wait([worker])

asyncio.run(main())
"""


async def test_two_processes_on_one_database_work_together(tmp_path: Path) -> None:
    """The other process takes what this one starts, and the news comes here."""
    path = tmp_path / "aiki.db"
    async with app_on(path) as app:
        with subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-c", OTHER_PROCESS, url_of(path)],
            env={"PYTHONPATH": ":".join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as other:
            assert other.stdout is not None
            assert await asyncio.to_thread(other.stdout.readline) == "41\n"
            handle = await quick.enqueue(app.client, 1)
            assert await handle.result(timeout=LIMIT) == 2
            other.communicate("")
        assert other.returncode == 0


async def test_work_is_taken_up_without_any_poll_delay(app: App) -> None:
    app.work(quick, subscriber=SimplePolling(poll_interval_ms=60_000))
    for n in range(5):
        handle = await quick.enqueue(app.client, n)
        assert await handle.result(timeout=timedelta(seconds=10)) == n + 1


@task
async def block(seconds: float) -> None:
    """User code that blocks the worker's loop, the first time."""
    if ledger.add("blocked") == 1:
        time.sleep(seconds)  # noqa: ASYNC251


@workflow("blocking").version("1.0.0")
async def blocking(run: Run, seconds: float) -> int:
    await block(run, seconds)
    return ledger.count("blocked")


async def test_heartbeats_go_on_while_user_code_blocks_the_loop(app: App) -> None:
    """Three leases long: nobody else takes the run."""
    app.work(blocking, lease_ms=1_000)
    handle = await blocking.enqueue(app.client, 3.0)
    assert await handle.result(timeout=LIMIT) == 1
    reasons = [each.reason for each in (await app.history(handle)).transitions]
    assert "recovered" not in reasons


async def test_a_loop_that_stalls_beyond_the_limit_loses_its_leases(app: App) -> None:
    app.work(blocking, lease_ms=1_000, stall_limit_ms=300)
    handle = await blocking.enqueue(app.client, 3.0)
    await handle.result(timeout=LIMIT)
    reasons = [each.reason for each in (await app.history(handle)).transitions]
    assert "recovered" in reasons


async def test_a_resident_run_goes_on_without_replay(app: App, resident: None) -> None:
    beginnings: list[str] = []

    @workflow("resident").version("1.0.0")
    async def stays(run: Run) -> int:
        beginnings.append(run.id)
        return await run.wait(go)

    app.work(stays)
    handle = await stays.enqueue(app.client)
    await until(handle, "awaiting_event")
    await handle.send(go, 3)
    assert await handle.result(timeout=LIMIT) == 3
    assert len(beginnings) == 1


async def test_a_subscriber_that_fails_ends_its_worker_and_leaves_nothing_behind(app: App) -> None:
    class Broken(SimplePolling):
        async def next(self, capacity: int) -> Ask:
            raise RuntimeError("mine")

    before = asyncio.all_tasks()
    with pytest.raises(RuntimeError, match="mine"):
        await Worker(app.client, workflows=[quick], subscriber=Broken()).run()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_messages_that_the_server_does_not_keep_hold_up_no_run(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    too_many = (RefusedMessage("workflow:quick", "1-0", "odd", "x"),) * (limits.BULK_ITEMS + 1)

    class Flooded(SimplePolling):
        async def next(self, capacity: int) -> Ask:
            ask = await super().next(capacity)
            return ask._replace(refused=too_many)

    handle = await quick.enqueue(app.client, 1)
    app.work(quick, subscriber=Flooded(poll_interval_ms=10))
    assert await handle.result(timeout=LIMIT) == 2
    assert "10001 messages: up to 10000" in caplog.text


@workflow("badly-named").version("1.0.0")
async def badly_named(run: Run, name: str) -> None:
    await run.sleep(name.encode().decode("unicode_escape"), timedelta(milliseconds=1))


@pytest.mark.parametrize("name", ["\\ud800", "x" * 201], ids=["surrogate", "long"])
async def test_a_name_that_cannot_be_stored_harms_no_other_run(app: App, name: str) -> None:
    app.work(badly_named, quick)
    bad = await badly_named.enqueue(app.client, name)
    with pytest.raises(aiki.RunFailed, match="InvalidRequest"):
        await bad.result(timeout=LIMIT)
    assert await (await quick.enqueue(app.client, 1)).result(timeout=LIMIT) == 2
