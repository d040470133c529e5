"""One engine for each test, without daemons: time passes when the test says so.

Each runs on Python's own event loop, as in an application, and on the one that servers use.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from aiki.server.serving import loop_factory
from aiki.store.sqlite.store import SqliteStore
from tests.engine.support import Crash, Ring
from tests.support.loops import pytest_itemcollected


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loops, by the names that tests are told apart by."""
    return {"application": asyncio.new_event_loop, "server": loop_factory()}


@pytest.fixture
async def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ring]:
    """An engine on an empty file."""
    monkeypatch.setattr(SqliteStore, "SIGNAL_MS", (60_000, 60_000))
    ring = Ring(tmp_path / "a.db")
    await ring.engine.start()
    yield ring
    with suppress(Crash):
        await ring.engine.stop()
    await ring.store.close()


__all__ = ["pytest_itemcollected"]
