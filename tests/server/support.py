"""A server on loopback over an engine of its own, and a client that speaks plain HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import aiohttp

from aiki.engine.engine import Engine, EngineSettings
from aiki.model.audit import Principal
from aiki.operations.base import Operation
from aiki.queue.publisher import Publisher
from aiki.server.access import Access
from aiki.server.serving import Server, ServerSettings
from aiki.wire.calls import MEDIA_TYPE, PATH, decode_answers, encode_calls
from tests.support.databases import store_at

R = TypeVar("R")
API = "/api/v1"
LIMIT_SECONDS = 20.0
"""How long a test waits for what must happen: it never passes in a test that succeeds."""


class Response(NamedTuple):
    """A whole response."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def kind(self) -> str:
        """The last part of a problem's type."""
        assert self.headers["content-type"] == "application/problem+json", self.body
        return str(self.json["type"]).removeprefix("urn:aiki:error:")


class House:
    """An engine, its server, and a client of it."""

    def __init__(
        self,
        path: Path,
        *,
        engine: dict[str, Any] | None = None,
        access: Access | None = None,
        publisher: Publisher | None = None,
        **settings: Any,
    ) -> None:
        self.path = path
        chosen: dict[str, Any] = {"daemons": False} | (engine or {})
        self.engine = Engine(store_at(path), EngineSettings(**chosen), publisher)
        self.api = self.engine.session(Principal())
        self.server = Server(self.engine, ServerSettings(port=0, **settings), access=access)
        self.stopped = False

    async def __aenter__(self) -> House:
        await self.engine.start()
        await self.server.start()
        self.http = aiohttp.ClientSession(
            self.server.url, timeout=aiohttp.ClientTimeout(LIMIT_SECONDS), auto_decompress=False
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.http.close()
        await self.stop()
        await self.engine.stop()

    async def stop(self, grace_ms: int = 2_000) -> None:
        """Stop the server."""
        await self.server.stop(grace_ms)

    async def request(self, method: str, path: str, **options: Any) -> Response:
        """One request; `path` is below the API where it does not begin with a slash."""
        url = path if path.startswith("/") else f"{API}/{path}"
        async with self.http.request(method, url, allow_redirects=False, **options) as response:
            return Response(response.status, response.headers, await response.read())

    async def get(self, path: str, **options: Any) -> Response:
        return await self.request("GET", path, **options)

    async def post(self, path: str, value: Any = None, **options: Any) -> Response:
        """A request with a JSON body."""
        return await self.request("POST", path, json=value, **options)

    async def calls(self, *operations: Operation[Any], **headers: str) -> list[Any]:
        """Answers to operations in one message, or the errors."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await self.request(
            "POST",
            PATH,
            data=encode_calls(operations),
            headers={"Content-Type": MEDIA_TYPE} | named,
        )
        assert response.status == 200, response
        answers = decode_answers(response.body, operations)
        return [result if error is None else error for result, error in answers]

    async def start_run(self, **fields: Any) -> str:
        """Start a run; answers its id."""
        start = {"workflow": "orders", "version": "1.0", "input": {}} | fields
        response = await self.post("runs", start)
        assert response.status in (200, 201), response
        return str(response.json["id"])

    async def status(self, run_id: str) -> str:
        return str((await self.get(f"runs/{run_id}")).json["run"]["status"])

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.server.url)
        return parts.hostname or "", parts.port or 0

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[Raw]:
        """A connection without any manners."""
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            yield Raw(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


class Raw:
    """A connection byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """Status and head of the next response."""
        async with asyncio.timeout(LIMIT_SECONDS):
            head = await self.reader.readuntil(b"\r\n\r\n")
        return int(head.split()[1]), head

    async def closed(self) -> bytes:
        """What comes until the server hangs up."""
        data = b""
        async with asyncio.timeout(LIMIT_SECONDS):
            with suppress(ConnectionError):
                while part := await self.reader.read(65_536):
                    data += part
        return data


async def holds(condition: Callable[[], object]) -> None:
    """Wait until it is true, one turn of the loop after another."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - what is looked at announces nothing
            await asyncio.sleep(0)
