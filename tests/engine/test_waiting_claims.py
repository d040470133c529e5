"""Laws: a claim whose time ends while a transaction grants it runs is answered with these runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aiki.engine.committer import Ask
from aiki.engine.workers import SuspectWorker
from aiki.errors import StoreUnavailable
from aiki.model.audit import Principal
from aiki.operations.work import LeaveWorker, Listen
from tests.engine.support import Ring, ids_of, turns
from tests.support.databases import exact


class SlowCommits:
    """The ring's store, whose commits come when the test says so."""

    def __init__(self, ring: Ring) -> None:
        self._transact = ring.engine.store.transact
        self.decided = asyncio.Event()
        self.may_commit = asyncio.Event()
        self.loses_answers = False

    async def transact(self, work: Callable[[Any], Any]) -> Any:
        async def held(tx: Any) -> Any:
            result = await work(tx)
            self.decided.set()
            await self.may_commit.wait()
            return result

        answer = await self._transact(held)
        if self.loses_answers:
            self.loses_answers = False
            raise StoreUnavailable("the answer to COMMIT was lost")
        return answer


@asynccontextmanager
async def slow_commits(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SlowCommits]:
    slow = SlowCommits(ring)
    with monkeypatch.context() as patch:
        patch.setattr(ring.engine.store, "transact", slow.transact)
        yield slow
        slow.may_commit.set()


async def waiting_claim(ring: Ring) -> tuple[asyncio.Task[Any], Ask]:
    """A claim that found nothing and waits."""
    await ring.worker()
    claim = asyncio.create_task(ring.claim(wait_ms=60_000))
    async with asyncio.timeout(10):
        while not ring.engine.claims.waiting:  # noqa: ASYNC110 - nobody tells that it waits
            await asyncio.sleep(0.001)
    (ask,) = ring.engine.claims.waiting
    return claim, ask


async def test_a_claim_whose_time_ends_during_the_commit_has_its_run(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, ask = await waiting_claim(ring)
    async with slow_commits(ring, monkeypatch) as slow:
        start = asyncio.create_task(ring.start())
        await slow.decided.wait()
        ring.engine.claims._give_up(ask)
        slow.may_commit.set()
        assert ids_of(await claim) == [await start]


async def test_a_claim_that_is_to_look_again_during_the_commit_has_its_run_once(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, ask = await waiting_claim(ring)
    async with slow_commits(ring, monkeypatch) as slow:
        start = asyncio.create_task(ring.start())
        await slow.decided.wait()
        ring.engine.claims.resubmit(ask)
        slow.may_commit.set()
        run_id = await start
        assert ids_of(await claim) == [run_id]
    another = await ring.start()
    assert ids_of(await ring.claim()) == [another], "no claim of the past was given this one"


@exact
async def test_it_has_its_run_although_the_answer_to_the_commit_was_lost(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, ask = await waiting_claim(ring)
    async with slow_commits(ring, monkeypatch) as slow:
        start = asyncio.create_task(ring.start())
        await slow.decided.wait()
        slow.loses_answers = True
        ring.engine.claims._give_up(ask)
        slow.may_commit.set()
        with pytest.raises(StoreUnavailable):
            await start
        assert len(ids_of(await claim)) == 1


async def test_a_worker_that_leaves_during_the_commit_has_its_run(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives it back; were it told that there is none, the run would wait for a lease."""
    claim, _ = await waiting_claim(ring)
    async with slow_commits(ring, monkeypatch) as slow:
        start = asyncio.create_task(ring.start())
        await slow.decided.wait()
        ring.engine.claims.withdraw("worker-1", "default")
        slow.may_commit.set()
        assert ids_of(await claim) == [await start]


async def test_a_worker_that_leaves_during_a_commit_for_others_is_answered(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ring.worker("other")
    rival = asyncio.create_task(ring.claim("other", wait_ms=60_000))
    await turns(lambda: len(ring.engine.claims.waiting) == 1)
    await ring.worker()
    claim = asyncio.create_task(ring.claim(wait_ms=60_000))
    await turns(lambda: len(ring.engine.claims.waiting) == 2)
    async with slow_commits(ring, monkeypatch) as slow:
        start = asyncio.create_task(ring.start())
        await slow.decided.wait()
        ring.engine.claims.withdraw("worker-1", "default")
        slow.may_commit.set()
        assert ids_of(await rival) == [await start]
        assert ids_of(await claim) == []


@exact
async def test_a_worker_that_leaves_has_its_run_although_the_answer_was_lost(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, _ = await waiting_claim(ring)
    async with slow_commits(ring, monkeypatch) as slow:
        start = asyncio.create_task(ring.start())
        await slow.decided.wait()
        slow.loses_answers = True
        ring.engine.claims.withdraw("worker-1", "default")
        slow.may_commit.set()
        with pytest.raises(StoreUnavailable):
            await start
        assert len(ids_of(await claim)) == 1


async def test_a_worker_of_another_namespace_sends_nobody_away(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever knows an incarnation is not that worker."""
    withdrawn: list[str] = []
    withdraw = ring.engine.store.withdraw

    async def noted(incarnation: str) -> None:
        withdrawn.append(incarnation)
        await withdraw(incarnation)

    monkeypatch.setattr(ring.engine.store, "withdraw", noted)
    claim, _ = await waiting_claim(ring)
    stranger = ring.engine.session(Principal(namespace="theirs"))
    for operation in (
        LeaveWorker(incarnation="worker-1"),
        SuspectWorker(incarnation="worker-1", presence=99),
    ):
        await stranger.call(operation)
    assert len(ring.engine.claims.waiting) == 1
    run_id = await ring.start()
    assert ids_of(await claim) == [run_id]
    assert withdrawn == []
    await ring.call(LeaveWorker(incarnation="worker-1"))
    await turns(lambda: withdrawn == ["worker-1"])


async def test_a_worker_that_leaves_is_answered_although_a_run_comes_for_it_then(
    ring: Ring,
) -> None:
    claim, ask = await waiting_claim(ring)
    ring.engine.claims.withdraw("worker-1", "default")
    ring.engine.claims.resubmit(ask)
    async with asyncio.timeout(10):
        assert ids_of(await claim) == []


async def test_whoever_listens_for_a_worker_that_leaves_is_answered(ring: Ring) -> None:
    await ring.worker()
    cursor = 7
    ring.engine.news._cursors["worker-1"] = cursor
    listen = Listen(incarnation="worker-1", cursor=cursor, wait_ms=60_000)
    listening = asyncio.create_task(ring.api.call(listen))
    await turns(lambda: len(ring.engine.news) == 1)
    await ring.call(LeaveWorker(incarnation="worker-1"))
    async with asyncio.timeout(10):
        assert (await listening).cursor != cursor


async def test_a_claim_for_which_nothing_comes_ends_when_its_time_does(ring: Ring) -> None:
    claim, ask = await waiting_claim(ring)
    ring.engine.claims._give_up(ask)
    assert ids_of(await claim) == []
    assert ring.engine.claims.waiting == []
