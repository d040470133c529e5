"""Law: over gRPC a workflow with tasks, timer, event and child runs as it does in process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from aiki import Run, Worker, event, task, workflow
from aiki.client.client import Client
from aiki.engine.engine import Engine, EngineSettings
from aiki.errors import RunCancelled
from aiki.model.audit import Principal
from aiki.operations.runs import GetHistory
from aiki.remote.grpc import GrpcConnection
from aiki.server.grpc.server import GrpcServer
from aiki.server.grpc.settings import GrpcSettings
from tests.grpc.support import LIMIT_SECONDS
from tests.support.databases import store_at

LIMIT = timedelta(seconds=LIMIT_SECONDS)
paid = event("paid", int)


@task
async def double(n: int) -> int:
    return 2 * n


@task
def add(a: int, b: int) -> int:
    return a + b


@workflow("child").version("1.0.0")
async def child(run: Run, n: int) -> int:
    return await double(run, n)


@workflow("whole").version("1.0.0")
async def whole(run: Run, n: int) -> int:
    first, second = await asyncio.gather(double(run, n), double(run, n + 1))
    await run.sleep("rest", timedelta(milliseconds=1))
    amount = await run.wait(paid)
    return await add(run, first + second, amount + await child(run, n))


@workflow("endless").version("1.0.0")
async def endless(run: Run) -> None:
    await run.wait(paid)


async def test_a_worker_and_a_client_carry_a_workflow_through(tmp_path: Path) -> None:
    engine = Engine(store_at(tmp_path / "a.db"), EngineSettings(daemons=True))
    await engine.start()
    server = GrpcServer(engine, GrpcSettings(port=0))
    await server.start()
    connection = GrpcConnection([f"grpc://{server.address}"], namespace="default")
    async with Client(connection) as client:
        worker = asyncio.create_task(Worker(client, workflows=[whole, child, endless]).run())
        handle = await whole.enqueue(client, 3)
        await handle.send(paid, 10)
        assert await handle.result(timeout=LIMIT) == 2 * 3 + 2 * 4 + 10 + 2 * 3
        waiting = await endless.enqueue(client)
        await waiting.cancel("enough")
        with pytest.raises(RunCancelled):
            await waiting.result(timeout=LIMIT)
        there = await client.call(GetHistory(id=handle.id))
        assert there == await engine.session(Principal()).call(GetHistory(id=handle.id))
        worker.cancel()
        await asyncio.wait([worker])
    await server.stop(1_000)
    await engine.stop()


def test_importing_aiki_loads_no_grpc() -> None:
    code = "import sys, aiki; print([name for name in sys.modules if 'grpc' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
