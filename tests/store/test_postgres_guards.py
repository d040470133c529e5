"""PostgreSQL: what is read without a lock is guarded, and most work takes two round trips."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from aiki.ids import new_id
from aiki.store.postgres.store import PostgresStore
from aiki.store.protocol import Transaction
from tests.services import postgres
from tests.store.behaviour import a_fact, a_run

each_postgres_url = postgres.each_postgres_url


@pytest.fixture
async def store(each_postgres_url: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(each_postgres_url)
    await store.open()
    yield store
    await store.close()


async def test_a_guarded_run_that_changes_has_the_work_repeated(store: PostgresStore) -> None:
    await store.transact(lambda tx: tx.insert_runs([a_run()]))
    tries: list[str] = []

    async def change(tx: Transaction) -> None:
        await tx.load_runs(["r-1"])
        await tx.update_states([a_run(status="running", epoch=7)])

    async def work(tx: Transaction) -> None:
        (run,) = await tx.guard_runs(["r-1"])
        tries.append(run.state.status)
        if len(tries) == 1:
            await store.transact(change)
        await tx.insert_facts([a_fact("f-1", value=run.state.status.encode())])

    await store.transact(work)
    assert tries == ["queued", "running"]
    (fact,) = await store.read(lambda tx: tx.find_facts(["f-1"]))
    assert fact.value == b"running"


async def test_a_guard_holds_also_where_a_transaction_begins_late(store: PostgresStore) -> None:
    await store.transact(lambda tx: tx.insert_runs([a_run()]))
    tries: list[int] = []

    async def work(tx: Transaction) -> None:
        (run,) = await tx.guard_runs(["r-1"])
        tries.append(run.state.epoch)
        if len(tries) == 1:
            await store.transact(lambda other: other.update_states([a_run(epoch=7)]))
        await tx.load_facts(["r-1"])
        await tx.update_states([a_run(status="running", epoch=run.state.epoch + 1)])

    await store.transact(work)
    assert tries == [0, 7]
    (run,) = await store.read(lambda tx: tx.load_runs(["r-1"]))
    assert (run.state.status, run.state.epoch) == ("running", 8)


async def test_what_needs_one_statement_takes_two_round_trips(store: PostgresStore) -> None:
    await store.transact(lambda tx: tx.insert_runs([a_run()]))

    async def work(tx: Transaction) -> None:
        await tx.guard_runs(["r-1"])
        await tx.now()
        await tx.insert_facts([a_fact(new_id())])
        await tx.update_states([a_run(status="running")])

    await store.transact(work)
    before = store.round_trips
    await store.transact(work)
    assert store.round_trips == before + 2
