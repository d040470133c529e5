"""Laws: what is ready is announced; what is lost on the way is announced again, and no more."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from aiki.errors import InvalidRequest
from aiki.ids import new_id
from aiki.operations.catalog import ListDeadLetters
from aiki.operations.runs import StartRuns
from aiki.operations.work import Hint, RefusedMessage, RefuseMessages
from tests.engine.board import Board, announced, turns_until
from tests.engine.support import COMPLETE, VERSION, WORKFLOW, Ring, claim_of, start_of

if TYPE_CHECKING:
    import pytest


async def _told(board: Board) -> None:
    async with asyncio.timeout(10):
        await board.told.wait()
    board.told.clear()


async def test_a_start_is_announced_after_its_commit(tmp_path: Path) -> None:
    async with announced(tmp_path / "a.db") as (ring, board, _):
        run_id = await ring.start(shard="eu")
        await _told(board)
        (message,) = board.held.values()
        assert (message.run_id, message.version) == (run_id, VERSION)
        assert message.queue.key == f"workflow:{WORKFLOW}:eu"


async def test_what_a_waiting_worker_takes_at_once_is_not_announced(tmp_path: Path) -> None:
    async with announced(tmp_path / "a.db") as (ring, board, publishing):
        await ring.worker()
        waiting = asyncio.create_task(ring.claim(wait_ms=10_000))
        await turns_until(lambda: ring.engine.claims.waiting)
        await ring.start()
        assert len(await waiting) == 1
        assert publishing.counts.published == 0
        assert board.held == {}


async def test_starts_are_accepted_while_the_broker_is_away(tmp_path: Path) -> None:
    async with announced(tmp_path / "a.db") as (ring, board, publishing):
        board.away = True
        # At once, so that they are tried together: none is left for later when the board is back.
        starts = StartRuns(starts=tuple(start_of() for _ in range(3)))
        runs = [started.id for started in await ring.call(starts)]
        await turns_until(lambda: publishing.breaker.is_open)
        board.away = False
        assert await publishing.repair() == 0, "whoever made it ready still has time"
        await ring.pass_time(2_000)
        assert await publishing.repair() == 3
        assert sorted(board.runs) == sorted(runs)
        assert await publishing.repair() == 0, "each is announced once"
        assert not publishing.breaker.is_open


async def test_only_what_is_gone_is_announced_again(tmp_path: Path) -> None:
    async with announced(tmp_path / "a.db") as (ring, board, publishing):
        first, second = await ring.start(), await ring.start()
        await turns_until(lambda: len(board.held) == 2)
        assert await publishing.repair() == 0
        await ring.pass_time(60_000)
        assert await publishing.verify() == 0, "being late proves nothing"
        board.lose(first)
        assert await publishing.verify() == 1
        assert sorted(board.runs) == sorted([first, second])
        assert publishing.counts.republished == 1


async def test_a_long_queue_is_examined_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiki.engine.publishing.AT_ONCE", 2)
    monkeypatch.setattr("aiki.engine.publishing.EXAMINED", 4)
    async with announced(tmp_path / "a.db") as (ring, board, publishing):
        runs = [await ring.start() for _ in range(10)]
        await turns_until(lambda: len(board.held) == 10)
        await publishing.repair()
        await ring.pass_time(60_000)
        board.lose(runs[9])
        assert [await publishing.verify() for _ in range(3)] == [0, 0, 1]
        assert sorted(board.runs) == sorted(runs)
        # Where some are gone, all that follow are suspect.
        await ring.pass_time(60_000)
        board.held.clear()
        assert await publishing.verify() == 10
        board.one_look_proves = False
        await ring.pass_time(60_000)
        board.lose(runs[9])
        assert await publishing.verify() == 1


async def test_a_crash_between_commit_and_announcement_is_repaired(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    ring = Ring(path)
    await ring.engine.start()
    run_id = await ring.start()
    await ring.engine.stop()
    async with announced(path) as (ring, board, publishing):
        await ring.pass_time(2_000)
        assert await publishing.repair() == 1
        assert board.runs == [run_id]


async def test_messages_of_runs_that_nobody_needs_are_swept(tmp_path: Path) -> None:
    async with announced(tmp_path / "a.db") as (ring, board, publishing):
        await ring.worker()
        ids = [await ring.start() for _ in range(3)]
        await turns_until(lambda: len(board.held) == 3)
        ended = await ring.take(limit=1)
        executed = await ring.take(limit=1)
        await ring.report(ended, COMPLETE)
        assert await publishing.sweep() == 1
        assert sorted(board.runs) == sorted(set(ids) - {ended.id})
        assert executed.id in board.runs, "it is kept until its claim is over"


# Hints


def hint(run_id: str, workflow: str = WORKFLOW, shard: str = "") -> Hint:
    return Hint(run_id, workflow, VERSION, shard)


async def test_a_hint_brings_one_run_of_its_queue(ring: Ring) -> None:
    runs = [await ring.start() for _ in range(3)]
    await ring.worker()
    granted = await ring.claim(limit=10, hints=(hint(runs[0]), hint(runs[1])))
    assert [run.id for run in granted] == runs[:2]


async def test_the_best_of_the_queue_is_granted(ring: Ring) -> None:
    """A broker delivers in the order of publication; priorities hold nevertheless."""
    low = await ring.start(priority=0)
    high = await ring.start(priority=5)
    await ring.worker()
    assert [run.id for run in await ring.claim(limit=10, hints=(hint(low),))] == [high]
    assert [run.id for run in await ring.claim(limit=10, hints=(hint(high),))] == [low]


async def test_a_hint_of_a_queue_that_is_not_offered_brings_nothing(ring: Ring) -> None:
    here, there = await ring.start(), await ring.start(shard="eu")
    await ring.worker()
    assert await ring.claim(limit=10, hints=(hint(there, shard="eu"), hint(here, "other"))) == ()


async def test_a_late_hint_brings_nothing_and_is_no_forgery(ring: Ring) -> None:
    run = await ring.running()
    assert await ring.claim(limit=10, hints=(hint(run.id),)) == ()
    letters = await ring.call(ListDeadLetters())
    assert not letters


async def test_a_forged_hint_is_named_and_kept_once(ring: Ring) -> None:
    incarnation = await ring.worker(new_id())
    forged = new_id()
    for _ in range(2):
        claim = claim_of(incarnation, limit=10, hints=(hint(forged),))
        assert (await ring.call(claim)).unknown == (forged,)
    (letter,) = await ring.call(ListDeadLetters())
    assert letter.reason == "forged_message"
    assert forged in letter.detail


async def test_hints_and_waiting_exclude_each_other(ring: Ring) -> None:
    await ring.worker()
    error = await _refused_claim(ring)
    assert isinstance(error, InvalidRequest)


async def _refused_claim(ring: Ring) -> Exception:
    try:
        await ring.claim(limit=1, wait_ms=5, hints=(hint(new_id()),))
    except InvalidRequest as error:
        return error
    raise AssertionError("it was answered")


async def test_refused_messages_are_kept_once(ring: Ring) -> None:
    incarnation = await ring.worker(new_id())
    message = RefusedMessage("workflow:orders", "1-0", "it names no version", "v=1")
    for _ in range(2):
        await ring.call(RefuseMessages(incarnation=incarnation, messages=(message, message)))
    (letter,) = await ring.call(ListDeadLetters())
    assert letter.reason == "malformed_message"
    assert "it names no version" in letter.detail
