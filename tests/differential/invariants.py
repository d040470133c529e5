"""The laws of a database, as a storm of tests asks for them: with a look at what is committed."""

from __future__ import annotations

from aiki.store.laws import STATEMENTS, judge
from tests.differential.stores import Look, Rows

OF_WORKERS = (
    "a call has one entry",
    "a completed run has no open attempt",
    "no timer was early",
)
"""What a worker sees to; one that reports anything that comes to its mind breaks these."""


def broken(look: Look, besides: tuple[str, ...] = ()) -> dict[str, Rows]:
    """The laws that do not hold, with rows that show it; some may be left out."""
    asked = {law: sql for law, sql in STATEMENTS.items() if law not in besides}
    found = {law: judge(law, look.rows(sql)) for law, sql in asked.items()}
    return {law: rows for law, rows in found.items() if rows}
