"""The buffer: what a transaction writes, kept until it is sent in one round trip.

The parts of a save are executed in a fixed order, the one in which the engine writes. A verb that
comes out of this order, or a second time, has what was buffered before it sent first; so whatever
depends on the order of two writes finds it kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiki.store.postgres.statements import Statements

_RUNS = {
    "insert_runs": 32,
    "update_states": 21,
    "insert_transitions": 8,
    "insert_payloads": 3,
    "delete_outbox": 1,
    "insert_outbox": 10,
}
_RECORDS = {
    "insert_entries": 16,
    "save_attempts": 13,
    "close_attempts": 3,
    "insert_facts": 8,
    "consume_facts": 4,
    "replace_waits": 5,
    "insert_children": 4,
    "insert_audit": 7,
    "insert_dead_letters": 6,
    "save_answer": 4,
    "signal": 2,
}
"""The parts of each saving function in their order, with their numbers of parameters."""

Columns = Sequence[Any]


def columns(rows: Sequence[Sequence[Any]]) -> Columns:
    """Rows as columns."""
    return tuple(zip(*rows, strict=True))


class _Part:
    """What one saving function is to be given."""

    def __init__(self, widths: dict[str, int]) -> None:
        self._widths = widths
        self._order = {verb: place for place, verb in enumerate(widths)}
        self._last = -1
        self._held: dict[str, Columns] = {}

    def __bool__(self) -> bool:
        return bool(self._held)

    def takes(self, verb: str) -> bool:
        """Whether the verb keeps its place after what is held."""
        return self._order[verb] > self._last

    def put(self, verb: str, values: Columns) -> None:
        self._held[verb] = values
        self._last = self._order[verb]

    def parameters(self) -> list[Any]:
        """All parameters of the function; what is held no longer is."""
        held, self._held, self._last = self._held, {}, -1
        values: list[Any] = []
        for verb, width in self._widths.items():
            values += held.get(verb) or (None,) * width
        return values


class Buffer:
    """Writes that were not sent yet."""

    def __init__(self, statements: Statements, begin: Callable[[], Awaitable[None]]) -> None:
        self._statements = statements
        self._begin = begin
        """Called before anything is sent that is not the whole transaction."""
        self._runs = _Part(_RUNS)
        self._records = _Part(_RECORDS)

    async def put(self, verb: str, values: Columns) -> None:
        """Keep a write; `values` are the columns of its rows."""
        part = self._runs if verb in _RUNS else self._records
        if not part.takes(verb):
            await self.flush()
        part.put(verb, values)

    def __bool__(self) -> bool:
        return bool(self._runs or self._records)

    async def flush(self) -> None:
        """Send what is kept."""
        if self:
            await self._begin()
            name, values = self._save()
            await self._statements.rows(name, *values)

    async def save_alone(self, guards: Columns) -> None:
        """Send what is kept, as a transaction of its own that fails if a guarded run changed."""
        name, values = self._save()
        if guards:
            name, values = f"{name}_guarded", [*values, *guards]
        await self._statements.rows(name, *values)

    def _save(self) -> tuple[str, list[Any]]:
        if self._runs and self._records:
            return "save_all", self._runs.parameters() + self._records.parameters()
        if self._runs:
            return "save_runs", self._runs.parameters()
        return "save_records", self._records.parameters()
