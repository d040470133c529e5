"""The cork of a connection: what is written in one turn of the loop leaves in one packet."""

from __future__ import annotations

import asyncio

_MOST_BYTES = 65_536
"""So much does not wait: whoever writes on has to notice that its reader is slow."""


class Cork(asyncio.Transport):
    """Stands before a transport, so that the head of a response and its body leave together.

    Two packets would wake their reader twice.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Let it leave with what else is written in this turn."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(bytes(data))
        self._size += len(data)
        if self._size > _MOST_BYTES:
            self.flush()

    def flush(self) -> None:
        """Let it leave now."""
        parts, self._parts, self._size = self._parts, [], 0
        if parts and not self._transport.is_closing():
            self._transport.writelines(parts)

    def close(self) -> None:
        """Close the transport after what was written."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether the transport is closed, or will be."""
        return self._transport.is_closing()
