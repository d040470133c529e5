"""Samples of every type that travels: whole ones, with something in each field, always the same."""

from __future__ import annotations

import types
import zlib
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

_DEEPEST = 4
_PLAIN: dict[Any, list[Any]] = {
    bytes: [b'{"a": [1, null]}', b"null"],
    bool: [True],
    # A share and a factor may both be 1.
    float: [1.0],
    Any: [{"key": "value"}],
}


def samples_of(kind: Any, name: str = "", depth: int = 0) -> list[Any]:
    """A few values of the type, so that each choice that it offers is among them."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind is int:
        # Different fields have different numbers: one that takes another's place is noticed.
        return [2 + zlib.crc32(name.encode()) % 97]
    if kind is str:
        return [name]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _structs(kind, depth)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return list(arguments)
    if origin in (Union, types.UnionType):
        return _choices(arguments, name, depth)
    if origin is tuple:
        return [tuple(samples_of(arguments[0], name, depth + 1))]
    if origin is dict:
        return [{"key": value} for value in samples_of(arguments[1], name, depth + 1)]
    raise TypeError(f"no samples are known of {kind}")


def _choices(members: tuple[Any, ...], name: str, depth: int) -> list[Any]:
    """One of each; None only where nothing else ends a type that holds itself."""
    if type(None) in members and depth > _DEEPEST:
        return [None]
    others = [member for member in members if member is not type(None)]
    return [value for member in others for value in samples_of(member, name, depth)]


def _structs(kind: type[msgspec.Struct], depth: int) -> list[Any]:
    """As many as the field with the most choices needs."""
    fields = {
        field.name: samples_of(field.type, field.name, depth + 1)
        for field in msgspec.structs.fields(kind)
    }
    if depth > 2:
        fields = {name: values[:1] for name, values in fields.items()}
    count = max((len(values) for values in fields.values()), default=1)
    return [
        kind(**{name: _nth(values, number) for name, values in fields.items()})
        for number in range(count)
    ]


def _nth(values: list[Any], number: int) -> Any:
    """Each in turn; what is a list stands whole in the first sample only."""
    value = values[number % len(values)]
    return value[:1] if number and isinstance(value, tuple) else value
