"""Whatever happens to a broker, the database that a test leaves is sound."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from aiki.compose import inspect
from aiki.store.protocol import Store
from tests.server import support
from tests.support.databases import aside, store_at, url_of


@pytest.fixture(autouse=True)
def _sound(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    opened: list[str] = []

    def note(path: Path) -> Store:
        opened.append(url_of(path))
        return store_at(path)

    monkeypatch.setattr(support, "store_at", note)
    yield
    for url in opened:
        assert aside(partial(inspect, url)) == []
