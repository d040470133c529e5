"""One engine for each test, without daemons: time passes when the test says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from aiki.store.sqlite.store import SqliteStore
from tests.engine.support import Crash, Ring


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
