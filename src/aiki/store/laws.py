"""The laws of a database that no crash may break, and what breaks them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from aiki.machine import LEGAL
from aiki.store.named_sql import load_sql

Rows = list[tuple[Any, ...]]
Ask = Callable[[str], Awaitable[Rows]]
"""Runs a statement that only reads."""

_STEPS_LAW = "transitions follow the table"
_ALLOWED = {
    (before, after, reason)
    for by_status in LEGAL.values()
    for before, ends in by_status.items()
    for after, reason in ends
}


def _statements() -> dict[str, str]:
    named = load_sql("aiki.store", "laws.sql")
    steps = named.pop("steps")
    return {name.replace("_", " "): sql for name, sql in named.items()} | {_STEPS_LAW: steps}


STATEMENTS = _statements()
"""By their laws; `judge` tells what their answers mean."""
LAWS = tuple(STATEMENTS)


class Finding(NamedTuple):
    """A law that does not hold."""

    law: str
    rows: Rows
    """What shows it, at most 20 rows; the id of a run comes first, as far as there is one."""


async def examine(ask: Ask) -> list[Finding]:
    """Check every law; all statements should see one snapshot."""
    return [
        Finding(law, rows)
        for law, sql in STATEMENTS.items()
        if (rows := judge(law, await ask(sql)))
    ]


def judge(law: str, answer: Rows) -> Rows:
    """The rows that break the law, of those that its statement found."""
    found = [tuple(map(_text, row)) for row in answer]
    if law != _STEPS_LAW:
        return found
    return [
        (run_id, before, after, reason)
        for before, after, reason, run_id in found
        if not _is_allowed(before, after, reason)
    ]


def _is_allowed(before: str | None, after: str, reason: str) -> bool:
    if before is None:
        return reason == "new"
    return (before, after, reason) in _ALLOWED


def _text(value: Any) -> Any:
    """Ids and words are bytes to MySQL."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
