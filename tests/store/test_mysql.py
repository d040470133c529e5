"""MySQL: the behaviour of every store; and its own news, presence, claims and history."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from aiki.store.mysql.store import MySqlStore
from tests.services import mysql
from tests.store.behaviour import StoreBehaviour

mysql_url = mysql.mysql_url
LIMIT_SECONDS = 20


@pytest.fixture
async def store(mysql_url: str) -> AsyncIterator[MySqlStore]:
    store = MySqlStore(mysql_url)
    await store.open()
    yield store
    await store.close()


class TestMySql(StoreBehaviour):
    """Everything that a store must do."""
