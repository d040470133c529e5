"""Templates: statements with places for values, which are written into them as literals.

MySQL's text protocol sends a statement as one text. `?1` is the first value, as often as it is
named; `?rows` stands for rows of values. Everything is bytes: a text that is not valid Unicode
cannot get in, and nothing depends on a character set. Sessions have the backslash as escape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

Value = str | bytes | int | bool | None
Values = Sequence[Value]
_PLACE = re.compile(rb"\?(\d+|rows\b)")
_ROWS = b"rows"
_FULL_BYTES = 4 * 1024 * 1024
"""A statement with rows is cut in two where it would become longer."""


def _escape(data: bytes) -> bytes:
    return data.replace(b"\\", b"\\\\").replace(b"'", b"\\'")


def _text(value: str) -> bytes:
    return b"'%b'" % _escape(value.encode())


def _bytes(value: bytes) -> bytes:
    return b"_binary'%b'" % _escape(value)


def _number(value: int) -> bytes:
    return b"%d" % value


_LITERALS: dict[type, Callable[..., bytes]] = {
    str: _text,
    bytes: _bytes,
    int: _number,
    bool: _number,
}


def literal(value: Value) -> bytes:
    """A value as it stands in a statement.

    Raises `TypeError` for what is no value, and `UnicodeEncodeError` for half a surrogate pair.
    """
    if value is None:
        return b"NULL"
    write = _LITERALS.get(type(value))
    if write is None:
        raise TypeError(f"{type(value).__name__} is no value of a statement")
    return write(value)


class Template:
    """One statement."""

    def __init__(self, sql: str) -> None:
        parts = _PLACE.split(sql.encode())
        self._between = parts[0::2]
        self._places = [-1 if place == _ROWS else int(place) - 1 for place in parts[1::2]]

    def fill(self, *values: Value) -> bytes:
        """The statement with these values."""
        return self._join([literal(value) for value in values])

    def fill_rows(self, rows: Sequence[Values]) -> Iterator[bytes]:
        """The statement with these rows; several statements where they are large."""
        held: list[bytes] = []
        size = 0
        for row in rows:
            written = b"(%b)" % b",".join([literal(value) for value in row])
            if held and size + len(written) > _FULL_BYTES:
                yield self._join([b",".join(held)])
                held, size = [], 0
            held.append(written)
            size += len(written)
        if held:
            yield self._join([b",".join(held)])

    def _join(self, literals: Sequence[bytes]) -> bytes:
        """Each place takes its literal; the place of rows takes the only one."""
        filled = [self._between[0]]
        for place, after in zip(self._places, self._between[1:], strict=True):
            filled += (literals[place], after)
        return b"".join(filled)
