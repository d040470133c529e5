"""The laws of a database that no crash may break, and what breaks them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec

from aiki.machine import LEGAL
from aiki.store.named_sql import load_sql

Row = tuple[Any, ...]
Rows = list[Row]
Ask = Callable[[str], Awaitable[Rows]]
"""Runs a statement that only reads."""

_STEPS_LAW = "transitions follow the table"
_SHARDS_LAW = "a worker executes runs of its own shards"
_MOST_ROWS = 20
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
    breaks = _BREAKS.get(law)
    return found if breaks is None else [row for row in found if breaks(row)][:_MOST_ROWS]


def _is_illegal_step(row: Row) -> bool:
    _, before, after, reason = row
    if before is None:
        return bool(reason != "new")
    return (before, after, reason) not in _ALLOWED


def _is_of_another_shard(row: Row) -> bool:
    _, shard, registered = row
    return shard not in (msgspec.json.decode(registered, type=list[str]) or [""])


_BREAKS: dict[str, Callable[[Row], bool]] = {
    _STEPS_LAW: _is_illegal_step,
    _SHARDS_LAW: _is_of_another_shard,
}
"""Laws whose statements find more than what breaks them."""


def _text(value: Any) -> Any:
    """Ids and words are bytes to MySQL."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
