"""Laws of broken networks: a peer behind a dead router is noticed, and nothing is done twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiki.ids import new_id
from aiki.operations.runs import GetRun, ListRuns, StartRuns
from aiki.operations.work import Completed, Report, RunReport
from aiki.remote.grpc import GrpcApi, GrpcConnection
from aiki.remote.grpc_channels import GrpcClientSettings
from tests.grpc.support import (
    Caller,
    RawSession,
    Served,
    claim_of,
    holds,
    registration,
    served,
    start_of,
)
from tests.services.proxy import Proxy

QUICK = GrpcClientSettings(answer_seconds=1.0, keepalive_interval_ms=200, keepalive_timeout_ms=200)


def port_of(server: Served) -> int:
    return int(server.grpc.address.rpartition(":")[2])


async def api_through(proxy: Proxy, *others: str) -> GrpcApi:
    urls = [f"grpc://127.0.0.1:{proxy.port}", *others]
    api = await GrpcConnection(urls, namespace="default", settings=QUICK).open()
    assert isinstance(api, GrpcApi)
    return api


async def test_an_answer_that_was_lost_is_asked_for_again(server: Served) -> None:
    async with Proxy.to_port(port_of(server)) as proxy:
        api = await api_through(proxy, server.url)
        await api.call(ListRuns())
        run = start_of(reference_id="needle-1")
        proxy.cut_after(b"needle-1")
        (started,) = await api.call(StartRuns(starts=(run,)))
        assert proxy.cuts == 1 and started.id == run.id
        assert len((await api.call(ListRuns())).runs) == 1
        await api.close()


async def test_a_report_whose_answer_was_lost_is_recorded_once(server: Served) -> None:
    async with Proxy.to_port(port_of(server)) as proxy:
        api = await api_through(proxy, server.url)
        incarnation = new_id()
        await api.call(registration(incarnation))
        run_id = await server.start()
        (run,) = (await api.call(claim_of(incarnation))).runs
        report = RunReport(
            run_id=run.id,
            epoch=run.epoch,
            attempt=1,
            ending=Completed(b'"needle-2"'),
            command_id=new_id(),
        )
        proxy.cut_after(b"needle-2")
        told = await api.call(Report(incarnation=incarnation, reports=(report,)))
        assert proxy.cuts == 1 and told.outcomes[0].verdict == "recorded"
        assert await server.status(run_id) == "completed"
        await api.close()


async def test_a_server_behind_a_dead_router_is_left_for_another(tmp_path: Path) -> None:
    async with served(tmp_path / "a.db") as first, served(tmp_path / "a.db") as second:
        async with Proxy.to_port(port_of(first)) as proxy:
            api = await api_through(proxy, second.url)
            incarnation = new_id()
            await api.call(registration(incarnation))
            run_id = await second.start(workflow="other")
            waiting = asyncio.ensure_future(api.call(claim_of(incarnation, wait_ms=20_000)))
            await holds(lambda: len(first.engine.claims))
            proxy.black_hole()
            assert (await api.call(GetRun(id=run_id))).run.id == run_id
            await holds(lambda: ("default", incarnation) in second.grpc._sessions._open)
            await holds(lambda: len(second.engine.claims))
            waiting.cancel()
            await asyncio.wait([waiting])
            await api.close()


async def test_a_worker_behind_a_dead_router_is_suspect(tmp_path: Path) -> None:
    quick = {"keepalive_interval_ms": 200, "keepalive_timeout_ms": 200}
    async with served(tmp_path / "a.db", **quick) as server:
        async with Proxy.to_port(port_of(server)) as proxy:
            run_id = await server.start()
            async with Caller(server, port=proxy.port) as caller:
                session = RawSession(caller)
                await session.hello()
                await session.take()
                proxy.black_hole()
                sessions = server.grpc._sessions
                await holds(lambda: not sessions._open and not sessions._tasks)
                await server.pass_time(1_000)
                await server.recover()
                assert await server.status(run_id) == "queued"
