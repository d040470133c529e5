"""Calls over HTTP: they share requests and sockets, and each gets its own answer or error."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest

from aiki import errors
from aiki.errors import (
    AikiError,
    Closed,
    Conflict,
    InvalidRequest,
    NotFound,
    ServiceError,
)
from aiki.ids import new_id
from aiki.operations.base import Operation
from aiki.operations.catalog import GetServerInfo, ServerInfo
from aiki.operations.runs import CancelRun, GetRun, StartRuns
from aiki.remote.http import HttpApi
from aiki.wire.calls import error_named
from tests.engine.support import claim_of, registration, start_of
from tests.remote.support import Served, Tally, api_of, happens

POOL = 16


async def test_a_thousand_calls_share_few_sockets_and_requests(api: HttpApi, proxy: Tally) -> None:
    answers = await asyncio.gather(*(api.call(GetServerInfo()) for _ in range(1_000)))
    assert all(isinstance(answer, ServerInfo) for answer in answers)
    assert proxy.requests < 10
    assert proxy.accepted <= POOL


async def test_calls_that_come_while_requests_are_under_way_leave_together(
    api: HttpApi, proxy: Tally
) -> None:
    async def in_sequence() -> None:
        for _ in range(5):
            await api.call(GetServerInfo())

    await asyncio.gather(*(in_sequence() for _ in range(100)))
    assert proxy.requests < 100
    assert proxy.accepted <= POOL


async def test_calls_in_sequence_use_one_connection(api: HttpApi, proxy: Tally) -> None:
    for _ in range(20):
        await api.call(GetServerInfo())
    assert (proxy.requests, proxy.accepted) == (20, 1)


async def test_a_bad_call_does_not_fail_its_neighbours(api: HttpApi, proxy: Tally) -> None:
    good, twice = start_of(), new_id()
    calls: list[Operation[Any]] = [
        StartRuns(starts=(good,)),
        GetRun(id="unknown"),
        CancelRun(id=new_id(), command_id=new_id(), reason="\ud800"),
        StartRuns(starts=(start_of(id=twice), start_of(id=twice, input=b"2"))),
        GetServerInfo(),
    ]
    answers = await asyncio.gather(*(api.call(each) for each in calls), return_exceptions=True)
    kinds = [type(answer) for answer in answers]
    assert kinds == [tuple, NotFound, InvalidRequest, Conflict, ServerInfo]
    assert proxy.requests == 1


async def test_what_is_too_much_for_one_message_leaves_in_several(
    proxy: Tally,
) -> None:
    api = await api_of(proxy.url, message_bytes=10_000)
    starts = [start_of(input=b"1" * 3_000) for _ in range(20)]
    await asyncio.gather(*(api.call(StartRuns(starts=(start,))) for start in starts))
    assert 7 <= proxy.requests <= 20
    await api.close()


async def test_a_server_that_takes_less_in_one_message_gets_it_in_parts(
    server: Served,
) -> None:
    """Its limit is on the message; a call that exceeds it alone says so, and no other."""
    api = await api_of(server.url)
    many = [start_of(input=b"1" * 2_000_000) for _ in range(12)]
    answers = await asyncio.gather(
        *(api.call(StartRuns(starts=(start,))) for start in many),
        api.call(StartRuns(starts=tuple(many))),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [tuple] * 12 + [errors.LimitExceeded]
    await api.close()


ANSWERED = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type)
    and issubclass(kind, AikiError)
    and kind.__init__ is AikiError.__init__
    # A server that stops says `Closed`; of what it did not expect it tells the class alone.
    and kind not in (Closed, ServiceError)
]


@pytest.mark.parametrize("kind", ANSWERED)
async def test_errors_keep_class_and_message(
    kind: type[AikiError], api: HttpApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object, operation: object, principal: object, reply: object) -> None:
        assert callable(reply)
        reply(None, kind("what was wrong, and the way out"))

    monkeypatch.setattr("aiki.engine.engine.Engine.dispatch", refuse)
    with pytest.raises(AikiError) as caught:
        await api.call(GetRun(id="a"))
    assert type(caught.value) is kind
    assert caught.value.message == "what was wrong, and the way out"
    assert type(error_named(kind.__name__, "a")) is kind


async def test_a_thousand_waits_are_answered_as_soon_as_there_is_something(
    api: HttpApi, proxy: Tally
) -> None:
    runs = [start_of() for _ in range(1_000)]
    await api.call(StartRuns(starts=tuple(runs)))
    waits = [asyncio.create_task(api.call(GetRun(id=run.id, wait_ms=60_000))) for run in runs]
    await happens(lambda: proxy.open >= 64 and proxy.requests > 64)
    await asyncio.gather(
        *(api.call(CancelRun(id=run.id, command_id=new_id())) for run in reversed(runs))
    )
    async with asyncio.timeout(10):
        answers = await asyncio.gather(*waits)
    assert {answer.run.status for answer in answers} == {"cancelled"}
    assert proxy.most <= POOL + 64


async def test_waits_beyond_the_sockets_end_in_time(proxy: Tally) -> None:
    api = await api_of(proxy.url, waiting_requests=1)
    run = start_of()
    await api.call(StartRuns(starts=(run,)))
    first = asyncio.create_task(api.call(GetRun(id=run.id, wait_ms=60_000)))
    await happens(lambda: proxy.requests == 2)
    async with asyncio.timeout(5):
        second = await api.call(GetRun(id=run.id, wait_ms=100))
    assert not second.ended
    first.cancel()
    await api.close()


async def test_a_wait_that_is_cancelled_frees_its_socket(api: HttpApi, proxy: Tally) -> None:
    run = start_of()
    await api.call(StartRuns(starts=(run,)))
    waits = [asyncio.create_task(api.call(GetRun(id=run.id, wait_ms=60_000))) for _ in range(10)]
    await happens(lambda: proxy.open == 10)
    for wait in waits:
        wait.cancel()
    await happens(lambda: proxy.open == 0)


async def test_short_calls_that_are_cancelled_make_room_for_others(proxy: Tally) -> None:
    api = await api_of(proxy.url)
    await api.call(GetServerInfo())
    proxy.black_hole()
    lost = [asyncio.create_task(api.call(GetServerInfo())) for _ in range(50)]
    await happens(lambda: proxy.requests == 1)
    for _ in range(20):
        lost.append(asyncio.create_task(api.call(GetServerInfo())))
        await asyncio.sleep(0)
    for call in lost:
        call.cancel()
    await asyncio.gather(*lost, return_exceptions=True)
    proxy.let_through()
    async with asyncio.timeout(5):
        await api.call(GetServerInfo())
    await api.close()


async def test_urgent_calls_pass_a_lane_that_is_full(proxy: Tally) -> None:
    api = await api_of(proxy.url)
    await api.call(registration())
    proxy.black_hole()
    stuck = []
    for _ in range(10):
        stuck.append(asyncio.create_task(api.call(GetServerInfo())))
        await happens(lambda: True)
    proxy.let_through()
    async with asyncio.timeout(5):
        assert (await api.call(claim_of())).runs == ()
    await asyncio.gather(*stuck)
    await api.close()


async def test_a_fork_serves_the_loop_of_another_thread(api: HttpApi) -> None:
    answers: list[ServerInfo] = []
    fork = api.fork()

    async def main() -> None:
        answers.append(await fork.call(GetServerInfo()))
        await fork.close()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert answers[0].protocol == 1
    await api.call(GetServerInfo())


async def test_closing_answers_what_is_in_flight_and_ends_what_waits(
    api: HttpApi, proxy: Tally
) -> None:
    run = start_of()
    await api.call(StartRuns(starts=(run,)))
    waiting = asyncio.create_task(api.call(GetRun(id=run.id, wait_ms=60_000)))
    await happens(lambda: proxy.requests == 2)
    short: asyncio.Task[ServerInfo] = asyncio.create_task(api.call(GetServerInfo()))
    await asyncio.sleep(0)
    await api.close()
    assert (await short).protocol == 1
    with pytest.raises(Closed):
        await waiting
    with pytest.raises(Closed):
        await api.call(GetServerInfo())
    await happens(lambda: proxy.open == 0)


async def test_a_claim_that_is_cancelled_and_withdrawn_leaves_nothing_behind(
    api: HttpApi, server: Served
) -> None:
    """A worker that stops cancels its long-poll and says that it drains: others get the run."""
    from aiki.operations.work import Heartbeat

    await api.call(registration("one"))
    claim = asyncio.create_task(api.call(claim_of("one", wait_ms=60_000)))
    await happens(lambda: len(server.engine.claims))
    claim.cancel()
    with suppress(asyncio.CancelledError):
        await claim
    await api.call(Heartbeat(incarnation="one", held=(), draining=True))
    started = await api.call(StartRuns(starts=(start_of(),)))
    await api.call(registration("two"))
    claims = await api.call(claim_of("two", wait_ms=5_000))
    assert [run.id for run in claims.runs] == [started[0].id]
