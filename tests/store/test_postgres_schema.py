"""PostgreSQL's schema: migrations, the rights of a server's role, dump and restore."""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from aiki.errors import ConfigurationError
from aiki.model.run import Transition
from aiki.store.postgres import migrations
from aiki.store.postgres.address import Address
from aiki.store.postgres.connection import connect
from aiki.store.postgres.migrations import MIGRATIONS, SCHEMA_VERSION, Migration, migrate
from aiki.store.postgres.store import PostgresStore
from aiki.store.protocol import Transaction
from aiki.store.records import EntryRow
from tests.services import postgres
from tests.store.behaviour import OFFERS, Verbs, a_run, a_worker, an_entry, ready

postgres_url = postgres.postgres_url
LIMIT_SECONDS = 20


async def _fetch(url: str, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    connection = await connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(sql, *values)]
    finally:
        await connection.close()


async def _open_and_close(url: str, **options: Any) -> None:
    store = PostgresStore(url, **options)
    await store.open()
    await store.close()


async def _versions(url: str) -> list[int]:
    return [row[0] for row in await _fetch(url, "SELECT version FROM schema_migration ORDER BY 1")]


# Migrations


async def test_stores_that_open_together_migrate_once(postgres_url: str) -> None:
    await asyncio.gather(*(_open_and_close(postgres_url) for _ in range(5)))
    assert await _versions(postgres_url) == [step.version for step in MIGRATIONS]


async def test_migrate_tells_its_steps(postgres_url: str) -> None:
    assert await migrate(postgres_url) == list(MIGRATIONS)
    assert await migrate(postgres_url) == []
    await _open_and_close(postgres_url, migrate=False)


async def test_a_migration_that_is_killed_is_taken_up_again(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = SCHEMA_VERSION + 1
    slow = Migration(version, "slow", "CREATE TABLE half (x int);\nSELECT pg_sleep(60);\n")
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", version)
    monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, slow))
    migrating = asyncio.create_task(migrate(postgres_url))
    await _kill_sleeper(postgres_url)
    with pytest.raises(Exception, match=r"."):
        await migrating
    assert await _versions(postgres_url) == [step.version for step in MIGRATIONS]
    assert await _fetch(postgres_url, "SELECT to_regclass('half')::text") == [(None,)]
    mended = Migration(version, "slow", "CREATE TABLE half (x int);\n")
    monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, mended))
    assert await migrate(postgres_url) == [mended]
    assert (await _versions(postgres_url))[-1] == version


async def _kill_sleeper(url: str) -> None:
    """End the session that sleeps in a migration of this schema, as soon as it does."""
    kill = """
        SELECT pg_terminate_backend(s.pid) FROM pg_stat_activity AS s JOIN pg_locks AS l USING (pid)
        WHERE s.wait_event = 'PgSleep' AND l.relation::regclass::text LIKE '%schema_migration'
    """
    async with asyncio.timeout(LIMIT_SECONDS):
        while not await _fetch(url, kill):
            pass


async def test_a_newer_schema_is_refused_with_the_way_out(postgres_url: str) -> None:
    await migrate(postgres_url)
    await _fetch(postgres_url, "INSERT INTO schema_migration VALUES (999, 'future', 0)")
    for attempt in (migrate(postgres_url), PostgresStore(postgres_url).open()):
        with pytest.raises(ConfigurationError, match=r"schema 999.*upgrade Aiki"):
            await attempt


async def test_an_older_schema_is_refused_where_it_must_not_be_changed(postgres_url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"schema 0.*run `aiki migrate`"):
        await PostgresStore(postgres_url, migrate=False).open()
    assert await _fetch(postgres_url, "SELECT to_regclass('run')::text") == [(None,)]


# Rights


@pytest.fixture
async def server_url(postgres_url: str) -> AsyncIterator[str]:
    """The URL of a role that has what a server needs, and nothing else."""
    role = f"server_{uuid.uuid4().hex[:12]}"
    schema = Address.parse(postgres_url).schema
    await migrate(postgres_url)
    # What the manual tells to grant.
    await postgres.execute(
        Address.parse(postgres_url).url,
        f"CREATE ROLE {role} LOGIN",
        f"GRANT USAGE ON SCHEMA {schema} TO {role}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role}",
    )
    yield postgres_url.replace("postgresql://aiki@", f"postgresql://{role}@")
    await postgres.execute(
        Address.parse(postgres_url).url, f"DROP OWNED BY {role}", f"DROP ROLE {role}"
    )


async def test_a_servers_role_needs_no_right_to_change_the_schema(server_url: str) -> None:
    store = PostgresStore(server_url)
    await store.open()
    verbs = Verbs(store)
    await store.announce("w-1")
    await _start_claim_and_report(store)
    assert (await verbs.load_entries([("r-1", 1)]))["r-1"] == [an_entry(1)]
    await verbs.delete_runs(["r-1"])
    await store.withdraw("w-1")
    await store.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await _fetch(server_url, "DROP TABLE run")


async def test_a_role_that_must_migrate_and_may_not_is_told_the_way_out(
    server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Migration(SCHEMA_VERSION + 1, "more", "CREATE TABLE more (x int);\n")
    monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, step))
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", step.version)
    monkeypatch.setattr(PostgresStore, "schema_version", step.version)
    with pytest.raises(ConfigurationError, match="run `aiki migrate` with the role that owns it"):
        await PostgresStore(server_url).open()


async def _start_claim_and_report(store: PostgresStore) -> None:
    async def start(tx: Transaction) -> None:
        await tx.now()
        await tx.save_worker(a_worker(), OFFERS, ())
        await tx.insert_runs([a_run()])
        await tx.insert_transitions([Transition("r-1", 0, "queued", "new", 1, 1, 0)])
        await tx.insert_payloads([("r-1", "input", b"1")])
        await tx.insert_outbox([ready(a_run())])

    async def claim(tx: Transaction) -> None:
        assert await tx.pick_ready("default", OFFERS, (), 1) == ["r-1"]
        await tx.update_states([a_run("r-1", "running", epoch=1, holder="w-1")])
        await tx.delete_outbox(["r-1"])

    async def report(tx: Transaction) -> None:
        await tx.load_runs(["r-1"])
        await tx.insert_entries([EntryRow("r-1", 1, an_entry(1))])

    for work in (start, claim, report):
        await store.transact(work)


# Dump and restore


async def test_a_dump_restores_to_a_database_that_opens_with_all_rows(postgres_url: str) -> None:
    server = postgres.postgres(postgres.versions()[0])
    if server.programs is None or server.socket is None:
        pytest.skip("the programs of the server that was given are unknown")
    store = PostgresStore(postgres_url)
    await store.open()
    await _start_claim_and_report(store)
    await store.close()
    address = Address.parse(postgres_url)
    copy = f"copy_{uuid.uuid4().hex[:12]}"
    await postgres.execute(address.url, f"CREATE DATABASE {copy}")
    host = ["-h", str(server.socket), "-U", postgres.OWNER]
    dump = [str(server.programs / "pg_dump"), *host, "-n", str(address.schema), "postgres"]
    restore = [str(server.programs / "psql"), *host, "-q", "-v", "ON_ERROR_STOP=1", copy]
    dumped = await asyncio.to_thread(subprocess.run, dump, check=True, capture_output=True)
    await asyncio.to_thread(
        subprocess.run, restore, input=dumped.stdout, check=True, capture_output=True
    )
    copy_url = postgres_url.replace("/postgres?", f"/{copy}?")
    assert await _all_rows(copy_url) == await _all_rows(postgres_url)
    restored = PostgresStore(copy_url, migrate=False)
    await restored.open()
    assert [run.state.status for run in await Verbs(restored).load_runs(["r-1"])] == ["running"]
    await restored.close()
    await postgres.execute(address.url, f"DROP DATABASE {copy} WITH (FORCE)")


async def _all_rows(url: str) -> dict[str, list[tuple[Any, ...]]]:
    tables = await _fetch(url, "SELECT tablename FROM pg_tables WHERE schemaname = current_schema")
    assert len(tables) > 15
    return {
        table: await _fetch(url, f"SELECT t::text FROM {table} AS t ORDER BY 1")
        for (table,) in sorted(tables)
    }
