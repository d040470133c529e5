"""A TCP proxy that breaks connections on purpose: it cuts them, or swallows what passes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Self

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Proxy:
    """Forwards connections from a port of 127.0.0.1 to a server.

    `cut_after(needle)` cuts, once, the connection whose client sends these bytes, after they were
    forwarded and before the answer is; `black_hole` swallows both directions of all connections;
    `say` puts words into the server's mouth.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.StreamWriter] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._needle: bytes | None = None
        self._holding: asyncio.Future[None] | None = None
        self._asking: set[asyncio.Event] = set()
        self.cuts = 0
        self.turns = 0
        """Round trips: how often a client spoke after it was answered."""
        self.port = 0

    @classmethod
    def to_unix(cls, path: str) -> Self:
        """A proxy to a Unix socket."""
        return cls(lambda: asyncio.open_unix_connection(path))

    @classmethod
    def to_port(cls, port: int, host: str = "127.0.0.1") -> Self:
        """A proxy to a TCP port."""
        return cls(lambda: asyncio.open_connection(host, port))

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        self.let_through()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Cut every connection."""
        for writer in list(self._links):
            writer.transport.abort()

    def cut_after(self, needle: bytes) -> None:
        """Cut the connection that next sends these bytes, after the server has answered them."""
        self._needle = needle

    async def say(self, data: bytes) -> None:
        """Send these bytes to every client, as if the server did, unasked."""
        for writer in self._clients:
            writer.write(data)
            await writer.drain()

    def black_hole(self) -> None:
        """Nothing passes any more, and no connection is closed: as behind a dead router."""
        if self._holding is None:
            self._holding = asyncio.get_running_loop().create_future()

    def let_through(self) -> None:
        """End the black hole; what it held back passes now."""
        if self._holding is not None:
            self._holding.set_result(None)
            self._holding = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            up_reader, up_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        link = {writer, up_writer}
        self._links |= link
        self._clients.add(writer)
        doomed = asyncio.Event()
        try:
            await asyncio.gather(
                self._forward(reader, up_writer, doomed),
                self._answer(up_reader, writer, doomed),
            )
        except asyncio.CancelledError:
            pass  # The proxy is closed; asyncio's streams would complain of a cancelled task.
        finally:
            self._links -= link
            self._clients.discard(writer)
            self._asking.discard(doomed)
            for end in link:
                end.transport.abort()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self._pass()
                if doomed not in self._asking:
                    self._asking.add(doomed)
                    self.turns += 1
                if self._needle is not None and self._needle in data:
                    self._needle = None
                    doomed.set()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event
    ) -> None:
        """What the server answers; to a doomed request the answer is a closed connection."""
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self._pass()
                self._asking.discard(doomed)
                if doomed.is_set():
                    self.cuts += 1
                    break
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    async def _pass(self) -> None:
        while self._holding is not None:
            await asyncio.shield(self._holding)
