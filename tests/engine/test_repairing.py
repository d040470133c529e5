"""Laws of an outage of the broker: what waits is announced once, by one server of all."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from aiki.clock import SystemClock
from aiki.engine.engine import EngineSettings
from aiki.errors import QueueUnavailable, StoreUnavailable
from aiki.operations.runs import StartRuns
from tests.differential.stores import each_kind, using
from tests.engine.board import Board, announced, beside, turns_until
from tests.engine.support import Ring, start_of

OFTEN = EngineSettings(daemons=False, republish_interval_ms=50, sweep_interval_ms=50)


class Clock(SystemClock):
    """More time may have passed than has."""

    passed = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.passed


async def _start(ring: Ring, count: int) -> list[str]:
    starts = StartRuns(starts=tuple(start_of() for _ in range(count)))
    return [started.id for started in await ring.call(starts)]


async def _start_while_away(ring: Ring, board: Board, count: int) -> list[str]:
    """So many runs, whose announcement was tried, and in vain."""
    board.away = True
    calls = board.calls
    runs = await _start(ring, count)
    await turns_until(lambda: board.calls > calls and not board.asking)
    return runs


@each_kind
async def test_several_servers_announce_a_backlog_once(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with using(kind):
        async with announced(path, OFTEN) as (ring, board, _), AsyncExitStack() as others:
            runs = []
            for _ in range(3):
                runs += await _start_while_away(ring, board, 1_000)
            for _ in range(2):
                await others.enter_async_context(beside(path, board, OFTEN))
            await ring.pass_time(2_000)
            board.away = False
            await turns_until(lambda: len(board.held) >= len(runs))
            calls = board.calls
            await turns_until(lambda: board.calls > calls + 20)
            assert sorted(board.runs) == sorted(runs), "each is announced, and none twice"


@each_kind
async def test_a_server_that_dies_while_it_repairs_is_followed_by_another(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiki.engine.publishing._BURST_SECONDS", 3_600.0)
    path = tmp_path / "a.db"
    with using(kind):
        async with announced(path) as (ring, board, dying), beside(path, board) as living:
            runs = await _start_while_away(ring, board, 501)
            board.away = False
            await ring.pass_time(2_000)
            repairing = asyncio.create_task(dying.repair())
            await turns_until(lambda: dying.counts.repaired == 500)
            repairing.cancel()
            assert await living.repair() == 0, "another is on duty"
            await ring.pass_time(10_000)
            assert await living.repair() == 1
            assert sorted(board.runs) == sorted(runs)


async def test_a_server_that_was_asleep_for_its_lease_goes_on_with_nothing_that_it_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    async with announced(path) as (ring, board, sleepy), beside(path, board) as other:
        runs = await _start_while_away(ring, board, 501)
        board.away = False
        await ring.pass_time(2_000)
        monkeypatch.setattr("aiki.engine.publishing._BURST_SECONDS", 0.01)
        monkeypatch.setattr(sleepy._duty, "_clock", clock := Clock())
        repairing = asyncio.create_task(sleepy.repair())
        await turns_until(lambda: board.held)
        clock.passed += 10.0
        await ring.pass_time(10_000)
        assert await repairing == 500
        await turns_until(lambda: not sleepy._noting.locked())
        assert await other.repair() == 1
        assert sorted(board.runs) == sorted(runs)


async def test_a_server_that_stops_leaves_its_duty_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with announced(path) as (ring, board, staying):
        await _start_while_away(ring, board, 1)
        await ring.pass_time(2_000)
        async with beside(path, board) as leaving:
            with pytest.raises(QueueUnavailable):
                await leaving.repair()
            board.away = False
            assert await staying.repair() == 0
        assert await staying.repair() == 1


async def test_places_that_could_not_be_noted_are_noted_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with announced(tmp_path / "a.db") as (ring, board, publishing):

        async def unavailable(work: object) -> None:
            raise StoreUnavailable

        with monkeypatch.context() as patch:
            run_id = await ring.start()
            patch.setattr(ring.store, "transact", unavailable)
            await turns_until(lambda: board.held)
            with pytest.raises(StoreUnavailable):
                await publishing.repair()
        await ring.pass_time(2_000)
        assert await publishing.repair() == 0, "it was announced, and that is not forgotten"
        assert board.runs == [run_id]


async def test_what_could_not_be_announced_at_once_is_left_to_the_repair(tmp_path: Path) -> None:
    async with announced(tmp_path / "a.db") as (ring, board, publishing):
        runs = await _start_while_away(ring, board, 1_200)
        await ring.pass_time(2_000)
        board.away = False
        while await publishing.repair():
            pass
        last = await ring.start()
        await turns_until(lambda: last in board.runs)
        assert sorted(board.runs) == sorted([*runs, last])


async def test_what_waited_for_long_is_left_to_the_repair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow broker: whoever repairs may have announced meanwhile what still waits here."""
    async with announced(tmp_path / "a.db") as (ring, board, publishing):
        board.answering.clear()
        first = await ring.start()
        await turns_until(lambda: board.asking)
        monkeypatch.setattr("aiki.engine.publishing._DIRECT_SECONDS", 0.0)
        late = await ring.start()
        board.answering.set()
        await turns_until(lambda: board.held)
        await ring.pass_time(2_000)
        assert await publishing.repair() == 1
        assert board.runs == [first, late]


async def test_a_look_for_what_is_gone_rests_between_its_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiki.engine.publishing._BURST_SECONDS", 3_600.0)
    async with announced(tmp_path / "a.db") as (ring, board, publishing):
        await _start(ring, 501)
        await turns_until(lambda: len(board.held) == 501)
        await publishing.repair()
        await ring.pass_time(60_000)
        board.held.clear()
        verifying = asyncio.create_task(publishing.verify())
        await turns_until(lambda: len(board.held) == 500)
        for _ in range(20):
            # Each takes longer than what remained to be done.
            await ring.start()
        assert board.looks == 1
        verifying.cancel()


async def test_a_broker_that_was_away_is_tried_by_one_at_a_time(tmp_path: Path) -> None:
    often = EngineSettings(daemons=False, republish_interval_ms=5, sweep_interval_ms=5)
    async with announced(tmp_path / "a.db", often) as (ring, board, publishing):
        await _start(ring, 3)
        board.away = True
        await turns_until(lambda: publishing.breaker.is_open and not board.asking)
        board.answering.clear()
        await turns_until(lambda: board.asking)
        for _ in range(50):
            await ring.start()
            assert board.asking == 1
        board.away = False
        board.answering.set()
        await turns_until(lambda: not publishing.breaker.is_open)
