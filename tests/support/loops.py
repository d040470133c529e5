"""Event loops of tests: a folder whose conftest imports these hooks runs on the loop of servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from aiki.server.serving import loop_factory


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that servers use."""
    return {"server": loop_factory()}


def pytest_itemcollected(item: pytest.Item) -> None:
    """End the process of a test that hangs: uvloop lets no exception of a signal handler out."""
    item.add_marker(pytest.mark.timeout(method="thread"))
