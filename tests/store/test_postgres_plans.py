"""PostgreSQL's plans: what is asked often walks an index, however the tables have grown."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import msgspec
import pytest

from aiki.model.run import Transition
from aiki.model.task import Wait
from aiki.operations.runs import RunQuery
from aiki.store.postgres.connection import QUERIES, Connection, connect
from aiki.store.postgres.migrations import MIGRATIONS
from aiki.store.postgres.store import PostgresStore
from aiki.store.protocol import Transaction
from aiki.store.records import AttemptRow, Consumed, EntryRow, EventKey, Page, Reference
from tests.services import postgres
from tests.store.behaviour import OFFERS, a_fact, a_run, a_worker, an_attempt, an_entry, ready

each_postgres_url = postgres.each_postgres_url

ENDED, QUEUED = 60_000, 20_000
GROWING = ("run", "run_payload", "outbox", "entry", "task_attempt", "wait", "fact", "child",
           "transition", "decision", "divergence", "audit")  # fmt: skip
WHOLE_BY_DESIGN = {"next_wake", "orphans"}
"""These walk a partial index that holds no more than what is open."""
NOT_OFTEN = {"stale_outbox"}


@pytest.fixture
async def connection(each_postgres_url: str) -> AsyncIterator[Connection]:
    """A session, set as the store sets it, in a schema without rows and without statistics."""
    store = PostgresStore(each_postgres_url)
    await store.open()
    await store.close()
    connection = await connect(each_postgres_url)
    yield connection
    await connection.close()


def _is_planned(statement: str) -> bool:
    return re.match(r"\s*(SELECT|WITH|UPDATE|DELETE|INSERT)", statement) is not None


def _saves() -> dict[str, str]:
    """The statements of the saving functions."""
    found: dict[str, str] = {}
    functions = r"CREATE FUNCTION (aiki_save_\w+)\((.*?)\) RETURNS void.*?BEGIN\n(.*?)END \$\$"
    scripts = "".join(step.script for step in MIGRATIONS)
    scripts = re.sub(r"^ *--.*$", "", scripts, flags=re.MULTILINE)
    for name, parameters, body in re.findall(functions, scripts, re.DOTALL):
        types = [kind.strip() for kind in parameters.split(",")]
        for number, statement in enumerate(re.findall(r"(?:THEN|;)\n\s*(\w.*?);", body, re.DOTALL)):
            if _is_planned(statement):
                found[f"{name} {number}"] = _with_types(statement, types)
    return found


def _with_types(statement: str, types: list[str]) -> str:
    places: dict[str, int] = {}

    def parameter(match: re.Match[str]) -> str:
        place = places.setdefault(match[1], len(places) + 1)
        return f"${place}::{types[int(match[1]) - 1]}"

    return re.sub(r"\$(\d+)", parameter, statement)


async def _plan(connection: Connection, statement: str) -> list[str]:
    """The general plan, as it is kept for every execution."""
    await connection.execute(f"PREPARE planned AS {statement}")
    count = max((int(number) for number in re.findall(r"\$(\d+)", statement)), default=0)
    values = f"({', '.join(['NULL'] * count)})" if count else ""
    rows = await connection.fetch(f"EXPLAIN EXECUTE planned{values}")
    await connection.execute("DEALLOCATE planned")
    return [row[0] for row in rows]


def _whole_tables(plan: list[str]) -> list[str]:
    """The scans of a plan that read a growing table or index from end to end."""
    found: list[str] = []
    for line, after in zip(plan, [*plan[1:], ""], strict=True):
        scan = re.search(r"(Seq|Index|Index Only) Scan.* on (\w+)", line)
        if scan and scan[2] in GROWING and "Index Cond" not in after:
            found.append(line.strip())
    return found


async def test_no_statement_reads_a_whole_table_even_if_planned_without_statistics(
    connection: Connection,
) -> None:
    statements = {name: sql for name, sql in QUERIES.items() if _is_planned(sql)} | _saves()
    assert len(statements) > 80
    for name, statement in statements.items():
        if name not in WHOLE_BY_DESIGN | NOT_OFTEN and "aiki_save" not in statement:
            assert _whole_tables(await _plan(connection, statement)) == [], name


async def test_claims_and_lists_lead_with_their_index(connection: Connection) -> None:
    for name, index in {
        "pick_ready": "outbox_ready", "peek_ready": "outbox_ready", "any_alone": "outbox_ready",
        "claimed_by": "run_held", "held_runs": "run_held", "due_runs": "run_wake",
        "list_all_newest": "run_newest", "list_open_oldest": "run_open",
        "list_failed_newest": "run_failed", "list_workflow_newest": "run_workflow",
        "list_parent_newest": "run_parent", "list_reference_newest": "run_reference",
    }.items():  # fmt: skip
        plan = "\n".join(await _plan(connection, QUERIES[name]))
        assert f"using {index} on" in plan, name
        if index == "outbox_ready":
            assert "AND (shard = " in plan, name
        if name.startswith("list_"):
            assert "Sort" not in plan or name == "list_reference_newest", name


_FILL = f"""
    INSERT INTO run SELECT 'e-' || n, 'default', 'orders', '1.0', '', 0, NULL, NULL, 0, 'd', '', n,
        'completed', 2, 1, 1, 'w-' || n, 'c', 0, 0, false, NULL, false, false, NULL, NULL, NULL, n,
        n, NULL, 's', NULL FROM generate_series(1, {ENDED}) AS n;
    INSERT INTO run SELECT 'q-' || n, 'default', 'orders', '1.0', '', 0, NULL, NULL, 0, 'd', '', n,
        'queued', 2, 1, 1, 'w-' || n, 'c', 0, 0, false, NULL, false, false, NULL, NULL, NULL, n,
        NULL, NULL, 's', NULL FROM generate_series(1, {QUEUED}) AS n;
    INSERT INTO outbox SELECT id, namespace, workflow, version, shard, 0, created_at, false, NULL,
        'other source' FROM run WHERE status = 'queued';
    INSERT INTO entry SELECT id, 1, 1, 'task', 'a', 0, 1, 'a', NULL, NULL, NULL, NULL, 1, 1, 1, NULL
        FROM run WHERE id <> 'r-1';
    INSERT INTO transition SELECT id, 0, 'queued', 'new', 1, 1, 0, NULL FROM run WHERE id <> 'r-1';
    INSERT INTO fact SELECT 'f-' || id, id, 'event', 'paid', 1, NULL, NULL, 'k'
        FROM run WHERE id <> 'r-1';
    INSERT INTO task_attempt SELECT id, 1, 'a', 0, 1, 'a', 'running', 1, NULL, NULL, NULL, 1, false
        FROM run WHERE id <> 'r-1';
    INSERT INTO wait SELECT id, 'event', 'paid', NULL FROM run WHERE id <> 'r-1';
"""


async def _claim_record_and_park(tx: Transaction) -> None:
    """What a server does all day."""
    await tx.open_claim("default", "w-1", "c-1", OFFERS, ())
    await tx.held_runs("default", "w-1")
    runs = await tx.load_runs(await tx.pick_ready("default", OFFERS, (), 10))
    ids = [run.id for run in runs] or ["none"]
    for run in runs:
        state = msgspec.structs.replace(run.state, status="running", revision=3)
        await tx.update_states([msgspec.structs.replace(run, state=state)])
        await tx.insert_transitions([Transition(run.id, 3, "running", "claimed", 1, 1, 1)])
    await tx.delete_outbox(ids)
    await tx.insert_entries([EntryRow(id, 1, an_entry(2)) for id in ids])
    await tx.save_attempts([AttemptRow(id, 1, an_attempt(1, "completed")) for id in ids])
    await tx.close_attempts(ids, "lost", 1)
    await tx.consume_facts([Consumed(1, 1, f"f-{id}", id) for id in ids])
    await tx.replace_waits({id: [Wait("timer", "t", 5)] for id in ids})
    await tx.load_facts(ids)
    await tx.find_facts([f"f-{id}" for id in ids])
    await tx.find_facts_by_key([EventKey(id, "paid", "k") for id in ids])
    await tx.find_references([Reference("default", "orders", "ref")])
    await tx.load_entries([(id, 1) for id in ids])
    await tx.load_attempts([(id, 1) for id in ids])
    await tx.last_numbers([(id, 1) for id in ids])
    await tx.load_waits(ids)
    await tx.descendants(ids)
    await tx.due_runs(0, 10)
    await tx.list_runs("default", RunQuery(), Page(10))
    await tx.list_runs("default", RunQuery(status=("failed",)), Page(10))
    await tx.insert_facts([a_fact(f"g-{ids[0]}", ids[0])])


async def test_plans_that_were_made_on_empty_tables_stay_good(each_postgres_url: str) -> None:
    store = PostgresStore(each_postgres_url)
    await store.open()
    await store.transact(lambda tx: tx.save_worker(a_worker(), OFFERS, ()))
    await store.transact(lambda tx: tx.insert_runs([a_run("r-1")]))
    await store.transact(lambda tx: tx.insert_outbox([ready(a_run("r-1"))]))
    await store.transact(_claim_record_and_park)
    connection = await connect(each_postgres_url)
    await connection.execute(f"SET statement_timeout = 0;{_FILL}", timeout=60)
    before = await _rows_read(connection)
    await store.transact(_claim_record_and_park)
    # A session tells what it did when it ends.
    await store.close()
    read = await _rows_read(connection) - before
    await connection.close()
    assert 100 < read < 10_000


async def _rows_read(connection: Connection) -> int:
    """By all sessions, out of tables and indexes; what is under way here is told at once."""
    version = connection.get_server_version().major
    if version >= 15:
        await connection.execute("SELECT pg_stat_force_next_flush()")
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    read = await connection.fetchval(
        """
        SELECT (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes
                WHERE schemaname = current_schema)
             + (SELECT sum(seq_tup_read) FROM pg_stat_user_tables
                WHERE schemaname = current_schema)
        """
    )
    return int(read)
