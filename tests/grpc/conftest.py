"""A server over gRPC on an engine of the test's own loop, and ways into it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.grpc.support import Served, served
from tests.support.loops import pytest_asyncio_loop_factories, pytest_itemcollected


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    """An engine without daemons behind a server; time passes when the test says so."""
    async with served(tmp_path / "aiki.db") as server:
        yield server


__all__ = ["pytest_asyncio_loop_factories", "pytest_itemcollected"]
