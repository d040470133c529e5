"""Laws of `aiki doctor`: a sound database is found sound, and whatever breaks a law is found."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from aiki import (
    Client,
    Retry,
    Run,
    RunCancelled,
    RunFailed,
    RunHandle,
    Worker,
    event,
    task,
    workflow,
)
from aiki.compose import inspect
from aiki.errors import ConfigurationError
from aiki.ids import new_id
from aiki.operations.bulk import RerunRun
from aiki.store.laws import LAWS
from aiki.store.sqlite import inspection
from tests.differential.stores import each_kind, using
from tests.support import databases
from tests.support.app import until
from tests.support.topology import client_at

LIMIT = timedelta(seconds=30)


@task
async def double(n: int) -> int:
    return 2 * n


@workflow("child").version("1.0.0")
async def child(run: Run, n: int) -> int:
    return await double(run, n)


paid = event("paid", int)


@workflow("parent").version("1.0.0")
async def parent(run: Run, n: int) -> int:
    sum = await run.wait(paid)
    await run.sleep("a moment", timedelta(milliseconds=1))
    return sum + await child(run, n)


_lives: list[int] = []


@workflow("stubborn").version("1.0.0", retry=Retry.fixed(2, timedelta(milliseconds=1)))
async def stubborn(run: Run) -> int:
    """Each attempt starts a child of its own under the same call."""
    n = await child(run, 1)
    _lives.append(n)
    if len(_lives) % 2:
        raise ValueError("not yet")
    return n


@workflow("waiting").version("1.0.0")
async def waiting(run: Run) -> int:
    return await run.wait(paid)


@workflow("failing").version("1.0.0")
async def failing(run: Run) -> None:
    raise ValueError("no")


@workflow("family").version("1.0.0")
async def family(run: Run) -> int:
    """Two children that wait for what nobody sends."""
    return sum(await asyncio.gather(waiting(run), patient(run)))


@workflow("patient").version("1.0.0")
async def patient(run: Run) -> int:
    """It cleans up when it is asked to stop."""
    try:
        return await run.wait(paid)
    except asyncio.CancelledError:
        await double(run, 3)
        raise


@workflow("local").version("1.0.0", shards=["eu", "us"])
async def local(run: Run) -> int:
    return await run.wait(paid) - await run.wait(paid)


@workflow("unserved").version("1.0.0")
async def unserved(run: Run) -> None: ...


class Town(NamedTuple):
    """Ids of runs, by what became of them; `local` is one of a shard."""

    completed: str
    failed: str
    waiting: str
    queued: str
    first: str
    second: str
    local: str


async def settle(path: Path) -> Town:
    """A database with runs of every kind."""
    served = (child, parent, stubborn, waiting, failing, family, patient)
    async with client_at(path) as client:
        workers = [
            asyncio.create_task(Worker(client, workflows=served).run()),
            asyncio.create_task(Worker(client, workflows=[local], shards=["eu"]).run()),
        ]
        done = await parent.options(reference_id="p-1", timeout=LIMIT).enqueue(client, 1)
        await done.send(paid, 2, key="once")
        assert await done.result(timeout=LIMIT) == 4
        assert await (await stubborn.enqueue(client)).result(timeout=LIMIT) == 2
        failed = await failing.enqueue(client)
        with pytest.raises(RunFailed):
            await failed.result(timeout=LIMIT)
        keyed = waiting.options(ordering_key="k")
        handles = [await keyed.enqueue(client) for _ in range(3)]
        await until(handles[0], "awaiting_event")
        alone = await waiting.enqueue(client)
        await until(alone, "awaiting_event")
        here = await _trouble(client)
        for worker in workers:
            worker.cancel()
            with suppress(asyncio.CancelledError):
                await worker
        queued = await unserved.enqueue(client)
        await unserved.options(delay=timedelta(days=1)).enqueue(client)
        await (await unserved.enqueue(client)).pause()
    return Town(done.id, failed.id, alone.id, queued.id, handles[0].id, handles[1].id, here.id)


async def _trouble(client: Client) -> RunHandle[int]:
    """Runs that are stopped, paused and rerun; answers one of a shard."""
    here = await local.options(shard="eu").enqueue(client)
    await local.options(shard="us").enqueue(client)
    for number in (3, 1):
        await here.send(paid, number)
    assert await here.result(timeout=LIMIT) == 2
    cancelled, terminated = [await family.enqueue(client) for _ in range(2)]
    for handle in (cancelled, terminated):
        await until(handle, "awaiting_child")
    await cancelled.cancel()
    with pytest.raises(RunCancelled):
        await cancelled.result(timeout=LIMIT)
    await terminated.terminate()
    paused = await waiting.enqueue(client)
    await paused.pause()
    await client.call(RerunRun(id=cancelled.id, command_id=new_id()))
    return here


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Town]:
    path = tmp_path_factory.mktemp("town") / "town.db"
    with using("sqlite"):
        return path, asyncio.run(settle(path))


# For each law, how it is broken; names in braces are ids of the town's runs.
CORRUPTIONS: dict[str, tuple[str, ...]] = {
    "a reference names one run": (
        "DROP INDEX run_reference",
        "UPDATE run SET workflow = 'parent', reference_id = 'p-1' WHERE id = '{failed}'",
    ),
    "the status is that of the last transition": (
        "UPDATE run SET status = 'stalled' WHERE id = '{waiting}'",
    ),
    "the revision counts the transitions": (
        "DELETE FROM transition WHERE run_id = '{completed}' AND revision = 1",
    ),
    "nothing follows an end": (
        "UPDATE transition SET status = 'failed' WHERE run_id = '{completed}' AND revision = 1",
    ),
    "ready runs are offered and no others": ("DELETE FROM outbox WHERE run_id = '{queued}'",),
    "nothing waits without a source that wakes it": (
        "DELETE FROM wait WHERE run_id = '{waiting}'",
    ),
    "an attempt of a task has at most one end": (
        "INSERT INTO task_attempt SELECT id, 1, 'a', 0, column1, 'a', 'completed', 1, 2, NULL,"
        " NULL, 1, 0 FROM run, (VALUES (8), (9)) WHERE id = '{waiting}'",
    ),
    "epochs never fall and only claims and ends from outside raise them": (
        "UPDATE transition SET epoch = 9 WHERE run_id = '{completed}' AND revision = 1",
    ),
    "the epoch of a claim is one claim": (
        "UPDATE transition SET epoch = 1 WHERE run_id = '{completed}' AND status = 'running'",
    ),
    "no event that is there is waited for": (
        "INSERT INTO fact (id, run_id, kind, name, at)"
        " VALUES ('f-1', '{waiting}', 'event', 'paid', 1)",
    ),
    "no child that has ended is waited for": (
        "UPDATE run SET parent_id = '{waiting}', parent_attempt = 1 WHERE id = '{failed}'",
        "INSERT INTO wait VALUES ('{waiting}', 'child', '{failed}', NULL)",
    ),
    "an event is taken by one entry that is there": ("UPDATE fact SET consumed_by = 99",),
    "a key is one event": (
        "DROP INDEX IF EXISTS fact_key",
        "INSERT INTO fact (id, run_id, kind, name, at, key)"
        " SELECT 'f-2', run_id, kind, name, at, key FROM fact WHERE key = 'once'",
    ),
    "a call starts one child while its parent lives": (
        "UPDATE child SET parent_attempt = parent_attempt + 7",
    ),
    "what was stopped has nothing open": (
        "INSERT INTO task_attempt SELECT id, 1, 'a', 0, 9, 'a', 'running', 1, NULL, NULL, NULL, 1,"
        " 0 FROM run WHERE id = '{failed}'",
    ),
    "attempts are the retries plus one and losses stay below the dead letter": (
        "UPDATE run SET attempt = 3 WHERE id = '{completed}'",
    ),
    "an ended run waits for nothing": (
        "INSERT INTO wait VALUES ('{completed}', 'event', 'paid', NULL)",
    ),
    "a family is of one namespace": ("UPDATE outbox SET namespace = 'another'",),
    "no timer was early": (
        "UPDATE entry SET due_at = at + 1 WHERE run_id = '{completed}' AND kind = 'timer'",
    ),
    "a call has one entry": (
        "UPDATE entry SET address = 'x', ordinal = 0 WHERE run_id = '{completed}'",
    ),
    "entries have no gaps": (
        "UPDATE entry SET number = 50 WHERE run_id = '{completed}' AND number = 2",
    ),
    "an event is taken once": ("UPDATE entry SET fact_id = 'f' WHERE run_id = '{completed}'",),
    "an end is on record": ("UPDATE run SET ended_at = NULL WHERE id = '{completed}'",),
    "what belongs to a run has one": ("DELETE FROM run WHERE id = '{completed}'",),
    "a run that is executed has a worker that is known": (
        "UPDATE run SET status = 'running', holder = 'nobody' WHERE id = '{waiting}'",
    ),
    "a run in a line has its place until it ends": (
        "DELETE FROM ordering_turn WHERE run_id = '{second}'",
    ),
    "the first of a line does not wait for its turn and the others do": (
        "UPDATE ordering_turn SET sequence = 100 WHERE run_id = '{first}'",
    ),
    "a line knows its last place": ("UPDATE ordering_line SET last_sequence = 0",),
    "an end has the result that its status asks for": (
        "UPDATE run_payload SET kind = 'failure' WHERE run_id = '{completed}' AND kind = 'output'",
    ),
    "a completed run has no open attempt": (
        "INSERT INTO task_attempt SELECT id, 1, 'a', 0, 9, 'a', 'running', 1, NULL, NULL, NULL,"
        " 1, 0 FROM run WHERE id = '{completed}'",
    ),
    "the epochs of entries never go back": (
        "UPDATE entry SET epoch = 9 WHERE run_id = '{completed}' AND number = 1",
    ),
    "a child has the call that started it": ("DELETE FROM child",),
    "every run that lined up has its turn until it ends": (
        "DELETE FROM ordering_turn WHERE run_id = '{first}'",
    ),
    "whoever is not first was never claimed": (
        "UPDATE run SET status = 'paused', started_at = 1 WHERE id = '{second}'",
    ),
    "the rows of a run have their run": ("DELETE FROM run WHERE id = '{failed}'",),
    "a worker holds runs of its own namespace": (
        "UPDATE run SET status = 'running', namespace = 'another',"
        " holder = (SELECT min(incarnation) FROM worker) WHERE id = '{waiting}'",
    ),
    "nothing is overdue while workers are heard": (
        "UPDATE worker SET registered_at = 1",
        "UPDATE run SET due_at = 1, wake_at = 1 WHERE id = '{waiting}'",
    ),
    "events of a name are taken in the order of their arrival": (
        "INSERT INTO fact (id, run_id, kind, name, at)"
        " VALUES ('f-3', '{completed}', 'event', 'paid', 1)",
    ),
    "the children of a stopped run are asked to stop": (
        "UPDATE run SET parent_id = '{completed}', created_at = 1 WHERE id = '{queued}'",
        "INSERT INTO fact (id, run_id, kind, name, at)"
        " VALUES ('f-4', '{completed}', 'cancel', 'cancel', 2)",
    ),
    "a start is audited once": ("UPDATE run SET created_at = 7 WHERE id = '{failed}'",),
    "a worker executes runs of its own shards": (
        "UPDATE run SET shard = 'us' WHERE id = '{local}'",
    ),
    "transitions follow the table": (
        "UPDATE transition SET reason = 'returned' WHERE run_id = '{waiting}' AND revision = 1",
    ),
}


SOURCES, OVERDUE, ORDER, FAMILY, AUDIT = (
    "nothing waits without a source that wakes it",
    "nothing is overdue while workers are heard",
    "events of a name are taken in the order of their arrival",
    "the children of a stopped run are asked to stop",
    "a start is audited once",
)
_AN_OLD_WORKER = "UPDATE worker SET registered_at = 1, lease_until = 1 WHERE shards = X'5b5d'"
MORE: list[tuple[str, tuple[str, ...]]] = [
    (SOURCES, ("UPDATE run SET due_at = NULL WHERE status = 'scheduled'",)),
    (SOURCES, ("UPDATE run SET deadline_at = 1 WHERE id = '{waiting}'",)),
    (SOURCES, ("UPDATE run SET grace_until = 1 WHERE id = '{waiting}'",)),
    (SOURCES, ("UPDATE wait SET kind = 'timer' WHERE run_id = '{waiting}'",)),
    (SOURCES, ("UPDATE run SET status = 'running', holder = NULL WHERE id = '{waiting}'",)),
    (OVERDUE, (_AN_OLD_WORKER, "UPDATE worker SET status = 'alive' WHERE lease_until = 1")),
    (
        OVERDUE,
        (
            _AN_OLD_WORKER,
            "UPDATE run SET status = 'running', holder ="
            " (SELECT incarnation FROM worker WHERE lease_until = 1) WHERE id = '{waiting}'",
        ),
    ),
    (
        ORDER,
        (
            "UPDATE fact SET at = at - 70000 WHERE run_id = '{local}' AND consumed_by ="
            " (SELECT max(consumed_by) FROM fact WHERE run_id = '{local}')",
        ),
    ),
    (
        FAMILY,
        (
            "UPDATE run SET parent_id = '{completed}', created_at = 1 WHERE id = '{queued}'",
            "UPDATE transition SET status = 'cancelled', reason = 'terminated', at = 2"
            " WHERE run_id = '{completed}' AND revision = 1",
        ),
    ),
    (
        AUDIT,
        (
            "INSERT INTO audit SELECT 'a' || id, at, namespace, principal, operation, object_id,"
            " detail FROM audit WHERE operation = 'StartRuns'",
        ),
    ),
]
"""Other ways to break these laws."""


ON_EACH_STORE = (OVERDUE, ORDER, FAMILY, AUDIT, "a worker executes runs of its own shards")
"""Laws whose statements use more than the plainest SQL."""


def test_every_law_is_broken_below() -> None:
    assert sorted(CORRUPTIONS) == sorted(LAWS)


@pytest.mark.parametrize(("law", "corruption"), [*CORRUPTIONS.items(), *MORE])
async def test_what_breaks_a_law_is_found(
    town: tuple[Path, Town], tmp_path: Path, law: str, corruption: tuple[str, ...]
) -> None:
    path, runs = town
    copy = tmp_path / "copy.db"
    shutil.copy(path, copy)
    with closing(sqlite3.connect(copy)) as connection:
        triggers = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
        for (trigger,) in triggers.fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        for statement in corruption:
            connection.execute(statement.format(**runs._asdict()))
        connection.commit()
    findings = {finding.law: finding.rows for finding in await inspect(f"sqlite:///{copy}")}
    assert 1 <= len(findings[law]) <= 20


@each_kind
async def test_a_sound_database_is_found_sound_and_a_corrupt_one_is_not(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "laws.db"
    with using(kind):
        runs = await settle(path)
        url = databases.url_of(path)
        assert await inspect(url) == []
        databases.change_at(path, f"DELETE FROM outbox WHERE run_id = '{runs.queued}'")
        (finding,) = await inspect(url)
        assert finding == ("ready runs are offered and no others", [(runs.queued,)])
        for law in ON_EACH_STORE:
            changes = [change.format(**runs._asdict()) for change in CORRUPTIONS[law]]
            databases.change_at(path, *changes)
            assert law in {finding.law for finding in await inspect(url)}


async def test_what_is_no_database_of_this_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no file"):
        await inspect(f"sqlite:///{tmp_path / 'none.db'}")
    (tmp_path / "text.db").write_text("no database at all, but long enough to be looked at" * 50)
    with pytest.raises(ConfigurationError, match="is it a database"):
        await inspect(f"sqlite:///{tmp_path / 'text.db'}")
    sqlite3.connect(tmp_path / "empty.db").close()
    with pytest.raises(ConfigurationError, match="has schema 0"):
        await inspect(f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(ConfigurationError, match="is a server"):
        await inspect("http://127.0.0.1:1")


async def test_a_look_leaves_the_log_of_a_crashed_server_as_it_is(tmp_path: Path) -> None:
    """Whoever looks may be the last to close; the log would go into the file."""
    crashed = tmp_path / "a name?#%41.db"
    script = (
        "import asyncio, os, sys; from pathlib import Path\n"
        "from aiki.store.sqlite.store import SqliteStore\n"
        "async def main():\n"
        "    await SqliteStore(Path(sys.argv[1])).open()\n"
        "    os._exit(0)\n"
        "asyncio.run(main())"
    )
    command = [sys.executable, "-c", script, str(crashed)]
    assert await asyncio.to_thread(subprocess.call, command) == 0
    files = [crashed, crashed.with_name(crashed.name + "-wal")]
    before = [file.read_bytes() for file in files]
    assert before[1]
    assert await inspection.inspect(crashed) == []
    assert [file.read_bytes() for file in files] == before
