"""Where server and worker are: in the process that measures, or each in one of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiki
from bench.databases import Database
from bench.workloads import WORKFLOWS

ROOT = Path(__file__).resolve().parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")


class Stand(NamedTuple):
    """A running Aiki to measure."""

    client: aiki.Client
    processes: dict[str, int]
    """Process ids by part."""

    def cpu_seconds(self) -> dict[str, float]:
        """What each process has spent so far."""
        spent = {name: _cpu_of(pid) for name, pid in self.processes.items()}
        return {"client": time.process_time()} | spent

    def counted(self) -> tuple[int, int] | None:
        """Batches and statements so far, where the engine is in this process."""
        connection: Any = self.client._connection
        host = getattr(connection, "host", None)
        if host is None:
            return None
        return host.engine.committer.batches, host.engine.store.statements_executed


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@asynccontextmanager
async def embedded(database: Database) -> AsyncIterator[Stand]:
    """Server, worker and client in this process."""
    async with aiki.connect(database.url) as client:
        worker = asyncio.create_task(aiki.Worker(client, workflows=WORKFLOWS).run())
        try:
            yield Stand(client, {})
        finally:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)


@asynccontextmanager
async def server_process(database: Database, queue: str | None = None) -> AsyncIterator[str]:
    """A server over HTTP, which announces at this broker; its URL."""
    server = _started("server", "--url", database.url, "--port", "0", "--grpc-port", "none",
                      *(["--queue", queue] if queue else []))  # fmt: skip
    try:
        yield str((await _ready(server))["url"])
    finally:
        _stop(server)


@asynccontextmanager
async def over_redis(database: Database) -> AsyncIterator[Stand]:
    """Server and worker as `separate`, with Redis Streams between them."""
    from tests.services import redis

    with redis.private_server() as broker:
        async with separate(database, queue=broker.url) as stand:
            yield stand


@asynccontextmanager
async def separate(
    database: Database, transport: str = "http", queue: str | None = None
) -> AsyncIterator[Stand]:
    """One server and one worker, each a process of its own, over loopback."""
    heard = ["--queue", queue] if queue else []
    server = _started("server", "--url", database.url, "--port", "0", "--grpc-port",
                      "0" if transport == "grpc" else "none", *heard)  # fmt: skip
    try:
        ready = await _ready(server)
        url = ready["grpc_url" if transport == "grpc" else "url"]
        worker = _started("worker", "bench.workloads:WORKFLOWS", "--url", url, *heard)
        try:
            await _ready(worker)
            async with aiki.connect(url) as client:
                yield Stand(client, {"server": server.pid, "worker": worker.pid})
        finally:
            _stop(worker)
    finally:
        _stop(server)


def _started(command: str, *options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "aiki.cli", command, *options, "--json"],
        cwd=ROOT, stdout=subprocess.PIPE,
    )  # fmt: skip


async def _ready(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    import msgspec

    assert process.stdout is not None
    line = await asyncio.to_thread(process.stdout.readline)
    if not line:
        raise RuntimeError(f"{process.args!r} ended before it was ready")
    found: dict[str, Any] = msgspec.json.decode(line)
    return found


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(30)
    if process.stdout is not None:
        process.stdout.close()


TOPOLOGIES = {"embedded": embedded, "separate": separate, "redis": over_redis}
