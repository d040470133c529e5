"""Laws of what leaves a connection, and when."""

from __future__ import annotations

import asyncio

import pytest

from aiki.server import connection
from aiki.server.cork import Cork
from tests.server.support import House


class Wire(asyncio.Transport):
    """Notes what reaches it."""

    def __init__(self) -> None:
        super().__init__()
        self.packets: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.packets.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
async def cork(wire: Wire) -> Cork:
    return Cork(wire, asyncio.get_running_loop())


async def test_what_is_written_in_one_turn_leaves_together(wire: Wire, cork: Cork) -> None:
    cork.write(b"head ")
    cork.write(b"body")
    assert wire.packets == []
    await asyncio.sleep(0)
    assert wire.packets == [b"head body"]
    cork.write(b"more")
    await asyncio.sleep(0)
    assert wire.packets == [b"head body", b"more"]


async def test_it_leaves_at_once_when_it_is_told_to(wire: Wire, cork: Cork) -> None:
    cork.write(b"head ")
    cork.write(b"body")
    cork.flush()
    await asyncio.sleep(0)
    assert wire.packets == [b"head body"]


async def test_what_is_large_does_not_wait(wire: Wire, cork: Cork) -> None:
    cork.write(bytes(100_000))
    assert wire.packets == [bytes(100_000)]


async def test_a_close_comes_after_what_was_written(wire: Wire, cork: Cork) -> None:
    cork.write(b"last")
    cork.close()
    assert wire.packets == [b"last"]
    assert cork.is_closing()
    cork.write(b"too late")
    await asyncio.sleep(0)
    assert wire.packets == [b"last"]


async def test_a_response_is_one_packet(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []

    class Noted(Cork):
        def flush(self) -> None:
            sent.append(b"".join(self._parts))
            super().flush()

    monkeypatch.setattr(connection, "Cork", Noted)
    assert (await house.get("/healthz")).status == 200
    packets = [packet for packet in sent if packet]
    assert len(packets) == 1
    assert packets[0].startswith(b"HTTP/1.1 200")
    assert packets[0].endswith(b"}")
