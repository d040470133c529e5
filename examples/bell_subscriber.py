"""A subscriber of one's own: a worker that asks when a bell rings, and slowly by itself.

The bell is a datagram to a port of this machine, of any content: `ring(port)`. It brings only news,
so that a lost datagram costs a delay and nothing else, and a forged one an empty request.
"""

from __future__ import annotations

import asyncio
import socket

from aiki import Ask, Interest
from aiki.operations.work import Claims

RETRY_SECONDS = 0.5


class Bell(asyncio.DatagramProtocol):
    """Asks when a datagram arrives, and every `look_seconds` whatever arrives."""

    def __init__(self, port: int = 0, *, look_seconds: float = 10.0) -> None:
        self.port = port
        """Where the bell hangs; 0 becomes a free one when it is opened."""
        self._look_seconds = look_seconds
        self._rung = asyncio.Event()
        self._pause_seconds = 0.0
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self, interest: Interest) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=("127.0.0.1", self.port)
        )
        self.port = self._transport.get_extra_info("sockname")[1]
        self._rung.set()  # What became ready before is not announced again.

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._rung.set()

    async def next(self, capacity: int) -> Ask:
        await asyncio.sleep(self._pause_seconds)
        try:
            async with asyncio.timeout(self._look_seconds):
                await self._rung.wait()
        except TimeoutError:
            pass  # Nobody rang: look all the same.
        self._rung.clear()
        return Ask(limit=capacity, wait_ms=0)

    def learn(self, claims: Claims) -> None:
        self._pause_seconds = 0.0
        if claims.runs:
            self._rung.set()  # Where some were, more may be.

    def ended(self, run_id: str) -> None:
        """A bell holds nothing for a run."""

    def failed(self, error: Exception) -> None:
        self._pause_seconds = RETRY_SECONDS
        self._rung.set()

    def note_announcing(self, announcing: bool) -> None:
        """A bell is rung by whoever likes to, not by the server."""

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def ring(port: int) -> None:
    """Tell the worker that listens there that a run may be ready."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"", ("127.0.0.1", port))
