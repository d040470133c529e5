"""SQLite's plans: no statement walks a table that grows, from end to end or by a weak index."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiki.store.sqlite.connection import open_connection
from aiki.store.sqlite.migrations import migrate
from aiki.store.sqlite.statements import QUERIES

GROWING = ("run", "outbox", "transition", "entry", "fact", "child", "task_attempt", "run_payload",
           "dead_letter", "answer", "audit", "decision", "divergence", "wait")  # fmt: skip
WHOLE_BY_DESIGN = {
    "orphans": "walks what is running, by an index that holds nothing else",
    "stale_outbox": "walks what is ready, once a minute",
}
LISTS_OF_A_NAMESPACE = ("list_all_newest", "list_all_oldest")
"""Only these may be led by the index that has every run of a namespace."""


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A database as the store makes it: Aiki never gathers statistics."""
    connection = open_connection(tmp_path / "a.db")
    migrate(connection)
    yield connection
    connection.close()


def _plan(connection: sqlite3.Connection, statement: str) -> list[str]:
    numbered = [int(number) for number in re.findall(r"\?(\d+)", statement)]
    values = [None] * (max(numbered) if numbered else statement.count("?"))
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]


def _tables(statement: str) -> dict[str, str]:
    """The growing tables of a statement, by the names that its plan gives them."""
    found: dict[str, str] = {}
    words = r"(?:FROM|JOIN|UPDATE|INTO)\s+(\w+)(?:\s+AS\s+(\w+))?"
    for table, alias in re.findall(words, statement):
        if table in GROWING:
            found[alias or table] = table
    return found


def _is_planned(statement: str) -> bool:
    return re.match(r"\s*(SELECT|WITH|UPDATE|DELETE|INSERT)", statement) is not None


def test_no_statement_scans_what_grows(connection: sqlite3.Connection) -> None:
    checked = 0
    for name, statement in QUERIES.items():
        if not _is_planned(statement) or name in WHOLE_BY_DESIGN:
            continue
        tables = _tables(statement)
        scanned = [
            step for step in _plan(connection, statement)
            if re.match(r"SCAN (\w+)", step) and step.split()[1] in tables
        ]  # fmt: skip
        assert scanned == [], name
        checked += bool(tables)
    assert checked > 60


def test_nothing_but_lists_walks_all_runs_of_a_namespace(connection: sqlite3.Connection) -> None:
    for name, statement in QUERIES.items():
        if _is_planned(statement) and name not in LISTS_OF_A_NAMESPACE:
            plan = "\n".join(_plan(connection, statement))
            assert "run_newest (" not in plan, name
            assert not re.search(r"run_workflow \(namespace=\?\)", plan), name


def test_a_claim_reads_only_the_queues_that_it_offers(connection: sqlite3.Connection) -> None:
    queue = "outbox_ready (namespace=? AND workflow=? AND version=? AND shard=? AND alone=?"
    for name in ("pick_ready", "any_alone"):
        assert queue in "\n".join(_plan(connection, QUERIES[name])), name
