"""One server and a proxy in front of it, for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aiki.remote.http import HttpApi
from tests.remote.support import Served, Tally, api_of, served


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    """A server on an empty database."""
    async with served(tmp_path / "a.db") as server:
        yield server


@pytest.fixture
async def proxy(server: Served) -> AsyncIterator[Tally]:
    """What stands between client and server."""
    async with Tally.to_port(server.port) as proxy:
        yield proxy


@pytest.fixture
async def api(proxy: Tally) -> AsyncIterator[HttpApi]:
    """The waist, through the proxy."""
    api = await api_of(proxy.url)
    yield api
    await api.close()
