"""Workers of a server elsewhere: they outlast its restarts, and their own death is noticed."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aiki import Client, Run, Unauthorized, Worker, Workflow, event, task, workflow
from aiki.engine.daemons import recover
from aiki.operations.catalog import ListWorkers
from aiki.remote.http import HttpApi
from aiki.worker.trouble import Trouble
from tests.remote.program import hanging
from tests.remote.support import Served, Tally, client_of, happens, served
from tests.remote.test_failover import HandClock
from tests.support.app import LIMIT, Ledger, until
from tests.support.databases import rows_at
from tests.support.topology import on_host

ROOT = Path(__file__).resolve().parents[2]
ledger = Ledger()
gates: dict[str, asyncio.Event] = {}
go = event("go", str)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ledger.lines.clear()
    gates.clear()


@task
async def write(line: str) -> str:
    ledger.add(line)
    await gates.setdefault("all", asyncio.Event()).wait()
    return line


@workflow("writing").version("1")
async def writing(run: Run, name: str) -> str:
    first = await write(run, f"{name} first")
    return first + await write(run, f"{name} second")


@workflow("two-parts").version("1", events=[go])
async def two_parts(run: Run) -> str:
    first = await write(run, "before")
    return first + await run.wait(go)


@asynccontextmanager
async def working(
    client: Client, *workflows: Workflow[..., Any], **options: Any
) -> AsyncIterator[Worker]:
    """A worker that is stopped in the end."""
    options.setdefault("graceful_shutdown_timeout_ms", 500)
    worker = Worker(client, workflows=workflows, **options)
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[Process]:
    """A process whose lines are read; killed in the end."""
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, stdout=PIPE, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
    )  # fmt: skip
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):
            started.kill()
        await started.communicate()


async def line_of(process: Process) -> str:
    """The next line that it prints."""
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT.total_seconds()):
        return (await process.stdout.readline()).decode().strip()


def begun(more_than: int) -> bool:
    """Whether more tasks than these have begun."""
    return len(ledger.lines) > more_than


async def test_restarts_lose_nothing_and_do_nothing_twice(server: Served, proxy: Tally) -> None:
    """200 starts by one client, a worker of another, and a server that is away three times."""
    gates.setdefault("all", asyncio.Event()).set()
    async with client_of(proxy.url) as client, client_of(proxy.url) as other:
        async with working(other, writing):
            names = [str(number) for number in range(200)]
            starting = asyncio.gather(*(writing.enqueue(client, name) for name in names))
            for round in range(3):
                await happens(partial(begun, 20 * round))
                proxy.away = True
                proxy.cut()
                await server.stop(grace_ms=0)
                await server.start()
                proxy.away = False
            handles = await starting
            results = await asyncio.gather(*(each.result(timeout=LIMIT) for each in handles))
        assert results == [f"{name} first{name} second" for name in names]
        assert len([run async for run in client.runs()]) == 200
    assert ledger.repeated == {}
    assert len(ledger.lines) == 400


async def test_a_server_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    gates.setdefault("all", asyncio.Event()).set()
    probe = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = probe.sockets[0].getsockname()[1]
    probe.close()
    command = (
        "aiki.cli", "server", "--url", f"sqlite:///{tmp_path / 'a.db'}", "--port", str(port),
    )  # fmt: skip
    async with client_of(f"http://127.0.0.1:{port}") as client:
        async with process(*command) as first:
            await line_of(first)
            async with working(client, writing):
                starting = asyncio.gather(*(writing.enqueue(client, str(n)) for n in range(50)))
                await happens(lambda: len(ledger.lines) > 5)
                first.kill()
                await first.wait()
                async with process(*command):
                    handles = await starting
                    results = await asyncio.gather(*(each.result() for each in handles))
                    assert results == [f"{n} first{n} second" for n in range(50)]
                    assert len([run async for run in client.runs()]) == 50


async def test_runs_go_on_while_the_server_is_away(server: Served, proxy: Tally) -> None:
    async with client_of(proxy.url) as client, working(client, two_parts):
        handle = await two_parts.enqueue(client)
        await happens(lambda: ledger.count("before"))
        await server.stop()
        gates["all"].set()
        await server.start()
        await until(handle, "awaiting_event")
        await handle.send(go, "!")
        assert await handle.result(timeout=LIMIT) == "before!"
    assert ledger.repeated == {}


async def test_an_outage_is_one_line(
    server: Served,
    proxy: Tally,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO, "aiki.worker")
    gates.setdefault("all", asyncio.Event()).set()
    async with client_of(proxy.url) as client, working(client, writing) as worker:
        await happens(lambda: server.engine.waiting)
        await server.stop()
        met: list[str] = []
        meet = worker.trouble.meet

        def listen(what: str, error: Exception) -> None:
            met.append(what)
            meet(what, error)

        monkeypatch.setattr(worker.trouble, "meet", listen)
        await happens(lambda: {"a claim", "listening"} <= set(met) and len(met) > 4)
        await server.start()
        handle = await writing.enqueue(client, "a")
        await handle.result(timeout=LIMIT)
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [line for level, line in lines if level == "WARNING"] == [
        line for _, line in lines if "is repeated until it succeeds" in line
    ]
    assert len([level for level, _ in lines if level == "WARNING"]) == 1
    assert ("INFO", "the server answers again") in lines


def test_trouble_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiki.worker")
    clock = HandClock()
    trouble = Trouble(clock)
    trouble.end()
    for _ in range(13):
        trouble.meet("a claim", ValueError("why"))
        clock.seconds += 10
    trouble.end()
    trouble.end()
    lines = [record.getMessage() for record in caplog.records]
    told = "a claim failed and is repeated until it succeeds: why"
    assert lines == [told, told, told, "the server answers again"]


async def test_the_death_of_a_worker_is_noticed_at_once(server: Served) -> None:
    """Its lease is ten minutes; the end of its streaming request tells."""
    async with client_of(server.url) as client:
        async with process("tests.remote.program", server.url, "victim") as victim:
            assert await line_of(victim) == "loaded"
            handle = await hanging.enqueue(client, "victim")
            assert await line_of(victim) == f"began {handle.id}"
            async with working(client, hanging):
                victim.kill()
                begun = time.monotonic()
                assert await handle.result(timeout=LIMIT) == "done"
                assert time.monotonic() - begun < 5


async def test_presence_that_is_cut_by_the_way_is_taken_up_again(
    server: Served, proxy: Tally
) -> None:
    """The run is not taken from a worker that lives."""
    async with client_of(proxy.url) as client, client_of(server.url) as direct:
        async with working(client, writing, lease_ms=600_000):
            handle = await writing.enqueue(direct, "a")
            await happens(lambda: ledger.count("a first"))
            await happens(lambda: presence(server) == [(1, None)])
            proxy.cut()
            await happens(lambda: presence(server) == [(2, None)])
            await on_host(server.running, server.engine.store.shift_clock(10_000))
            assert await on_host(server.running, recover(server.engine)) == 0
            gates["all"].set()
            assert await handle.result(timeout=LIMIT) == "a firsta second"
    assert ledger.repeated == {}


async def test_no_presence_is_sent_twice_under_one_number() -> None:
    """Else the end of the first would tell of the second, which is still held."""
    paths: list[str] = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        paths.append(head.decode().split(" ")[1])
        writer.close()

    listening = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with listening, client_of(f"http://127.0.0.1:{port}") as client:
        api = await client.api()
        assert isinstance(api, HttpApi)
        present = asyncio.create_task(api.keep_presence("somebody"))
        await happens(lambda: len(paths) > 2)
        present.cancel()
    assert paths == [f"/api/v1/workers/somebody/presence?number={n + 1}" for n in range(len(paths))]


def presence(server: Served) -> list[tuple[Any, ...]]:
    """The number of each worker's streaming request, and since when it is suspected."""
    return rows_at(server.path, "SELECT presence, suspect_since FROM worker")


async def test_a_goodbye_ends_presence_without_suspicion(server: Served, proxy: Tally) -> None:
    async with client_of(proxy.url) as client:
        async with working(client, writing):
            await happens(lambda: proxy.open >= 3)
        workers = await client.call(ListWorkers())
        assert [worker.status for worker in workers] == ["stopped"]
    await happens(lambda: proxy.open == 0)


async def test_a_worker_that_is_not_let_in_says_so(tmp_path: Path) -> None:
    async with served(tmp_path / "a.db", tokens=("right",)) as server:
        async with client_of(server.url, token="wrong") as client:
            with pytest.raises(Unauthorized):
                await Worker(client, workflows=[writing]).run()


async def test_a_worker_stops_in_time_without_its_server(server: Served, proxy: Tally) -> None:
    async with client_of(proxy.url) as client:
        worker = Worker(client, workflows=[writing], graceful_shutdown_timeout_ms=100)
        running = asyncio.create_task(worker.run())
        await writing.enqueue(client, "a")
        await happens(lambda: ledger.count("a first"))
        await server.stop()
        running.cancel()
        done, _ = await asyncio.wait([running], timeout=10)
        assert done


async def test_a_report_that_no_message_can_hold_ends_its_own_run(server: Served) -> None:
    spoiled = event("go", int)
    spoiled.name = "\ud800"

    @workflow("spoiled").version("1")
    async def spoil(run: Run) -> int:
        return await run.wait(spoiled)

    gates.setdefault("all", asyncio.Event()).set()
    async with client_of(server.url) as client, working(client, spoil, writing):
        bad, good = await spoil.enqueue(client), await writing.enqueue(client, "a")
        assert await good.result(timeout=LIMIT)
        with pytest.raises(Exception, match="NotStorable"):
            await bad.result(timeout=timedelta(seconds=10))
