"""Servers in the test's own loop, each with one front end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiki.engine.engine import Engine, EngineSettings
from aiki.server.grpc.server import GrpcServer
from aiki.server.grpc.settings import GrpcSettings
from aiki.server.serving import Server
from aiki.server.settings import ServerSettings
from tests.support.databases import store_at

_GRACE_MS = 1_000


@asynccontextmanager
async def _engine(path: Path) -> AsyncIterator[Engine]:
    engine = Engine(store_at(path), EngineSettings(daemons=True))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


@asynccontextmanager
async def http_server(path: Path) -> AsyncIterator[int]:
    """The port of a server over HTTP on the database that stands for this path."""
    async with _engine(path) as engine:
        server = Server(engine, ServerSettings(port=0))
        await server.start()
        try:
            yield int(server.url.rpartition(":")[2])
        finally:
            await server.stop(_GRACE_MS)


@asynccontextmanager
async def grpc_server(path: Path) -> AsyncIterator[int]:
    """The port of a server over gRPC on the database that stands for this path."""
    async with _engine(path) as engine:
        server = GrpcServer(engine, GrpcSettings(port=0))
        await server.start()
        try:
            yield int(server.address.rpartition(":")[2])
        finally:
            await server.stop(_GRACE_MS)
