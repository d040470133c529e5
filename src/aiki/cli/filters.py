"""Filters: the options that choose runs, for commands that list them or act on many."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from aiki.operations.runs import RunQuery

R = TypeVar("R")

_FILTERS = (
    click.option("--status", metavar="STATUS", multiple=True, help="May be given several times."),
    click.option("--workflow", metavar="NAME"),
    click.option("--version", metavar="VERSION"),
    click.option("--reference", metavar="TEXT", help="The reference id of the start."),
    click.option("--parent", metavar="ID", help="Children of this run; the whole id."),
    click.option("--shard", metavar="NAME"),
    click.option("--created-after", metavar="TIME", help="ISO 8601, such as 2026-11-23T08:00Z."),
    click.option("--created-before", metavar="TIME", help="ISO 8601, such as 2026-11-24."),
)
_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def filtered(command: Callable[..., R]) -> Callable[..., R]:
    """Give the command a `query`, which is made of the options that choose runs."""

    @functools.wraps(command)
    def wrapped(
        *arguments: Any, status: tuple[str, ...], workflow: str | None, version: str | None,
        reference: str | None, parent: str | None, shard: str | None,
        created_after: str | None, created_before: str | None, **rest: Any,
    ) -> R:  # fmt: skip
        from aiki.operations.runs import RunQuery

        query = RunQuery(
            workflow=workflow,
            version=version,
            status=statuses(status),
            reference_id=reference,
            parent_id=parent,
            shard=shard,
            created_after=_instant(created_after, "--created-after"),
            created_before=_instant(created_before, "--created-before"),
        )
        return command(*arguments, query=query, **rest)

    decorated: Callable[..., R] = wrapped
    for option in reversed(_FILTERS):
        decorated = option(decorated)
    return decorated


def chooses_something(query: RunQuery) -> bool:
    """Whether any filter was given."""
    from aiki.operations.runs import RunQuery

    return query != RunQuery()


def statuses(chosen: tuple[str, ...]) -> tuple[str, ...]:
    """The statuses, each of them known."""
    from typing import get_args

    from aiki.configuration import closest
    from aiki.model.run import STATUSES, PublicStatus

    known = dict.fromkeys((*get_args(PublicStatus), *STATUSES))
    for status in chosen:
        if status not in known:
            near = closest(status, known)
            fix = f"did you mean {near}?" if near else f"there are: {', '.join(known)}"
            raise click.BadParameter(f"no status {status!r}; {fix}", param_hint="'--status'")
    return chosen


def _instant(text: str | None, option: str) -> int | None:
    """Milliseconds of an ISO 8601 time; a date or a time without zone is in UTC."""
    from datetime import UTC, datetime

    from aiki.clock import from_datetime

    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no time in ISO 8601, such as 2026-11-23 or 2026-11-23T08:00:00Z",
            param_hint=f"'{option}'",
        ) from None
    return from_datetime(when if when.tzinfo else when.replace(tzinfo=UTC))


def span_ms(text: str, hint: str) -> int:
    """Milliseconds of a span of time such as `30d`, `12h` or `90m`."""
    found = re.fullmatch(r"(\d{1,12})\s*(ms|s|m|h|d)", text.strip().lower())
    if found is None:
        raise click.BadParameter(
            f"{text!r} is no span of time: a number with ms, s, m, h or d, such as 30d",
            param_hint=f"'{hint}'",
        )
    return int(found[1]) * _UNITS_MS[found[2]]
