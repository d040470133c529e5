"""The servers of tests: each version answers, and none is left behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from tests.services import postgres
from tests.services.proxy import Proxy
from tests.services.server import private, server_pid


@pytest.mark.parametrize("version", ["18", "15"])
async def test_a_version_answers(version: str) -> None:
    connection = await asyncpg.connect(postgres.postgres(version).url)
    found = await connection.fetchval("SHOW server_version")
    await connection.close()
    assert found.startswith(f"{version}.")


def test_a_private_server_ends_with_its_test() -> None:
    with private(postgres.service("18")) as data:
        pid = server_pid(data)
        asyncio.run(postgres.execute(postgres.at(data).url, "SELECT 1"))
    assert not Path(f"/proc/{pid}").exists()
    assert not data.parent.exists()


async def test_a_proxy_cuts_after_the_request_and_swallows() -> None:
    seen: list[bytes] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            seen.append(data)
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with Proxy.to_port(server.sockets[0].getsockname()[1]) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"one")
        assert await reader.read(100) == b"one"
        proxy.cut_after(b"two")
        writer.write(b"two")
        with pytest.raises(ConnectionError):
            await _read(reader)
        assert (seen, proxy.cuts) == ([b"one", b"two"], 1)
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        proxy.black_hole()
        writer.write(b"three")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(100), 0.05)
        proxy.let_through()
        assert await asyncio.wait_for(reader.read(100), 10) == b"three"
        writer.close()
    server.close()


async def _read(reader: asyncio.StreamReader) -> None:
    """An end and a reset are the same to whoever waits for an answer."""
    if await reader.read(100) == b"":
        raise ConnectionError
