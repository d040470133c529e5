"""PostgreSQL: the behaviour of every store, and what is its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from aiki.store.postgres.store import PostgresStore
from tests.services import postgres
from tests.store.behaviour import StoreBehaviour

each_postgres_url = postgres.each_postgres_url


@pytest.fixture
async def store(each_postgres_url: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(each_postgres_url)
    await store.open()
    yield store
    await store.close()


class TestPostgres(StoreBehaviour):
    """Everything that a store must do."""
