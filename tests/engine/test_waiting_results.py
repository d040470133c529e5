"""Calls that wait for a run: who starts one and waits costs no look at the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aiki.errors import NotFound
from aiki.model.audit import Principal
from aiki.model.run import RunResult
from aiki.operations.runs import GetRun
from aiki.store.records import ALL_NEWS
from tests.engine.support import COMPLETE, Ring


@pytest.fixture
async def other(ring: Ring) -> AsyncIterator[Ring]:
    """A second engine on the same database."""
    ring = Ring(ring.path)
    await ring.engine.start()
    yield ring
    await ring.engine.stop()


async def _waiting(ring: Ring, run_id: str) -> asyncio.Task[RunResult]:
    """A call that has begun to wait, and to look if it looks at all."""
    task = asyncio.create_task(ring.api.call(GetRun(id=run_id, wait_ms=30_000)))
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def test_who_waits_for_what_was_just_started_looks_nowhere(ring: Ring) -> None:
    run = await ring.running()
    before = ring.store.statements_executed
    waiting = await _waiting(ring, run.id)
    assert ring.store.statements_executed == before
    await ring.report(run, COMPLETE)
    async with asyncio.timeout(5):
        assert (await waiting).ended


async def test_who_waits_for_what_another_process_ended_is_answered(
    ring: Ring, other: Ring
) -> None:
    """The news may come before the call."""
    run = await ring.running()
    await other.report(run, COMPLETE)
    await ring.engine.refresh(ALL_NEWS)
    async with asyncio.timeout(5):
        assert (await (await _waiting(ring, run.id))).ended


async def test_who_waits_while_another_process_ends_it_is_answered_with_the_news(
    ring: Ring, other: Ring
) -> None:
    run = await ring.running()
    await other.report(run, COMPLETE)
    waiting = await _waiting(ring, run.id)
    await ring.engine.refresh(ALL_NEWS)
    async with asyncio.timeout(5):
        assert (await waiting).ended


async def test_the_news_may_come_before_the_answer_to_the_commit(
    ring: Ring, other: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a batch has left unfinished may have ended by the time that it is known to be stored."""
    transact = ring.engine.store.transact
    stored, may_answer = asyncio.Event(), asyncio.Event()

    async def slow_to_answer(work: Any) -> Any:
        answer = await transact(work)
        stored.set()
        await may_answer.wait()
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(ring.engine.store, "transact", slow_to_answer)
        start = asyncio.create_task(ring.start())
        await stored.wait()
        await other.worker()
        run = await other.take()
        await other.report(run, COMPLETE)
        await ring.engine.refresh(ALL_NEWS)
        may_answer.set()
        assert await start == run.id
    async with asyncio.timeout(5):
        assert (await (await _waiting(ring, run.id))).ended


async def test_what_was_started_long_ago_is_looked_at(
    ring: Ring, other: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await ring.running()
    await other.report(run, COMPLETE)
    monkeypatch.setattr("aiki.engine.watchers._FRESH_SECONDS", 0.0)
    async with asyncio.timeout(5):
        assert (await (await _waiting(ring, run.id))).ended


async def test_what_ended_here_is_answered_at_once(ring: Ring) -> None:
    run = await ring.running()
    await ring.report(run, COMPLETE)
    async with asyncio.timeout(5):
        assert (await (await _waiting(ring, run.id))).ended


async def test_what_another_namespace_has_just_started_is_not_found(ring: Ring) -> None:
    run = await ring.running()
    stranger = ring.engine.session(Principal(namespace="other"))
    async with asyncio.timeout(5):
        with pytest.raises(NotFound):
            await stranger.call(GetRun(id=run.id, wait_ms=30_000))
