"""Laws of the SDK over gRPC: errors, fail-over, sessions that come back, closing."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from aiki.errors import (
    Closed,
    ConfigurationError,
    InvalidRequest,
    LimitExceeded,
    NotFound,
    ServerBusy,
    ServerUnreachable,
    Unauthorized,
)
from aiki.ids import new_id
from aiki.operations.catalog import GetNamespace, ListWorkers
from aiki.operations.runs import CancelRun, GetRun, ListRuns, SendEvent, StartRuns
from aiki.operations.work import (
    Completed,
    Heartbeat,
    Holding,
    LeaveWorker,
    Listen,
    Report,
    RunReport,
)
from aiki.remote.grpc import GrpcApi, GrpcConnection
from aiki.remote.grpc_channels import GrpcClientSettings, servers_of
from aiki.server.grpc.session import End
from tests.grpc.support import Served, claim_of, holds, registration, served, start_of

DEAD = "grpc://127.0.0.1:1"


async def working(api: GrpcApi) -> str:
    """A worker's incarnation, with its session."""
    incarnation = new_id()
    await api.call(registration(incarnation))
    return incarnation


async def first_fact(api: GrpcApi, incarnation: str) -> str:
    """The name of the first fact that the worker is told of."""
    cursor = 0
    while True:
        news = await api.call(Listen(incarnation=incarnation, cursor=cursor, wait_ms=20_000))
        if news.facts:
            return news.facts[0].name
        cursor = news.cursor


def open_session(server: Served, incarnation: str) -> bool:
    return ("default", incarnation) in server.grpc._sessions._open


async def test_an_error_arrives_as_its_class_with_its_message(server: Served) -> None:
    api = await server.api()
    operation = GetRun(id=new_id())
    with pytest.raises(NotFound) as there:
        await server.local.call(operation)
    with pytest.raises(NotFound) as here:
        await api.call(operation)
    assert here.value.message == there.value.message


async def test_an_error_over_the_session_too(server: Served) -> None:
    api = await server.api()
    incarnation = await working(api)
    with pytest.raises(InvalidRequest, match="limit=0"):
        await api.call(claim_of(incarnation, limit=0))


async def test_servers_that_are_only_busy_are_worth_waiting_for(tmp_path: Path) -> None:
    async with served(tmp_path / "a.db", max_waiting=1) as server:
        api = await server.api(DEAD)
        run_id = await server.start()
        waiting = asyncio.ensure_future(api.call(GetRun(id=run_id, wait_ms=20_000)))
        await holds(lambda: len(server.engine.runs))
        with pytest.raises(ServerBusy) as busy:
            await api.call(GetRun(id=run_id, wait_ms=20_000))
        assert busy.value.retry_after_seconds == 1.0
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_an_answer_may_be_larger_than_a_request(tmp_path: Path) -> None:
    async with served(tmp_path / "a.db", max_message_bytes=10_000) as server:
        api = await server.api()
        for number in range(200):
            await server.start(reference_id=f"order-{number}")
        assert len((await api.call(ListRuns(limit=200))).runs) == 200


async def test_no_server_is_a_service_error(server: Served) -> None:
    api = await GrpcConnection([DEAD], namespace="default").open()
    with pytest.raises(ServerUnreachable, match=r"127\.0\.0\.1:1"):
        await api.call(GetNamespace())
    await api.close()


async def test_a_token_that_is_wrong_is_told(tmp_path: Path) -> None:
    async with served(tmp_path / "a.db", tokens=("secret",)) as server:
        with pytest.raises(Unauthorized):
            await (await server.api(token="guess")).call(GetNamespace())
        with pytest.raises(Unauthorized):
            await working(await server.api())
        api = await server.api(token="secret")
        await api.call(GetNamespace())
        assert open_session(server, await working(api))


@pytest.mark.parametrize(
    "url",
    [
        "grpc://",
        "grpc://a:0",
        "grpc://a:7070?x=1",
        "grpc://user:pass@a",
        "grpc://a,http://b",
        "http://a",
    ],
)
def test_urls_that_name_no_server_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        servers_of([url])
    assert "http://h" not in refused.value.message


def test_several_servers_stand_in_one_url() -> None:
    servers = servers_of(["grpc://a:1,b:2", "grpcs://[::1]:3"])
    assert [each.url for each in servers.all] == ["grpc://a:1", "grpc://b:2", "grpcs://[::1]:3"]


async def test_calls_go_to_another_server_when_one_is_gone(tmp_path: Path) -> None:
    async with served(tmp_path / "a.db") as first, served(tmp_path / "a.db") as second:
        api = await first.api(second.url)
        run = start_of()
        await api.call(StartRuns(starts=(run,)))
        await first.grpc.stop(0)
        assert (await api.call(GetRun(id=run.id))).run.status == "queued"


async def test_a_wait_goes_on_at_another_server(tmp_path: Path) -> None:
    async with served(tmp_path / "a.db") as first, served(tmp_path / "a.db") as second:
        api = await first.api(second.url)
        run_id = await first.start()
        waiting = asyncio.ensure_future(api.call(GetRun(id=run_id, wait_ms=30_000)))
        await holds(lambda: len(first.engine.runs))
        first.grpc._calls.close = lambda: None  # type: ignore[method-assign]
        await first.grpc.stop(0)
        await holds(lambda: len(second.engine.runs))
        await second.call(CancelRun(id=run_id, command_id=new_id()))
        assert (await waiting).ended


async def test_a_session_moves_when_its_server_stops(tmp_path: Path) -> None:
    async with served(tmp_path / "a.db") as first, served(tmp_path / "a.db") as second:
        api = await first.api(second.url)
        run_id = await first.start()
        incarnation = await working(api)
        (run,) = (await api.call(claim_of(incarnation))).runs
        await first.grpc.stop(5_000)
        await holds(lambda: open_session(second, incarnation))
        await second.pass_time(1_000)
        await second.recover()
        assert await second.status(run_id) == "running"
        waiting = asyncio.ensure_future(api.call(claim_of(incarnation, wait_ms=20_000)))
        await holds(lambda: len(second.engine.claims))
        await second.start()
        assert (await waiting).runs
        assert run.id == run_id


async def test_a_broken_session_is_opened_anew_and_calls_stand_in(server: Served) -> None:
    api = await server.api()
    incarnation = await working(api)
    session = server.grpc._sessions._open["default", incarnation]
    waiting = asyncio.ensure_future(api.call(claim_of(incarnation, wait_ms=20_000)))
    await holds(lambda: len(server.engine.claims))
    session.end(End.BROKEN)
    await holds(lambda: server.grpc._sessions._open.get(("default", incarnation)) != session)
    await server.start()
    assert (await waiting).runs
    await holds(lambda: open_session(server, incarnation))


async def test_what_a_worker_asks_goes_over_its_session(server: Served) -> None:
    api = await server.api()
    incarnation = await working(api)
    server.grpc._calls._answer = None  # type: ignore[assignment,method-assign]
    run_id = await server.start()
    (run,) = (await api.call(claim_of(incarnation, wait_ms=1_000))).runs
    held = (Holding(run_id, run.epoch),)
    assert not (await api.call(Heartbeat(incarnation=incarnation, held=held))).lost
    listening = asyncio.ensure_future(first_fact(api, incarnation))
    await server.call(SendEvent(id=new_id(), run_id=run_id, name="paid"))
    assert await listening == "paid"
    report = RunReport(
        run_id=run_id, epoch=run.epoch, attempt=1, ending=Completed(b"1"), command_id=new_id()
    )
    await api.call(Report(incarnation=incarnation, reports=(report,)))
    assert await server.status(run_id) == "completed"
    await api.call(LeaveWorker(incarnation=incarnation))
    assert not open_session(server, incarnation)


async def test_a_wait_that_brings_nothing_ends_when_its_time_is_over(server: Served) -> None:
    api = await server.api()
    incarnation = await working(api)
    assert not (await api.call(claim_of(incarnation, wait_ms=20))).runs
    first = await api.call(Listen(incarnation=incarnation, wait_ms=20_000))
    again = Listen(incarnation=incarnation, cursor=first.cursor, wait_ms=20)
    assert (await api.call(again)).cursor == first.cursor


async def test_a_claim_that_is_cancelled_leaves_the_session_whole(server: Served) -> None:
    api = await server.api()
    incarnation = await working(api)
    waiting = asyncio.ensure_future(api.call(claim_of(incarnation, wait_ms=20_000)))
    await holds(lambda: len(server.engine.claims))
    waiting.cancel()
    await asyncio.wait([waiting])
    await api.call(Heartbeat(incarnation=incarnation, held=(), draining=True))
    assert not len(server.engine.claims)
    assert open_session(server, incarnation)


async def test_registering_again_opens_a_new_session(server: Served) -> None:
    api = await server.api()
    incarnation = await working(api)
    first = server.grpc._sessions._open["default", incarnation]
    await api.call(registration(incarnation))
    assert server.grpc._sessions._open["default", incarnation] is not first


async def test_a_worker_whose_client_closes_without_a_goodbye_is_suspect(server: Served) -> None:
    run_id = await server.start()
    api = await server.api()
    await api.call(claim_of(await working(api)))
    await api.close()
    await holds(lambda: not server.grpc._sessions._open and not server.grpc._sessions._tasks)
    await server.pass_time(1_000)
    await server.recover()
    assert await server.status(run_id) == "queued"


async def test_closing_tells_those_who_wait(server: Served) -> None:
    api = await server.api()
    incarnation = await working(api)
    run_id = await server.start(workflow="other")
    waits: list[Any] = [
        asyncio.ensure_future(api.call(GetRun(id=run_id, wait_ms=30_000))),
        asyncio.ensure_future(api.call(claim_of(incarnation, wait_ms=30_000))),
        asyncio.ensure_future(api.call(Listen(incarnation=incarnation, cursor=1, wait_ms=30_000))),
    ]
    await holds(lambda: len(server.engine.runs) and len(server.engine.claims))
    await api.close()
    ended = await asyncio.gather(*waits, return_exceptions=True)
    assert isinstance(ended[0], Closed) and isinstance(ended[1], Closed)
    with pytest.raises(Closed):
        await api.call(GetNamespace())


async def test_a_fork_serves_another_threads_loop(server: Served) -> None:
    api = await server.api()
    incarnation = await working(api)
    fork = api.fork()
    told: list[Any] = []

    async def beat() -> None:
        told.append(await fork.call(Heartbeat(incarnation=incarnation, held=())))
        await fork.close()

    thread = threading.Thread(target=lambda: asyncio.run(beat()))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert told[0].lost == ()
    assert open_session(server, incarnation)


async def test_presence_is_the_session(server: Served) -> None:
    api = await server.api()
    keeping = asyncio.ensure_future(api.keep_presence(await working(api)))
    await api.call(ListWorkers())
    assert not keeping.done()
    keeping.cancel()
    await asyncio.wait([keeping])


async def test_reports_that_are_too_large_together_go_in_parts(server: Served) -> None:
    settings = GrpcClientSettings(max_message_bytes=20_000)
    api = await server.api(settings=settings)
    incarnation = await working(api)
    ids = [await server.start() for _ in range(5)]
    runs = (await api.call(claim_of(incarnation, limit=5))).runs
    reports = tuple(
        RunReport(
            run_id=run.id,
            epoch=run.epoch,
            attempt=1,
            ending=Completed(b'"%s"' % (b"x" * 9_000)),
            command_id=new_id(),
        )
        for run in runs
    )
    told = await api.call(Report(incarnation=incarnation, reports=reports))
    assert [outcome.verdict for outcome in told.outcomes] == ["recorded"] * 5
    assert {await server.status(run_id) for run_id in ids} == {"completed"}
    with pytest.raises(LimitExceeded):
        await api.call(StartRuns(starts=(start_of(input=b'"%s"' % (b"x" * 30_000)),)))
    assert open_session(server, incarnation)
