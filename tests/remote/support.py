"""Servers on loopback that can be stopped and started again, and ways to look at what they get."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aiki.client.client import Client
from aiki.engine.engine import Engine, EngineSettings
from aiki.engine.host import EngineHost
from aiki.remote.http import HttpApi, HttpConnection
from aiki.remote.settings import HttpSettings
from aiki.server.serving import Server, ServerSettings
from tests.services.proxy import Proxy
from tests.support.databases import store_at
from tests.support.topology import on_host

LIMIT_SECONDS = 30


class Served:
    """A server with an engine of its own, on a thread; it keeps its port when it starts again."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.path = path
        self.port = 0
        self.host: EngineHost | None = None
        self._settings = settings
        self._server: Server | None = None

    async def start(self) -> None:
        self.host = EngineHost(store_at(self.path), EngineSettings(daemons=True))
        await asyncio.to_thread(self.host.start)
        self._server = Server(self.engine, ServerSettings(port=self.port, **self._settings))
        await on_host(self.host, self._server.start())
        self.port = int(self._server.url.rpartition(":")[2])

    async def stop(self, grace_ms: int = 500) -> None:
        host, server = self.host, self._server
        if host is not None and server is not None:
            self.host = self._server = None
            await on_host(host, server.stop(grace_ms))
            await asyncio.to_thread(host.stop)

    @property
    def running(self) -> EngineHost:
        """The engine's thread."""
        assert self.host is not None
        return self.host

    @property
    def engine(self) -> Engine:
        assert self.running.engine is not None
        return self.running.engine

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def served(path: Path, **settings: Any) -> AsyncIterator[Served]:
    """A server on the database that stands for this path."""
    server = Served(path, **settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class Tally(Proxy):
    """A proxy that counts what passes."""

    accepted = 0
    """Connections so far."""
    requests = 0
    """Messages of calls so far."""
    open = 0
    most = 0
    """Connections at the same time."""
    away = False
    """Connections are ended at once, as if nobody listened behind a load balancer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.away:
            writer.transport.abort()
            return
        read = reader.read

        async def counted(n: int = -1) -> bytes:
            data = await read(n)
            self.requests += data.count(b"POST /api/v1/calls")
            return data

        reader.read = counted  # type: ignore[method-assign]
        self.accepted += 1
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            # The end of the test is the end of its connections.
            with suppress(asyncio.CancelledError):
                await super()._accept(reader, writer)
        finally:
            self.open -= 1


def client_of(
    *urls: str, token: str | None = None, namespace: str = "default", **settings: Any
) -> Client:
    """A client of these servers."""
    connection = HttpConnection(
        urls, namespace=namespace, token=token, settings=HttpSettings(**settings)
    )
    return Client(connection, namespace=namespace)


async def api_of(*urls: str, **options: Any) -> HttpApi:
    """The waist of these servers: nothing is repeated by a client."""
    api = await client_of(*urls, **options).api()
    assert isinstance(api, HttpApi)
    return api


async def happens(condition: Callable[[], object]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - what is looked at announces nothing
            await asyncio.sleep(0.001)


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@asynccontextmanager
async def scripted(*answers: bytes) -> AsyncIterator[str]:
    """A server that answers whatever comes by these bytes, in turn, and closes; the last stays."""
    left = list(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.read(65_536)
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def response(status: int, body: bytes = b"", *headers: str, kind: str | None = None) -> bytes:
    """A whole HTTP response."""
    lines: Sequence[str] = [f"HTTP/1.1 {status} Word", f"Content-Length: {len(body)}", *headers]
    if kind is not None:
        lines = [*lines, f"Content-Type: {kind}"]
    return "\r\n".join([*lines, "", ""]).encode() + body
