"""Laws of a worker's session: what is pushed, what is bounded, and what its end means."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc import StatusCode

from aiki.ids import new_id
from aiki.model.task import Wait
from aiki.operations.catalog import ListWorkers
from aiki.operations.runs import CancelRun, GetRun, SendEvent, TerminateRun
from aiki.operations.work import (
    ClaimedRun,
    Completed,
    Ending,
    Heartbeat,
    HeartbeatAnswer,
    Holding,
    LeaveWorker,
    Parked,
    Report,
    Reported,
    RunReport,
)
from aiki.wire.proto.session import Credits, Drain, Left, Refusal
from tests.grpc.support import Caller, RawSession, Served, claim_of, holds, registration, served

SUSPECT_MS = 1_000
"""Longer than a suspect worker is waited for, shorter than any lease."""


@pytest.fixture
async def caller(server: Served) -> AsyncIterator[Caller]:
    async with Caller(server) as caller:
        yield caller


def report_of(run: ClaimedRun, ending: Ending | None = None) -> Report:
    """With an empty incarnation: that of the session."""
    command_id = None if ending is None else new_id()
    one = RunReport(
        run_id=run.id, epoch=run.epoch, attempt=run.attempt, ending=ending, command_id=command_id
    )
    return Report(incarnation="", reports=(one,))


async def ready(caller: Caller, presence: int = 0, incarnation: str | None = None) -> RawSession:
    session = RawSession(caller, incarnation)
    await session.hello(presence)
    return session


async def waiting(session: RawSession, server: Served, **fields: object) -> int:
    """Credits that wait at the server; answers their number."""
    before = len(server.engine.claims)
    number = await session.send(Credits(**{"limit": 1, **fields}))  # type: ignore[arg-type]
    await holds(lambda: len(server.engine.claims) == before + 1)
    return number


async def test_hello_registers_the_worker(server: Served, caller: Caller) -> None:
    session = RawSession(caller)
    welcome = await session.hello(presence=7)
    assert welcome.presence == 7 and welcome.now > 0
    (worker,) = await server.call(ListWorkers())
    assert (worker.incarnation, worker.status) == (session.incarnation, "alive")


async def test_a_run_is_pushed_as_soon_as_it_is_ready(server: Served, caller: Caller) -> None:
    session = await ready(caller)
    number = await waiting(session, server)
    run_id = await server.start()
    (run,) = (await session.answer(number)).runs
    assert run.id == run_id
    outcome = await session.ask(report_of(run, Completed(b"1")))
    assert isinstance(outcome, Reported) and outcome.outcomes[0].verdict == "recorded"
    assert (await server.call(GetRun(id=run_id))).output == b"1"


async def test_credits_are_never_exceeded_and_stand_until_they_are_used(
    server: Served, caller: Caller
) -> None:
    session = await ready(caller)
    number = await waiting(session, server, limit=2)
    # The server looks anew when the claim's time is over, and the credits still stand.
    server.engine.claims.withdraw(session.incarnation)
    await holds(lambda: len(server.engine.claims) == 1)
    for _ in range(5):
        await server.start()
    first = (await session.answer(number)).runs
    assert 1 <= len(first) <= 2
    second = await session.take(limit=2)
    third = await session.take(limit=1)
    assert len(second) == 2 and len(third) == 1
    given = [run.id for run in (*first, *second, *third)]
    assert len(set(given)) == len(given)


async def test_credits_with_a_wait_are_answered_when_it_is_over(
    server: Served, caller: Caller
) -> None:
    session = await ready(caller)
    assert await session.take(wait_ms=0) == ()


async def test_repeated_credits_get_the_same_runs(server: Served, caller: Caller) -> None:
    await server.start()
    session = await ready(caller)
    first = await session.take(claim_id="claim-1")
    session.cut()
    again = await ready(caller, incarnation=session.incarnation)
    assert [run.id for run in await again.take(claim_id="claim-1")] == [first[0].id]


async def test_more_credits_than_may_be_open_are_refused(tmp_path: Path) -> None:
    async with served(tmp_path / "a.db", session_credits=2) as server, Caller(server) as caller:
        session = await ready(caller)
        await waiting(session, server)
        number = await waiting(session, server)
        refusal = await session.ask(Credits(limit=1))
        assert isinstance(refusal, Refusal) and refusal.error == "LimitExceeded"
        await server.start()
        await server.start()
        assert (await session.answer(number)).runs


async def test_requests_beyond_the_room_are_read_later(tmp_path: Path) -> None:
    async with served(tmp_path / "a.db", session_requests=1, session_queue=1) as server:
        async with Caller(server) as caller:
            session = await ready(caller)
            beat = Heartbeat(incarnation="", held=())
            numbers = [await session.send(beat) for _ in range(50)]
            for number in numbers:
                assert isinstance(await session.answer(number), HeartbeatAnswer)


async def test_a_request_to_stop_is_pushed(server: Served, caller: Caller) -> None:
    run_id = await server.start()
    session = await ready(caller)
    await session.take()
    await server.call(CancelRun(id=run_id, command_id=new_id(), reason="enough"))
    news = await session.news(lambda news: news.facts)
    assert [(fact.run_id, fact.kind) for fact in news.facts] == [(run_id, "cancel")]


async def test_an_event_is_pushed(server: Served, caller: Caller) -> None:
    run_id = await server.start()
    session = await ready(caller)
    await session.take()
    await server.call(SendEvent(id=new_id(), run_id=run_id, name="paid", value=b"3"))
    news = await session.news(lambda news: news.facts)
    assert [(fact.name, fact.value) for fact in news.facts] == [("paid", b"3")]


async def test_a_claim_that_was_lost_is_told(server: Served, caller: Caller) -> None:
    run_id = await server.start()
    session = await ready(caller)
    (run,) = await session.take()
    before = await session.news(lambda news: True)
    await server.call(TerminateRun(id=run_id, command_id=new_id()))
    await session.news(lambda news: news.cursor > before.cursor and not news.held)
    answer = await session.ask(Heartbeat(incarnation="", held=(Holding(run_id, run.epoch),)))
    assert answer.lost == (Holding(run_id, run.epoch),)
    outcome = await session.ask(report_of(run, Completed(b"1")))
    assert outcome.outcomes[0].verdict == "claim_lost"


async def test_a_refused_request_ends_nothing(server: Served, caller: Caller) -> None:
    session = await ready(caller)
    refusal = await session.ask(Credits(limit=0))
    assert isinstance(refusal, Refusal) and refusal.error == "InvalidRequest"
    other = await session.ask(Heartbeat(incarnation="somebody else", held=()))
    assert isinstance(other, Refusal) and "not of somebody else" in other.message
    await server.start()
    assert len(await session.take()) == 1


async def test_a_worker_whose_stream_is_cut_is_suspect_and_its_run_moves(
    server: Served, caller: Caller
) -> None:
    run_id = await server.start()
    session = await ready(caller)
    (lost,) = await session.take()
    session.cut()
    await holds(lambda: not server.grpc._sessions._open and not server.grpc._sessions._tasks)
    await server.pass_time(SUSPECT_MS)
    await server.recover()
    other = await ready(caller)
    (run,) = await other.take()
    assert (run.id, run.epoch) == (run_id, lost.epoch + 1)


async def test_a_worker_that_comes_back_is_suspect_no_more(server: Served, caller: Caller) -> None:
    run_id = await server.start()
    session = await ready(caller)
    await session.take()
    session.cut()
    await holds(lambda: not server.grpc._sessions._open)
    await ready(caller, incarnation=session.incarnation)
    await server.pass_time(SUSPECT_MS)
    await server.recover()
    assert await server.status(run_id) == "running"


async def test_waiting_credits_of_a_cut_stream_are_granted_nothing(
    server: Served, caller: Caller
) -> None:
    session = await ready(caller)
    await waiting(session, server)
    session.cut()
    await holds(lambda: not len(server.engine.claims))
    assert await server.status(await server.start()) == "queued"


async def test_a_goodbye_releases_at_once(server: Served, caller: Caller) -> None:
    run_id = await server.start()
    session = await ready(caller)
    await session.take()
    assert isinstance(await session.ask(LeaveWorker(incarnation="")), Left)
    assert await server.status(run_id) == "queued"
    assert await session.ended() is StatusCode.OK
    (worker,) = await server.call(ListWorkers())
    assert worker.status == "stopped"


async def test_a_goodbye_by_a_call_ends_the_session_too(server: Served, caller: Caller) -> None:
    session = await ready(caller)
    await caller.call(LeaveWorker(incarnation=session.incarnation))
    assert await session.ended() is StatusCode.OK


async def test_of_two_sessions_the_later_wins(server: Served, caller: Caller) -> None:
    run_id = await server.start()
    first = await ready(caller, presence=1)
    await first.take()
    second = await ready(caller, presence=2, incarnation=first.incarnation)
    assert await first.ended() is StatusCode.FAILED_PRECONDITION
    late = RawSession(caller, first.incarnation)
    await late.send_hello(presence=1)
    assert await late.ended() is StatusCode.FAILED_PRECONDITION
    await server.pass_time(SUSPECT_MS)
    await server.recover()
    assert await server.status(run_id) == "running"
    await server.start()
    assert len(await second.take()) == 1


async def test_a_draining_worker_is_given_nothing_more(server: Served, caller: Caller) -> None:
    session = await ready(caller)
    number = await waiting(session, server)
    await session.ask(Heartbeat(incarnation="", held=(), draining=True))
    assert (await session.answer(number)).runs == ()
    await server.start()
    assert await session.take() == ()


async def test_a_stopping_server_drains_and_suspects_nobody(server: Served, caller: Caller) -> None:
    run_id = await server.start()
    session = await ready(caller)
    (run,) = await session.take()
    number = await waiting(session, server)
    stopping = asyncio.ensure_future(server.grpc.stop(10_000))
    await session.until(lambda frame: isinstance(frame.response, Drain))
    assert (await session.answer(number)).runs == ()
    # What was begun may be ended: the stream is still there.
    outcome = await session.ask(report_of(run, Parked((Wait("event", "paid"),))))
    assert outcome.outcomes[0].verdict == "recorded"
    await session.stream.done_writing()
    assert await session.ended() is StatusCode.OK
    await stopping
    await server.pass_time(SUSPECT_MS)
    await server.recover()
    (worker,) = await server.call(ListWorkers())
    assert worker.status == "alive"
    assert await server.status(run_id) == "awaiting_event"


async def test_a_session_begins_with_a_hello(server: Served, caller: Caller) -> None:
    for request in (Credits(limit=1), Heartbeat(incarnation="w", held=())):
        session = RawSession(caller)
        await session.send(request)
        assert await session.ended() is StatusCode.INVALID_ARGUMENT
    nothing = RawSession(caller)
    await nothing.stream.done_writing()
    assert await nothing.ended() is StatusCode.INVALID_ARGUMENT


async def test_a_hello_that_the_engine_refuses_opens_nothing(
    server: Served, caller: Caller
) -> None:
    session = RawSession(caller)
    await session.send_hello(lease_ms=1)
    assert await session.ended() is StatusCode.INVALID_ARGUMENT
    assert not server.grpc._sessions._open


async def test_a_server_takes_only_so_many_sessions(tmp_path: Path) -> None:
    async with served(tmp_path / "a.db", max_sessions=1) as server, Caller(server) as caller:
        await ready(caller)
        second = RawSession(caller)
        await second.send_hello()
        assert await second.ended() is StatusCode.RESOURCE_EXHAUSTED


async def test_calls_and_sessions_of_a_worker_are_one(server: Served, caller: Caller) -> None:
    session = await ready(caller)
    await caller.call(registration(session.incarnation))
    run_id = await server.start()
    await caller.call(claim_of(session.incarnation))
    await server.call(SendEvent(id=new_id(), run_id=run_id, name="paid"))
    news = await session.news(lambda news: news.facts)
    assert [held.run_id for held in news.held] == [run_id]
