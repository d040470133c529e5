"""MySQL's schema: migrations, the rights of a server's user, dump and restore."""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from asyncmy.errors import MySQLError

from aiki.errors import ConfigurationError
from aiki.model.run import Transition
from aiki.store.mysql import migrations
from aiki.store.mysql.address import Address
from aiki.store.mysql.connection import connect
from aiki.store.mysql.migrations import MIGRATIONS, SCHEMA_VERSION, Migration, migrate
from aiki.store.mysql.store import MySqlStore
from aiki.store.protocol import Transaction
from aiki.store.records import EntryRow
from tests.services import mysql, server
from tests.store.behaviour import OFFERS, Verbs, a_run, a_worker, an_entry, ready

mysql_url = mysql.mysql_url
LIMIT_SECONDS = 20
NEXT = SCHEMA_VERSION + 1


async def _open_and_close(url: str, **options: Any) -> None:
    store = MySqlStore(url, **options)
    await store.open()
    await store.close()


async def _versions(url: str) -> list[int]:
    found = await mysql.fetch(
        url, "SELECT version FROM schema_migration WHERE statement = '' ORDER BY 1"
    )
    return [row[0] for row in found]


async def _tables(url: str) -> list[str]:
    found = await mysql.fetch(
        url,
        "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
    )
    return sorted(row[0] for row in found)


def _with(monkeypatch: pytest.MonkeyPatch, **statements: str) -> Migration:
    """One more migration, with these statements."""
    step = Migration(NEXT, "more", statements)
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", NEXT)
    monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, step))
    monkeypatch.setattr(MySqlStore, "schema_version", NEXT)
    return step


# Migrations


async def test_stores_that_open_together_migrate_once(mysql_url: str) -> None:
    await asyncio.gather(*(_open_and_close(mysql_url) for _ in range(5)))
    assert await _versions(mysql_url) == [step.version for step in MIGRATIONS]


async def test_migrate_tells_its_steps(mysql_url: str) -> None:
    assert await migrate(mysql_url) == list(MIGRATIONS)
    assert await migrate(mysql_url) == []
    await _open_and_close(mysql_url, migrate=False)


async def test_a_migration_that_is_killed_goes_on_with_the_statement_that_was_not_done(
    mysql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = "UPDATE clock SET offset_ms = offset_ms + 1"
    _with(monkeypatch, first=once, slow="DO SLEEP(60)", last=once)
    migrating = asyncio.create_task(migrate(mysql_url))
    await _kill_sleeper(mysql_url)
    with pytest.raises(Exception, match=r"."):
        await migrating
    assert await _versions(mysql_url) == [step.version for step in MIGRATIONS]
    assert await mysql.fetch(mysql_url, "SELECT offset_ms FROM clock") == [(1,)]
    mended = _with(monkeypatch, first=once, slow="DO 0", last=once)
    assert await migrate(mysql_url) == [mended]
    assert await mysql.fetch(mysql_url, "SELECT offset_ms FROM clock") == [(2,)]
    assert (await _versions(mysql_url))[-1] == NEXT


async def _kill_sleeper(url: str) -> None:
    """End the session that sleeps in a migration of this database, as soon as it does."""
    sleeping = (
        "SELECT id FROM information_schema.processlist"
        " WHERE db = DATABASE() AND info = 'DO SLEEP(60)'"
    )
    async with asyncio.timeout(LIMIT_SECONDS):
        while not (found := await mysql.fetch(url, sleeping)):
            pass
    await mysql.execute(url, f"KILL {found[0][0]}")


async def test_whatever_statement_was_done_and_not_recorded_may_be_done_again() -> None:
    step = MIGRATIONS[0]
    names = list(step.statements)
    assert len(names) > 20
    # A third of the places is as telling as all.
    for done in range(1, len(names) + 1, 3):
        url = mysql.database_url(f"t_{uuid.uuid4().hex}")
        connection = await connect(url)
        for sql in list(step.statements.values())[:done]:
            await connection.send(sql.encode())
        await connection.close()
        await _open_and_close(url)
        assert await _versions(url) == [step.version for step in MIGRATIONS]


async def test_a_column_that_was_added_and_not_recorded_is_there(
    mysql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate(mysql_url)
    sql = "ALTER TABLE clock ADD COLUMN more INT, ADD KEY clock_more (more)"
    await mysql.execute(mysql_url, sql)
    step = _with(monkeypatch, more=sql)
    assert await migrate(mysql_url) == [step]


async def test_a_newer_schema_is_refused_with_the_way_out(mysql_url: str) -> None:
    await migrate(mysql_url)
    await mysql.execute(mysql_url, "INSERT INTO schema_migration VALUES (999, '', 0)")
    for attempt in (migrate(mysql_url), MySqlStore(mysql_url).open()):
        with pytest.raises(ConfigurationError, match=r"schema 999.*upgrade Aiki"):
            await attempt


async def test_an_older_schema_is_refused_where_it_must_not_be_changed(mysql_url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"schema 0.*run `aiki migrate`"):
        await MySqlStore(mysql_url, migrate=False).open()
    assert await _tables(mysql_url) == []


async def test_names_of_the_longest_fit_every_key(mysql_url: str) -> None:
    store = MySqlStore(mysql_url)
    await store.open()
    verbs = Verbs(store)
    name = "\U0001f600" * 200
    run = a_run(
        "r" * 36, "running", namespace=name, workflow=name, version=name, shard=name, holder=name,
        claim_id=name, reference_id=name,
    )  # fmt: skip
    await verbs.insert_runs([run])
    await verbs.insert_outbox([ready(run)])
    await verbs.update_states([run])
    assert await verbs.load_runs(["r" * 36]) == [run]
    assert await verbs.claimed_by(name, name, name) == [run.id]
    await store.close()


# Rights


@pytest.fixture
async def server_url(mysql_url: str) -> AsyncIterator[str]:
    """The URL of a user that has what a server needs, and nothing else."""
    user = f"server_{uuid.uuid4().hex[:12]}"
    database = Address.parse(mysql_url).database
    await migrate(mysql_url)
    # What the manual tells to grant.
    await mysql.execute(
        mysql_url,
        f"CREATE USER {user}@'%'",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{database}`.* TO {user}@'%'",
    )
    yield mysql_url.replace(f"//{mysql.OWNER}@", f"//{user}@")
    await mysql.execute(mysql_url, f"DROP USER {user}@'%'")


async def test_a_servers_user_needs_no_right_to_change_the_schema(server_url: str) -> None:
    store = MySqlStore(server_url, migrate=False)
    await store.open()
    verbs = Verbs(store)
    await store.announce("w-1")
    await _start_claim_and_report(store)
    assert (await verbs.load_entries([("r-1", 1)]))["r-1"] == [an_entry(1)]
    assert await store.dead(["w-1", "w-2"]) == []
    await verbs.delete_runs(["r-1"])
    await store.withdraw("w-1")
    await store.close()
    with pytest.raises(MySQLError, match="DROP command denied"):
        await mysql.execute(server_url, "DROP TABLE run")


async def test_a_user_that_must_migrate_and_may_not_is_told_the_way_out(
    server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with(monkeypatch, more="CREATE TABLE more (x INT)")
    with pytest.raises(ConfigurationError, match="run `aiki migrate` with the user that owns it"):
        await MySqlStore(server_url).open()


async def test_a_server_that_trusts_no_triggers_is_told_the_way_out_and_goes_on_from_there(
    logging_server: mysql.MySql,
) -> None:
    mysql.run_client(logging_server, "CREATE DATABASE aiki")
    url = logging_server.database("aiki")
    with pytest.raises(ConfigurationError, match="log_bin_trust_function_creators = 1"):
        await migrate(url)
    assert "run" in await _tables(url)
    root = logging_server._replace(url=logging_server.url.replace("//aiki@", "//root@"))
    mysql.run_client(root, "SET GLOBAL log_bin_trust_function_creators = 1")
    assert await migrate(url) == list(MIGRATIONS)
    store = MySqlStore(url)
    await store.open()
    await _start_claim_and_report(store)
    await store.close()


@pytest.fixture
def logging_server() -> Iterator[mysql.MySql]:
    """A server of its own that writes a binary log."""
    with server.private(mysql.service(("--log-bin=binary", "--server-id=1"))) as data:
        yield mysql.at(data)


async def _start_claim_and_report(store: MySqlStore) -> None:
    async def start(tx: Transaction) -> None:
        await tx.now()
        await tx.save_worker(a_worker(), OFFERS, ())
        await tx.insert_runs([a_run()])
        await tx.insert_transitions([Transition("r-1", 0, "queued", "new", 1, 1, 0)])
        await tx.insert_payloads([("r-1", "input", bytes(range(256)))])
        await tx.insert_outbox([ready(a_run())])

    async def claim(tx: Transaction) -> None:
        assert await tx.pick_ready("default", OFFERS, (), 1) == ["r-1"]
        await tx.update_states([a_run("r-1", "running", epoch=1, holder="w-1")])
        await tx.delete_outbox(["r-1"])

    async def report(tx: Transaction) -> None:
        await tx.load_runs(["r-1"])
        await tx.insert_entries([EntryRow("r-1", 1, an_entry(1))])

    for work in (start, claim, report, report):
        await store.transact(work)


# Dump and restore


async def test_a_dump_restores_to_a_database_that_opens_with_all_rows(mysql_url: str) -> None:
    store = MySqlStore(mysql_url)
    await store.open()
    await _start_claim_and_report(store)
    await store.close()
    address = Address.parse(mysql_url)
    copy_url = mysql.database_url(f"t_{uuid.uuid4().hex}")
    copy = Address.parse(copy_url).database
    who = ["--no-defaults", f"-u{address.user}", f"-h{address.host}", f"-P{address.port}"]
    dump = ["mariadb-dump", *who, "--single-transaction", "--hex-blob", address.database]
    restore = ["mariadb", *who, copy]
    dumped = await asyncio.to_thread(subprocess.run, dump, check=True, capture_output=True)
    await asyncio.to_thread(
        subprocess.run, restore, input=dumped.stdout, check=True, capture_output=True
    )
    assert await _all_rows(copy_url) == await _all_rows(mysql_url)
    restored = MySqlStore(copy_url, migrate=False)
    await restored.open()
    assert [run.state.status for run in await Verbs(restored).load_runs(["r-1"])] == ["running"]
    with pytest.raises(MySQLError, match="never changed"):
        await mysql.execute(copy_url, "UPDATE entry SET at = 99")
    await restored.close()


async def _all_rows(url: str) -> dict[str, list[tuple[Any, ...]]]:
    tables = await _tables(url)
    assert len(tables) > 15
    return {
        table: await mysql.fetch(url, f"SELECT * FROM `{table}` ORDER BY 1, 2") for table in tables
    }
