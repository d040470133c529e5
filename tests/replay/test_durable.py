"""The replay contract through a real client and worker: records, cancels, divergence, losses."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

import aiki
from aiki import Retry, Run, TaskFailed, TaskInterrupted, Workflow, event, task, workflow
from aiki.engine.daemons import recover
from aiki.ids import new_id
from aiki.model.failure import DeadLettered, Raised
from aiki.operations.runs import GetHistory, WaiveEntries
from aiki.operations.work import ClaimRuns, Offer, RegisterWorker
from aiki.worker import driver
from tests.support.app import LIMIT, App, Ledger, has_entry, holds, until

go = event("go", int)
Main = Callable[[Run], Coroutine[Any, Any, Any]]
ledger = Ledger()


@pytest.fixture(autouse=True)
def _empty_ledger() -> None:
    ledger.lines.clear()


@task
async def note(line: str) -> str:
    ledger.add(line)
    return line


@task(at_most_once=True)
async def once(line: str) -> str:
    ledger.add(line)
    await asyncio.Event().wait()
    return line


def defined(main: Callable[..., Any], version: str = "1.0.0", **options: Any) -> Workflow[[], Any]:
    """A version of one workflow, whatever its code."""
    made: Workflow[[], Any] = workflow("contract").version(version, **options)(main)
    return made


async def lost_claim(app: App, wf: Workflow[..., Any]) -> bool:
    """A worker claims a run, and is never heard of again."""
    incarnation = new_id()
    offers = (Offer(wf.name, wf.version, wf.fingerprint),)
    call = app.client.call
    await call(
        RegisterWorker(
            incarnation=incarnation, name="lost", lease_ms=1_000, workflows=(wf.spec(),), shards=()
        )
    )
    claims = await call(
        ClaimRuns(
            claim_id=new_id(), incarnation=incarnation, offers=offers, limit=1, wait_ms=0, idle=True
        )
    )
    await app.pass_time(60_000)
    await app.run_daemon(recover)
    return bool(claims.runs)


# 1. Workflows that cannot go on


async def test_a_workflow_that_waits_for_nothing_is_a_deadlock_with_its_stacks(app: App) -> None:
    async def main(run: Run) -> None:
        await asyncio.Event().wait()

    wf = defined(main)
    app.work(wf)
    handle = await wf.enqueue(app.client)
    with pytest.raises(aiki.RunFailed) as caught:
        await handle.result(timeout=LIMIT)
    failure = caught.value.failure
    assert isinstance(failure, Raised)
    assert failure.type == "WorkflowDeadlock"
    assert "asyncio.Event().wait()" in failure.traceback


async def test_a_workflow_that_spins_is_stuck_with_its_stack(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "NO_REST_SECONDS", 0.05)

    async def main(run: Run) -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    wf = defined(main)
    app.work(wf)
    handle = await wf.enqueue(app.client)
    with pytest.raises(aiki.RunFailed) as caught:
        await handle.result(timeout=LIMIT)
    failure = caught.value.failure
    assert isinstance(failure, Raised)
    assert failure.type == "WorkflowStuck"
    assert "asyncio.sleep(0)" in failure.traceback


# 3. Outside facts


async def test_a_fact_reaches_a_run_that_is_executing(app: App) -> None:
    """`gather(long_task, run.wait(ev))` sees its event while the task runs."""
    seen = asyncio.Event()

    @task
    async def long() -> str:
        await seen.wait()
        return "long"

    async def main(run: Run) -> Any:
        async def see() -> int:
            got = await run.wait(go)
            seen.set()
            return got

        return await asyncio.gather(long(run), see())

    wf = defined(main)
    app.work(wf)
    handle = await wf.enqueue(app.client)
    await handle.send(go, 7)
    assert await handle.result(timeout=LIMIT) == ["long", 7]


async def test_an_event_whose_wait_was_cancelled_stays_for_a_later_wait(app: App) -> None:
    async def main(run: Run) -> list[int]:
        with suppress(aiki.WaitTimeout):
            await run.wait(go, timeout=timedelta(milliseconds=1))
        return [await run.wait(go), await run.wait(go)]

    wf = defined(main)
    app.work(wf)
    handle = await wf.enqueue(app.client)
    await until(handle, "awaiting_event")
    await handle.send(go, 1)
    await handle.send(go, 2)
    assert sorted(await handle.result(timeout=LIMIT)) == [1, 2]


# 4. Durable before effect


async def test_a_log_line_is_never_ahead_of_its_record(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    """When the line is seen, what it follows from is in the database."""
    caplog.set_level(logging.INFO)
    found: list[int] = []

    class Look(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(len(asyncio.run_coroutine_threadsafe(look(), other).result(10)))

    async def look() -> tuple[Any, ...]:
        return (await aside.call(GetHistory(id=handle.id))).entries

    aside = (await app.client.api()).fork()
    other = asyncio.new_event_loop()
    thread = threading.Thread(target=other.run_forever)
    thread.start()
    logger = logging.getLogger("aiki.workflow.contract")
    look_handler = Look()
    logger.addHandler(look_handler)
    try:

        async def main(run: Run) -> None:
            await note(run, "a")
            run.logger.info("after a")

        wf = defined(main)
        handle = await wf.enqueue(app.client)
        app.work(wf)
        await handle.result(timeout=LIMIT)
        await app.stop()
    finally:
        logger.removeHandler(look_handler)
        asyncio.run_coroutine_threadsafe(aside.close(), other).result(10)
        other.call_soon_threadsafe(other.stop)
        thread.join()
        other.close()
    assert found
    assert set(found) == {1}


async def test_an_interrupted_at_most_once_task_raises_and_is_not_repeated(app: App) -> None:
    async def main(run: Run) -> str:
        try:
            return await once(run, "once")
        except TaskInterrupted as error:
            return type(error.failure).__name__

    wf = defined(main)
    handle = await wf.enqueue(app.client)
    worker = app.work(wf, graceful_shutdown_timeout_ms=1)
    await holds(lambda: ledger.lines)
    await app.stop(worker)
    app.work(wf)
    assert await handle.result(timeout=LIMIT) == "Interrupted"
    assert ledger.lines == ["once"]


async def test_a_run_that_keeps_losing_its_workers_is_a_dead_letter(app: App) -> None:
    async def main(run: Run) -> None:
        await note(run, "never")

    wf = defined(main)
    handle = await wf.enqueue(app.client)
    for _ in range(20):
        if not await lost_claim(app, wf):
            break
    with pytest.raises(aiki.RunDeadLettered) as caught:
        await handle.result(timeout=LIMIT)
    assert isinstance(caught.value.failure, DeadLettered)
    assert ledger.lines == []


async def test_losses_are_cleared_by_progress(app: App) -> None:
    async def main(run: Run) -> str:
        for _ in range(3):
            await run.wait(go)
        return await note(run, "done")

    wf = defined(main)
    handle = await wf.enqueue(app.client)
    for number in range(3):
        assert await lost_claim(app, wf)
        worker = app.work(wf)
        await until(handle, "awaiting_event")
        await app.stop(worker)
        await handle.send(go, number)
    app.work(wf)
    assert await handle.result(timeout=LIMIT) == "done"


# 5. Values


class Declined(Exception):
    """Of a user; the workflow never gets one."""


async def test_a_failed_task_raises_one_type_with_the_whole_story(app: App) -> None:
    @task
    async def pay() -> None:
        try:
            raise OSError("the line is dead")
        except OSError as error:
            raise Declined("no") from error

    async def main(run: Run) -> Any:
        try:
            await pay(run)
        except TaskFailed as error:
            match error.failure:
                case Raised("Declined", "no", trace, Raised(type="OSError")):
                    await run.sleep("replayed after this", timedelta(milliseconds=1))
                    return trace
        return "another failure"

    wf = defined(main)
    app.work(wf, max_resident_runs=0)
    handle = await wf.enqueue(app.client)
    assert 'raise Declined("no") from error' in await handle.result(timeout=LIMIT)


# 8. Divergence


async def before(run: Run) -> int:
    await note(run, "a")
    await note(run, "b")
    return await run.wait(go)


async def test_a_diverged_run_keeps_everything_and_new_code_takes_it_up(app: App) -> None:
    async def inserted(run: Run) -> int:
        await note(run, "a")
        await note(run, "new")
        await note(run, "b")
        return await run.wait(go)

    async def mended(run: Run) -> int:
        """Another source, and the recorded calls again."""
        await note(run, "a")
        await note(run, "b")
        return await run.wait(go) + 1

    old, new = defined(before), defined(inserted)
    handle = await old.enqueue(app.client)
    worker = app.work(old)
    await until(handle, "awaiting_event")
    await app.stop(worker)
    await handle.send(go, 1)
    worker = app.work(new)
    await until(handle, "diverged")
    history = await app.history(handle)
    assert ledger.lines == ["a", "b"]
    assert [entry.number for entry in history.entries] == [1, 2]
    assert history.divergence is not None
    assert history.divergence.left_numbers == (2,)
    assert 'line: "b" -> "new"' in history.divergence.diff
    await app.stop(worker)
    app.work(defined(mended))
    assert await handle.result(timeout=LIMIT) == 2
    assert ledger.lines == ["a", "b"]


async def test_waiving_answers_a_divergence(app: App) -> None:
    async def without(run: Run) -> int:
        await note(run, "a")
        await note(run, "c")
        return await run.wait(go)

    handle = await defined(before).enqueue(app.client)
    worker = app.work(defined(before))
    await until(handle, "awaiting_event")
    await app.stop(worker)
    await handle.send(go, 1)
    app.work(defined(without))
    await until(handle, "diverged")
    await app.client.call(WaiveEntries(id=handle.id))
    assert await handle.result(timeout=LIMIT) == 1
    assert ledger.lines == ["a", "b", "c"]


async def test_removed_answers_it_in_code(app: App) -> None:
    async def without(run: Run) -> int:
        return await run.wait(go) + len(await run.step("new", fresh))

    async def fresh() -> str:
        return "abc"

    handle = await defined(before).enqueue(app.client)
    worker = app.work(defined(before))
    await until(handle, "awaiting_event")
    await app.stop(worker)
    await handle.send(go, 1)
    app.work(defined(without, removed=["note"]))
    assert await handle.result(timeout=LIMIT) == 4


# 9. Cancellation and retries


async def started(app: App, main: Main, **options: Any) -> aiki.RunHandle[Any]:
    wf = defined(main, **options)
    app.work(wf)
    handle = await wf.enqueue(app.client)
    await until(handle, "awaiting_event")
    return handle


async def test_a_cancelled_run_cleans_up_and_ends_cancelled(app: App) -> None:
    async def main(run: Run) -> None:
        async with run.saga() as saga:
            saga.undo(note, "undo 1")
            saga.undo(note, "undo 2")
            try:
                await run.wait(go)
            finally:
                await note(run, "finally")

    handle = await started(app, main)
    await handle.cancel("enough")
    with pytest.raises(aiki.RunCancelled, match="enough"):
        await handle.result(timeout=LIMIT)
    assert ledger.lines == ["finally", "undo 2", "undo 1"]


async def test_a_run_that_catches_the_request_and_returns_is_completed(app: App) -> None:
    async def main(run: Run) -> str:
        try:
            await run.wait(go)
        except asyncio.CancelledError:
            return await note(run, "caught")
        return "not cancelled"

    handle = await started(app, main)
    await handle.cancel()
    assert await handle.result(timeout=LIMIT) == "caught"


async def stubborn(run: Run) -> None:
    try:
        await run.wait(go)
    except asyncio.CancelledError:
        await run.wait(go)


async def test_a_second_request_ends_the_run_at_once(app: App) -> None:
    handle = await started(app, stubborn)
    await handle.cancel()
    await has_entry(app, handle, "cancel")
    await handle.cancel()
    with pytest.raises(aiki.RunCancelled):
        await handle.result(timeout=LIMIT)


async def test_the_end_of_the_grace_ends_the_run(app: App) -> None:
    handle = await started(app, stubborn, cancel_grace=timedelta(seconds=5))
    await handle.cancel()
    await has_entry(app, handle, "cancel")
    await app.pass_time(5_001)
    with pytest.raises(aiki.RunCancelled):
        await handle.result(timeout=LIMIT)


async def test_a_run_never_claimed_is_cancelled_at_once(app: App) -> None:
    handle = await defined(stubborn).enqueue(app.client)
    await handle.cancel()
    assert await handle.status() == "cancelled"


async def test_a_workflows_next_attempt_has_a_memo_and_keys_of_its_own(app: App) -> None:
    seen: list[tuple[int, str, str, str]] = []

    @task
    async def keyed() -> str:
        return aiki.task_context().idempotency_key

    async def main(run: Run) -> None:
        key = await keyed(run)
        entry = (run.attempt, key, run.key("k"), str(run.uuid()))
        if entry not in seen:
            seen.append(entry)
        if run.attempt < 2:
            raise ValueError("once more")

    wf = defined(main, retry=Retry.fixed(3, timedelta(milliseconds=1)))
    app.work(wf)
    handle = await wf.enqueue(app.client)
    await handle.result(timeout=LIMIT)
    assert [attempt for attempt, *_ in seen] == [1, 2]
    for one, other in zip(*seen, strict=True):
        assert one != other
