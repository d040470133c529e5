"""The yardsticks: one-row commits a second, S on SQLite and Y on PostgreSQL."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

ROWS = 2_000


def of_sqlite(folder: Path, rows: int = ROWS) -> float:
    """S: WAL and `synchronous=FULL`, one connection."""
    connection = sqlite3.connect(folder / "yardstick.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, text TEXT)")
    began = time.perf_counter()
    for _ in range(rows):
        connection.execute("INSERT INTO item (text) VALUES ('one row')")
    seconds = time.perf_counter() - began
    connection.close()
    return rows / seconds


async def of_postgres(url: str, rows: int = ROWS) -> float:
    """Y: `fsync` and `synchronous_commit` on, one connection of asyncpg."""
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS yardstick (id BIGSERIAL PRIMARY KEY, text TEXT)"
        )
        insert = await connection.prepare("INSERT INTO yardstick (text) VALUES ('one row')")
        began = time.perf_counter()
        for _ in range(rows):
            await insert.fetch()
        return rows / (time.perf_counter() - began)
    finally:
        await connection.close()
