"""Output: tables and colours on a terminal, tab-separated lines in a pipe, JSON on request."""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec

from aiki.clock import Instant, to_datetime

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SECOND_MS, _MINUTE_MS = 1_000, 60_000
_UNBROKEN = {"run", "incarnation"}
_COLOURS = {
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "diverged": "red",
    "stalled": "red",
    "running": "cyan",
    "alive": "green",
    "lost": "red",
}


class Output:
    """Answers a command in the form that its reader can use."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.on_terminal = sys.stdout.isatty()

    def document(self, value: object) -> None:
        """One JSON document; indented for people."""
        data = msgspec.json.encode(plain(value))
        print((msgspec.json.format(data, indent=2) if self.on_terminal else data).decode())

    def json_line(self, value: object) -> None:
        """One JSON document of a stream of them."""
        print(msgspec.json.encode(plain(value)).decode(), flush=True)

    def line(self, *cells: str) -> None:
        """One plain line, at once."""
        print("\t".join(map(clean, cells)), flush=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
        """Rows under their columns; in a pipe the rows alone."""
        rows = list(rows)
        if not self.on_terminal:
            for row in rows:
                print("\t".join(map(clean, row)))
        elif rows:
            self._draw(columns, rows)
        else:
            print(empty)

    def pairs(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Names and values; those without value are left out."""
        self.table(("", ""), [pair for pair in pairs if pair[1]], empty="nothing")

    def _draw(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        from rich.console import Console

        Console().print(rich_table(columns, rows))


def rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    """The rows as rich draws them; cells are text, never markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=any(columns), header_style="bold")
    for column in columns:
        # An id is there to be copied: other columns give way to it.
        table.add_column(column, overflow="fold", no_wrap=column in _UNBROKEN)
    for row in rows:
        table.add_row(*(Text(clean(cell), _COLOURS.get(cell, "")) for cell in row))
    return table


def clean(text: str) -> str:
    """The text on one line: what would move a cursor or split a cell is escaped."""
    return _CONTROLS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def time(instant: Instant | None) -> str:
    """ISO 8601 in UTC; empty for None."""
    if instant is None:
        return ""
    return to_datetime(instant).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def duration(milliseconds: int | None) -> str:
    """The two largest units of a span of time; empty for None."""
    if milliseconds is None:
        return ""
    if milliseconds < _SECOND_MS:
        return f"{milliseconds}ms"
    if milliseconds < _MINUTE_MS:
        return f"{milliseconds / 1000:.1f}s"
    minutes, seconds = divmod(milliseconds // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    return f"{hours}h {minutes:02}m" if hours else f"{minutes}m {seconds:02}s"


def payload(data: bytes | None) -> str:
    """A recorded value as JSON text; empty for None."""
    if data is None:
        return ""
    return msgspec.json.encode(plain(data)).decode()


def plain(value: object) -> Any:
    """What JSON can hold: instants as ISO times, payloads as the JSON that they are."""
    match value:
        case msgspec.Struct():
            tag = value.__struct_config__.tag
            head = {"kind": tag} if tag is not None else {}
            fields = value.__struct_fields__
            return head | {name: _member(name, getattr(value, name)) for name in fields}
        case bytes():
            return _embedded(value)
        case dict():
            items = cast("dict[object, object]", value).items()
            return {str(name): _member(str(name), each) for name, each in items}
        case list() | tuple():
            return [plain(each) for each in cast("Sequence[object]", value)]
        case _:
            return value


def _member(name: str, value: object) -> Any:
    is_time = name == "at" or name.endswith(("_at", "_until"))
    return time(value) if is_time and isinstance(value, int) else plain(value)


def _embedded(data: bytes) -> Any:
    """Payloads are opaque to a server; what is no JSON is shown as base64."""
    try:
        msgspec.json.decode(data)
    except msgspec.DecodeError:
        return {"base64": base64.b64encode(data).decode()}
    return msgspec.Raw(data)
