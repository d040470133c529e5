"""The laws of a database, as a storm of tests asks for them: with a look at what is committed."""

from __future__ import annotations

from aiki.store.laws import STATEMENTS, judge
from tests.differential.stores import Look, Rows

OF_WORKERS = (
    "a call has one entry",
    "a completed run has no open attempt",
    "events of a name are taken in the order of their arrival",
    "no timer was early",
    "nothing is overdue while workers are heard",
)
"""What a worker sees to, and daemons: one that reports anything that comes to its mind breaks
these, and so does a clock that is moved before a daemon looks.
"""


def broken(look: Look, besides: tuple[str, ...] = ()) -> dict[str, Rows]:
    """The laws that do not hold, with rows that show it; some may be left out."""
    asked = {law: sql for law, sql in STATEMENTS.items() if law not in besides}
    found = {law: judge(law, look.rows(sql)) for law, sql in asked.items()}
    return {law: rows for law, rows in found.items() if rows}
