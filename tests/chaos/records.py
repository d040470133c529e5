"""What the database of a cell shows when all is over."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from aiki.compose import sqlite_path
from tests.crash.records import RECORDS
from tests.differential.invariants import broken
from tests.differential.stores import Look, MySqlLook, PostgresLook, Rows, SqliteLook

_RECORDS = RECORDS | {
    # What hangs below a run that is cancelled ends in one way or another.
    "everything ended": """
        WITH RECURSIVE below (id) AS (
            SELECT run.id FROM run JOIN run AS parent ON run.parent_id = parent.id
            WHERE parent.workflow = 'doomed'
            UNION SELECT run.id FROM run JOIN below ON run.parent_id = below.id)
        SELECT id, workflow, status FROM run
        WHERE status NOT IN ('completed', 'failed', 'cancelled')
            OR (id NOT IN (SELECT id FROM below)
                AND status <> CASE workflow WHEN 'doomed' THEN 'cancelled' ELSE 'completed' END)""",
}
_SHOWN = 3
"""Rows that show what is wrong."""


class Records(NamedTuple):
    """What was found."""

    recovered: int
    """Runs that were taken from a worker at least once."""
    wrong: list[str]
    """What must not be, with rows that show it."""


async def read_records(url: str, accepted: Collection[str]) -> Records:
    """Look into the database; `accepted` are the ids of the runs that were started."""
    return await asyncio.to_thread(_read, url, accepted)


def _read(url: str, accepted: Collection[str]) -> Records:
    loop = asyncio.new_event_loop()
    look = _look(url, loop)
    try:
        found = {name: look.rows(query) for name, query in _RECORDS.items()} | broken(look)
        wrong = [f"{name}: {rows[:_SHOWN]}" for name, rows in found.items() if rows]
        started = _texts(look.rows("SELECT id FROM run WHERE parent_id IS NULL"))
        if started != set(accepted):
            missing, foreign = set(accepted) - started, started - set(accepted)
            wrong.append(f"runs: missing {sorted(missing)}, nobody's {sorted(foreign)}")
        recovered = look.rows("SELECT DISTINCT run_id FROM transition WHERE reason = 'recovered'")
        return Records(len(recovered), wrong)
    finally:
        look.close()
        loop.close()


def _look(url: str, loop: asyncio.AbstractEventLoop) -> Look:
    if url.startswith("sqlite"):
        return SqliteLook(Path(sqlite_path(url)))
    return MySqlLook(url, loop) if url.startswith("mysql") else PostgresLook(url, loop)


def _texts(rows: Rows) -> set[str]:
    """Ids are bytes to MySQL."""
    return {row[0].decode() if isinstance(row[0], bytes) else row[0] for row in rows}
