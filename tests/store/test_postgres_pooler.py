"""PostgreSQL behind PgBouncer in transaction mode: slower, and without sessions, but right."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from aiki.store.postgres.address import Address
from aiki.store.postgres.store import PostgresStore
from aiki.store.protocol import Transaction
from aiki.store.records import ALL_NEWS, EntryRow, News
from tests.services import pgbouncer, postgres
from tests.services.server import private
from tests.store.behaviour import OFFERS, Verbs, a_run, an_entry, ready

postgres_url = postgres.postgres_url
LIMIT_SECONDS = 20
IGNORING = (
    "ignore_startup_parameters = statement_timeout,lock_timeout,jit,plan_cache_mode,search_path,"
    "idle_in_transaction_session_timeout,random_page_cost,enable_seqscan,enable_bitmapscan,"
    "enable_hashjoin,enable_mergejoin,tcp_keepalives_idle,tcp_keepalives_interval,"
    "tcp_keepalives_count,tcp_user_timeout"
)
"""A pooler so configured takes the settings and drops them: nothing fails when it is opened."""


@pytest.fixture(params=["", IGNORING], ids=["refuses settings", "ignores settings"])
def pooled_url(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[str]:
    """The test's schema, through a pooler."""
    server = postgres.postgres(postgres.versions()[0])
    if server.socket is None:
        pytest.skip("the socket of the server that was given is unknown")
    with private(pgbouncer.service(server, request.param)) as data:
        yield pgbouncer.url_of(data, str(Address.parse(postgres_url).schema))


async def test_everything_but_sessions_works(
    pooled_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(PostgresStore, "POLL_MS", (1, 60_000))
    store = PostgresStore(pooled_url)
    with caplog.at_level(logging.WARNING, "aiki.store"):
        await store.open()
    assert "listen_url" in caplog.text
    runs = [a_run(f"r-{number}") for number in range(20)]

    async def start(tx: Transaction) -> None:
        await tx.insert_runs(runs)
        await tx.insert_outbox([ready(run) for run in runs])

    async def claim(tx: Transaction, number: int) -> None:
        (run_id,) = await tx.pick_ready("default", OFFERS, (), 1)
        await tx.update_states([a_run(run_id, "running", epoch=number)])
        await tx.delete_outbox([run_id])
        await tx.insert_entries([EntryRow(run_id, 1, an_entry(1))])

    await store.transact(start)
    claims = (store.transact(lambda tx, n=n: claim(tx, n)) for n in range(20))  # type: ignore[misc]
    await asyncio.gather(*claims)
    found = await asyncio.gather(
        *(store.read(lambda tx: tx.load_runs(["r-1", "r-2"])) for _ in range(20))
    )
    assert {run.state.status for answer in found for run in answer} == {"running"}
    assert await Verbs(store).stale_outbox(9, 9) == []
    await store.announce("w-1")
    assert await store.dead(["w-1"]) == []
    await store.withdraw("w-1")
    assert await store.wait_for_news(lambda: True) == ALL_NEWS
    await store.close()


async def test_with_a_direct_way_beside_it_news_are_heard(
    pooled_url: str, postgres_url: str
) -> None:
    store = PostgresStore(pooled_url, listen_url=postgres_url)
    await store.open()
    other = PostgresStore(postgres_url)
    await other.open()
    for one, another in ((store, other), (other, store)):
        await one.transact(lambda tx: tx.signal(News.READY))
        heard = await asyncio.wait_for(another.wait_for_news(lambda: True), LIMIT_SECONDS)
        assert heard & News.READY
    await store.close()
    await other.close()
