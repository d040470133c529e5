"""Fixtures for tests that need a whole Aiki; a folder's conftest imports those that it offers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.app import App, Ledger, app_on


@pytest_asyncio.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    """A client with its server, on a file of its own, without workers yet."""
    async with app_on(tmp_path / "aiki.db") as app:
        yield app


@pytest.fixture
def ledger() -> Ledger:
    """What tasks write down."""
    return Ledger()


@pytest.fixture
def resident(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a test that is about memory: runs stay in it, whatever the mode of the suite."""
    monkeypatch.delenv("AIKI_REPLAY_ALWAYS", raising=False)


@pytest.fixture
def replay_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every entry makes the worker forget the run."""
    monkeypatch.setenv("AIKI_REPLAY_ALWAYS", "1")
