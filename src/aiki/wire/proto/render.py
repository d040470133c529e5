"""The `.proto` file: text from the schema, with the docstrings as comments and stable numbers.

The committed file is the registry of numbers: a field that is there keeps its number, a new one
gets the next, and the number and name of one that is gone are reserved for ever.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from aiki.operations.base import Operation
from aiki.wire.proto.schema import (
    REQUIRED,
    SCALARS,
    WRAPPED,
    Choice,
    Field,
    Json,
    Message,
    OneOf,
    Record,
    Scalar,
    Wrapped,
    message_name,
    messages,
    operations,
    response_name,
)

PACKAGE = "aiki.v1"
SERVICE = "Aiki"
_WIDTH = 100
_HEAD = f"""\
// Aiki's service: every operation as a unary call, and a stream for workers.
//
// Made by scripts/proto from the structs of the operations; do not edit. Numbers are stable.
//
// Instants are milliseconds since 1970-01-01T00:00Z, on the database's clock. `bytes` hold UTF-8
// JSON: payloads as they were given, and objects of free shape in fields that end in `_json`, where
// nothing stands for an empty object. A missing `optional` field means what its comment says, or
// that there is no value. Strings with a set of values are checked; see the comments.
//
// Metadata of a call: `aiki-namespace` (default "default"), `authorization` ("Bearer TOKEN"),
// `aiki-protocol` (checked when given), `idempotency-key` (the same key is the same call, for a
// day). Trailing metadata of an error: `aiki-error` names its class. Ids and command ids that a
// caller would make may be left empty: the server makes them.

syntax = "proto3";

package {PACKAGE};
"""


class Known(NamedTuple):
    """What the registry knows of one message."""

    fields: dict[str, tuple[int, str]]
    """By name: number and type."""
    reserved: dict[int, str]
    """Names of those that are gone, by number."""

    @property
    def next_number(self) -> int:
        """A number that was never used."""
        return max([0, *(number for number, _ in self.fields.values()), *self.reserved]) + 1


_MESSAGE = re.compile(r"message (\w+) \{\}?")
_FIELD = re.compile(r"\s+(?:optional )?((?:repeated )?\w+) (\w+) = (\d+);")
_RESERVED = re.compile(r"\s+reserved (\d+);  // (\w+)")


def registry(text: str) -> dict[str, Known]:
    """The numbers that a file made by `render` has given."""
    found: dict[str, Known] = {}
    current = Known({}, {})
    for line in text.splitlines():
        if match := _MESSAGE.fullmatch(line):
            current = found.setdefault(match[1], Known({}, {}))
        elif match := _FIELD.fullmatch(line):
            current.fields[match[2]] = (int(match[3]), match[1])
        elif match := _RESERVED.fullmatch(line):
            current.reserved[int(match[1])] = match[2]
    return found


def render(committed: str) -> str:
    """The whole file; `committed` is the last one, or nothing for a first one.

    Raises `ValueError` for a field whose type has changed: old peers would misread it.
    """
    known = registry(committed)
    parts = [_HEAD, "\n".join(_service())]
    parts.extend(
        "\n".join(_message(message, known.get(message.name, Known({}, {}))))
        for message in messages().values()
    )
    return "\n".join(part + "\n" for part in parts).replace("\n\n\n", "\n\n")


def _service() -> Iterator[str]:
    yield from _comment("Everything that a client, a worker or an operator asks of a server.", "")
    yield f"service {SERVICE} {{"
    for kind in operations():
        yield from _comment(f"{_doc(kind)}\n\nLeast role: {kind.role}.", "  ")
        yield (f"  rpc {kind.__name__}({message_name(kind)}) returns ({response_name(kind)});\n")
    doc = (
        "A worker's session: it carries claims, reports, heartbeats and news, and is its presence."
    )
    yield from _comment(doc, "  ")
    yield "  rpc Session(stream SessionRequest) returns (stream SessionResponse);"
    yield "}"


def _message(message: Message, known: Known) -> Iterator[str]:
    yield from _comment(_message_doc(message), "")
    if not message.fields and not known.fields and not known.reserved:
        yield f"message {message.name} {{}}"
        return
    numbers = _Numbers(message.name, known)
    notes = _field_docs(message.struct) if message.struct else {}
    body = [line for field in message.fields for line in _field(field, notes, numbers)]
    yield f"message {message.name} {{"
    yield from (f"  reserved {number};  // {name}" for number, name in numbers.reserved())
    yield from body
    yield "}"


class _Numbers:
    """Gives the numbers of one message's fields."""

    def __init__(self, message: str, known: Known) -> None:
        self._message = message
        self._known = known
        self._next = known.next_number
        self._used: set[str] = set()

    def of(self, name: str, kind: str) -> int:
        self._used.add(name)
        number, before = self._known.fields.get(name, (0, kind))
        if before != kind:
            raise ValueError(
                f"{self._message}.{name} was {before} and is {kind} now: old peers would misread "
                "it; give the field a new name"
            )
        if not number:
            number, self._next = self._next, self._next + 1
        return number

    def reserved(self) -> list[tuple[int, str]]:
        gone = {
            number: name
            for name, (number, _) in self._known.fields.items()
            if name not in self._used
        }
        return sorted({**self._known.reserved, **gone}.items())


def _field(field: Field, notes: dict[str, str], numbers: _Numbers) -> Iterator[str]:
    yield from _comment(_field_doc(field, notes.get(field.attribute, "")), "  ")
    if isinstance(field.kind, OneOf):
        yield f"  oneof {field.name} {{"
        for name, struct in field.kind.members:
            kind = message_name(struct)
            yield f"    {kind} {name} = {numbers.of(name, kind)};"
        yield "  }"
        return
    kind = f"repeated {_type(field)}" if field.many else _type(field)
    label = "optional " if field.optional else ""
    yield f"  {label}{kind} {field.name} = {numbers.of(field.name, kind)};"


def _type(field: Field) -> str:
    match field.kind:
        case Scalar(python):
            return SCALARS[python]
        case Choice():
            return "string"
        case Json():
            return "bytes"
        case Record(struct):
            return message_name(struct)
        case Wrapped(name):
            return name
        case OneOf():
            raise TypeError("a oneof has no type of its own")


def _field_doc(field: Field, note: str) -> str:
    parts = [note]
    match field.kind:
        case Choice(values):
            parts.append(f"One of {', '.join(values)}.")
        case Json():
            parts.append("A JSON object.")
        case Scalar(python) if python is bytes:
            parts.append("UTF-8 JSON.")
        case _:
            pass
    if field.optional and field.default is not None:
        parts.append(f"Missing: {_value(field.default)}.")
    elif field.default is REQUIRED:
        parts.append("Required.")
    return " ".join(part for part in parts if part)


def _value(default: Any) -> str:
    if isinstance(default, bytes):
        return default.decode()
    return msgspec.json.encode(default).decode().strip('"')


def _message_doc(message: Message) -> str:
    if message.struct is None:
        if message.name in WRAPPED:
            return "One of these."
        return f"The answer to {message.name.removesuffix('Response')}."
    name = message.struct.__name__
    if issubclass(message.struct, Operation):
        return f"The request of {name}."
    return _doc(message.struct)


def _doc(struct: type[Any]) -> str:
    return inspect.cleandoc(struct.__doc__ or "")


def _field_docs(struct: type[msgspec.Struct]) -> dict[str, str]:
    """The strings that stand below the fields in the source."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(struct))).body[0]
    assert isinstance(tree, ast.ClassDef)
    notes: dict[str, str] = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                notes[field.target.id] = " ".join(str(below.value.value).split())
    return notes


def _comment(text: str, indent: str) -> Iterator[str]:
    prefix = f"{indent}// "
    for place, paragraph in enumerate(text.split("\n\n") if text else ()):
        if place:
            yield f"{indent}//"
        yield from textwrap.wrap(
            " ".join(paragraph.split()),
            _WIDTH,
            initial_indent=prefix,
            subsequent_indent=prefix,
            break_long_words=False,
            break_on_hyphens=False,
        )
