"""One server for each test, with the settings that the test chooses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aiki.store.sqlite.store import SqliteStore
from tests.server.support import House
from tests.support.loops import pytest_asyncio_loop_factories, pytest_itemcollected


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """A server with the usual settings, whose database nobody else opens."""
    monkeypatch.setattr(SqliteStore, "SIGNAL_MS", (60_000, 60_000))
    async with House(tmp_path / "a.db") as house:
        yield house


__all__ = ["pytest_asyncio_loop_factories", "pytest_itemcollected"]
