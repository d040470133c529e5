"""The yardstick S: one-row commits a second on SQLite, WAL and synchronous=FULL."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path


def commits_a_second(folder: Path, rows: int = 2_000) -> float:
    """How many transactions of one row this disk and this Python commit in a second."""
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
