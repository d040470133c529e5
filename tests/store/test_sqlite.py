"""SQLite: the behaviour of every store, and what is its own: files, locks, migrations."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aiki.errors import ConfigurationError, InvalidRequest, StoreUnavailable
from aiki.store.records import EntryRow
from aiki.store.sqlite import migrations
from aiki.store.sqlite import store as sqlite_store
from aiki.store.sqlite.connection import open_connection, refuse_network_file_system
from aiki.store.sqlite.migrations import MIGRATIONS, SCHEMA_VERSION, Migration, migrate
from aiki.store.sqlite.presence import Presence
from aiki.store.sqlite.store import SqliteStore
from tests.store.behaviour import StoreBehaviour, Verbs, a_run, an_entry


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "a.db")
    await store.open()
    yield store
    await store.close()


class TestSqlite(StoreBehaviour):
    """Everything that a store must do."""


async def test_what_is_larger_than_a_value_may_be_is_refused(store: SqliteStore) -> None:
    assert store._write is not None
    store._write.connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)
    with pytest.raises(InvalidRequest, match="cannot be stored"):
        await Verbs(store).insert_payloads([("r-1", "input", b"x" * 200_000)])


# Durability


async def test_commits_are_on_disk_when_they_return(store: SqliteStore) -> None:
    assert store._write is not None
    connection = store._write.connection
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA busy_timeout").fetchone()[0] > 0


@pytest.mark.parametrize("table", ["transition", "audit", "entry"])
async def test_history_cannot_be_rewritten(store: SqliteStore, table: str) -> None:
    from aiki.model.audit import AuditRecord
    from aiki.model.run import Transition

    verbs = Verbs(store)
    await verbs.insert_entries([EntryRow("r-1", 1, an_entry(1))])
    await verbs.insert_transitions([Transition("r-1", 0, "queued", "new", 1, 1, 0)])
    await verbs.insert_audit([AuditRecord("a-1", 1, "default", "alice", "PauseRun", "r-1")])
    other = sqlite3.connect(store.path)
    with pytest.raises(sqlite3.IntegrityError, match="never changed"):
        other.execute(f"UPDATE {table} SET at = 99")
    other.close()


# Migrations


def _schema(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    rows = connection.execute(
        "SELECT type, name, coalesce(sql, '') FROM sqlite_master ORDER BY 1, 2"
    )
    return [(kind, name, _normal(sql)) for kind, name, sql in rows]


def _normal(sql: str) -> str:
    return re.sub(r"\s*([(),])\s*", r"\1", " ".join(sql.split()))


def test_a_fresh_database_is_a_migrated_one(tmp_path: Path) -> None:
    fresh, stepwise = (open_connection(tmp_path / name) for name in ("fresh.db", "old.db"))
    assert [step.version for step in migrate(fresh)] == [step.version for step in MIGRATIONS]
    migrate(stepwise, stepwise=True)
    assert _schema(fresh) == _schema(stepwise)
    assert len(_schema(fresh)) > 20
    versions = "SELECT version, name FROM schema_migration ORDER BY 1"
    assert fresh.execute(versions).fetchall() == stepwise.execute(versions).fetchall()
    assert migrate(fresh) == []
    for connection in (fresh, stepwise):
        connection.close()


def test_a_migration_that_breaks_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = open_connection(tmp_path / "a.db")
    migrate(connection)
    before = _schema(connection)
    broken = Migration(
        SCHEMA_VERSION + 1, "broken",
        "CREATE TABLE half (x);\nINSERT INTO half VALUES (1);\nINSERT INTO nowhere VALUES (1);\n",
    )  # fmt: skip
    monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, broken))
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", broken.version)
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrate(connection)
    assert _schema(connection) == before
    assert migrations.schema_version(connection) == SCHEMA_VERSION
    connection.close()


async def test_a_newer_schema_is_refused_with_the_way_out(tmp_path: Path) -> None:
    connection = open_connection(tmp_path / "a.db")
    migrate(connection)
    connection.execute("INSERT INTO schema_migration VALUES (999, 'future', 0)")
    connection.close()
    with pytest.raises(ConfigurationError, match=r"schema 999.*upgrade Aiki"):
        await SqliteStore(tmp_path / "a.db").open()


@pytest.mark.parametrize("content", [b"this is no database at all" * 100, None])
async def test_what_is_no_database_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.db"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"a\.db"):
        await SqliteStore(path).open()


_MIGRATE = """
import sys
from pathlib import Path
from aiki.store.sqlite.connection import open_connection
from aiki.store.sqlite.migrations import migrate
sys.stdin.readline()
print(len(migrate(open_connection(Path(sys.argv[1])))))
"""


def _spawn(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, text=True,
        stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


def test_processes_that_migrate_together_do_it_once(tmp_path: Path) -> None:
    processes = [_spawn(_MIGRATE, str(tmp_path / "a.db")) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    steps = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert sorted(steps) == [0, 0, 0, len(MIGRATIONS)]


# Locks


async def test_a_locked_database_is_tried_again(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store._write is not None
    store._write.connection.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    pauses: list[float] = []

    async def let_go(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            other.execute("COMMIT")

    monkeypatch.setattr(asyncio, "sleep", let_go)
    await Verbs(store).insert_runs([a_run()])
    assert len(pauses) == 3
    assert len(await Verbs(store).load_runs(["r-1"])) == 1
    other.close()


async def test_a_database_that_stays_locked_is_unavailable(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store._write is not None
    store._write.connection.execute("PRAGMA busy_timeout = 0")
    monkeypatch.setattr(sqlite_store, "_ATTEMPTS", 2)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="stays locked"):
        await Verbs(store).insert_runs([a_run()])
    other.execute("COMMIT")
    other.close()
    await Verbs(store).insert_runs([a_run()])


async def test_what_another_process_commits_is_noticed(store: SqliteStore) -> None:
    assert not store.changed()
    await Verbs(store).insert_runs([a_run()])
    assert not store.changed()
    other = SqliteStore(store.path)
    await other.open()
    store.changed()
    await Verbs(other).load_runs(["r-1"])
    await Verbs(other).insert_runs([a_run("r-2")])
    assert store.changed()
    assert not store.changed()
    assert not other.changed()
    await other.close()


# File systems

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/export /mnt/with\\040space nfs4 rw 0 0
/dev/sdb1 /mnt/with\\040space/disk xfs rw 0 0
//host/share /srv cifs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/user/a.db", None),
        ("/mnt/with space/a.db", "nfs4"),
        ("/mnt/with space/deep/er/a.db", "nfs4"),
        ("/mnt/with space/disk/a.db", None),
        ("/mnt/with spaces/a.db", None),
        ("/srv/a.db", "cifs"),
        ("/srvs/a.db", None),
    ],
)
def test_network_file_systems_are_refused(tmp_path: Path, path: str, kind: str | None) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    if kind is None:
        refuse_network_file_system(Path(path), mounts)
        return
    with pytest.raises(ConfigurationError, match=f"{kind}.*local disk"):
        refuse_network_file_system(Path(path), mounts)


def test_where_mounts_are_unknown_nothing_is_refused(tmp_path: Path) -> None:
    refuse_network_file_system(Path("/srv/a.db"), tmp_path / "missing")


# Presence

_ANNOUNCE = """
import sys
from pathlib import Path
from aiki.store.sqlite.presence import Presence
presence = Presence(Path(sys.argv[1]))
presence.announce("theirs")
print("here", flush=True)
sys.stdin.readline()
"""


def test_a_process_that_was_killed_is_known_to_be_dead(tmp_path: Path) -> None:
    presence = Presence(tmp_path / "a.db")
    presence.announce("mine")
    process = _spawn(_ANNOUNCE, str(tmp_path / "a.db"))
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    everybody = ["mine", "theirs", "unknown"]
    assert presence.dead(everybody) == []
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert presence.dead(everybody) == ["theirs"]
    assert presence.dead(everybody) == ["theirs"]
    presence.withdraw("theirs")
    assert presence.dead(everybody) == []
    presence.withdraw_all()
    assert not (tmp_path / "a.db.workers").exists()


def test_who_withdraws_is_not_dead(tmp_path: Path) -> None:
    ours, other = (Presence(tmp_path / "a.db") for _ in range(2))
    ours.announce("mine")
    ours.announce("mine")
    ours.withdraw("mine")
    ours.withdraw("mine")
    assert other.dead(["mine"]) == []


async def test_a_store_that_is_not_open_says_so(tmp_path: Path) -> None:
    store: Any = SqliteStore(tmp_path / "a.db")
    with pytest.raises(ConfigurationError, match="not open"):
        await Verbs(store).load_runs([])
