"""Proxies that lose answers: a share of what was asked for is done, and nobody is told.

Which exchanges lose their answers is chosen by a fixed seed. The connection is cut when the server
has answered, so that what was asked is done.
"""

from __future__ import annotations

import asyncio
import random
from typing import Protocol

from tests.services.proxy import Connect, Proxy


class Exchanges(Protocol):
    """Reads what a client sends on one connection."""

    def asks(self, data: bytes) -> bool:
        """Whether these bytes ask for something whose answer may be lost."""
        ...


class LossyProxy(Proxy):
    """Loses the answers to a share of the exchanges."""

    kind: type[Exchanges]
    share = 0.05

    def __init__(self, connect: Connect) -> None:
        super().__init__(connect)
        self._chance = random.Random(1)
        self.exchanges = 0

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read = reader.read
        exchanges = self.kind()

        async def watched(n: int = -1) -> bytes:
            data = await read(n)
            if exchanges.asks(data):
                self.exchanges += 1
                if self._chance.random() < self.share:
                    self.cut_after(data)
            return data

        reader.read = watched  # type: ignore[method-assign]
        await super()._accept(reader, writer)


class PostgresCommits:
    """COMMIT, and the statements that save a whole transaction by themselves."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._is_started = False
        self._is_writing = False
        """Within a transaction of several statements."""
        self._saves: set[bytes] = set()
        """Names of prepared statements."""

    def asks(self, data: bytes) -> bool:
        self._data += data
        if not self._is_started:
            # The first message has no letter.
            self._is_started = len(self._data) >= 4 and self._take(0) is not None
        found = False
        while (message := self._take(1)) is not None:
            found = self._commits(message[:1], message[5:]) or found
        return found

    def _take(self, letters: int) -> bytes | None:
        """The next message, when all of it is there."""
        length = letters + int.from_bytes(self._data[letters : letters + 4])
        if len(self._data) < max(length, letters + 4):
            return None
        message = bytes(self._data[:length])
        del self._data[:length]
        return message

    def _commits(self, kind: bytes, body: bytes) -> bool:
        if kind == b"P":
            name, query = body.split(b"\0")[:2]
            if b"aiki_save_" in query:
                self._saves.add(name)
        elif kind == b"B":
            return not self._is_writing and body.split(b"\0")[1] in self._saves
        elif kind == b"Q":
            was_writing, self._is_writing = self._is_writing, b"READ COMMITTED" in body
            return was_writing and body == b"COMMIT\0"
        return False


class HttpCalls:
    """Messages of calls."""

    def asks(self, data: bytes) -> bool:
        return b"POST /api/v1/calls" in data


class Messages:
    """Whatever is sent."""

    def asks(self, data: bytes) -> bool:
        return bool(data)


class LossyPostgres(LossyProxy):
    """Between a server and PostgreSQL."""

    kind = PostgresCommits


class LossyHttp(LossyProxy):
    """Between clients and a server."""

    kind = HttpCalls


class LossyGrpc(LossyProxy):
    """Between clients and a server; many calls share a connection, and all lose it."""

    kind = Messages
    share = 0.03
