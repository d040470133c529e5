"""Where the server of a test is: in its process, or behind REST or gRPC on loopback.

`AIKI_TEST_TRANSPORT` chooses: `embedded` (the default), `rest` or `grpc`. The engine is always in
this process, on a thread of its own, so that a test can move its clock and look at its state.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from aiki.client.client import Client, Connection
from aiki.compose import EmbeddedConnection
from aiki.engine.engine import EngineSettings
from aiki.engine.host import EngineHost
from aiki.operations.base import Api
from aiki.store.protocol import Store
from tests.support.databases import store_at

R = TypeVar("R")
TRANSPORT = os.environ.get("AIKI_TEST_TRANSPORT", "embedded")
STOP_MS = 2_000


class ServedConnection:
    """A connection over loopback to an engine of this process."""

    def __init__(self, store: Store, settings: EngineSettings | None, transport: str) -> None:
        self.host = EngineHost(store, settings)
        self._transport = transport
        self._remote: Connection | None = None
        self._server: Any = None

    async def open(self) -> Api:
        """Start engine and server, and connect."""
        await asyncio.to_thread(self.host.start)
        url = await on_host(self.host, self._serve())
        self._remote = _remote(url)
        return await self._remote.open()

    async def _serve(self) -> str:
        engine = self.host.engine
        assert engine is not None
        if self._transport == "grpc":
            from aiki.server.grpc.server import GrpcServer
            from aiki.server.grpc.settings import GrpcSettings

            grpc = GrpcServer(engine, GrpcSettings(port=0))
            await grpc.start()
            self._server = grpc
            return f"grpc://{grpc.address}"
        from aiki.server.serving import Server
        from aiki.server.settings import ServerSettings

        rest = Server(engine, ServerSettings(port=0))
        await rest.start()
        self._server = rest
        return rest.url

    async def close(self) -> None:
        """Let go of the connection, then of the server, then of the engine."""
        if self._remote is not None:
            await self._remote.close()
        await on_host(self.host, self._server.stop(STOP_MS))
        await asyncio.to_thread(self.host.stop)


def _remote(url: str) -> Connection:
    if url.startswith("grpc"):
        from aiki.remote.grpc import GrpcConnection

        return GrpcConnection([url], namespace="default")
    from aiki.remote.http import HttpConnection

    return HttpConnection([url], namespace="default")


async def on_host(host: EngineHost, work: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine on the engine's loop."""
    loop = host._loop
    assert loop is not None
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))


def client_at(path: Path, settings: EngineSettings | None = None) -> Client:
    """A client of a server on the database that stands for this path."""
    store = store_at(path)
    if TRANSPORT == "embedded":
        return Client(EmbeddedConnection(store, "default", settings))
    return Client(ServedConnection(store, settings, TRANSPORT))


def host_of(client: Client) -> EngineHost:
    """The engine's thread behind a client of `client_at`."""
    connection: Any = client._connection
    host: EngineHost = connection.host
    return host
