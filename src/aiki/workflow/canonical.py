"""Canonical form 1: the one sequence of bytes that stands for a value, in every process, forever.

Addresses and recorded arguments are made of these bytes, so a change of them is a new form.
Members are JSON texts; a text equal to the text of a field's default is left out.
"""

# Values of every type pass through here; what is unknown about them stays in this module.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false
from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from json import loads
from json.encoder import encode_basestring as _quote
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from aiki.errors import LimitExceeded, PayloadError
from aiki.model import limits
from aiki.workflow import scalars
from aiki.workflow.scalars import Refused

FORM = 1

_SHOWN_STEPS = 6
_CHANGING = (date, time, UUID)
_USE = "use a dataclass, TypedDict, msgspec.Struct or pydantic model"

_KEPT_WRITERS = 10_000
"""Beyond this the process makes classes without end; they are not kept alive."""

_Writer = Callable[[Any, int], str]


def encode(value: object, where: str = "value") -> bytes:
    """The canonical bytes of `value`; `where` names it in PayloadError and LimitExceeded."""
    text = ""
    try:
        text = _text(value, limits.PAYLOAD_DEPTH)
        data = text.encode()
    except Refused as refused:
        steps = refused.steps[::-1]
        if refused.error is LimitExceeded:
            steps = steps[:_SHOWN_STEPS]  # the whole way of a cycle says no more
        raise refused.error(f"{_path(where, steps)}{refused}") from None
    except UnicodeEncodeError:
        reason = "a lone surrogate cannot be encoded; decode the text with errors='replace'"
        raise PayloadError(f"{_path(where, _surrogate(loads(text)) or [])}{reason}") from None
    except RecursionError:
        raise LimitExceeded(f"{_path(where, ())}too deep for this thread's stack") from None
    if len(data) > limits.PAYLOAD_BYTES:
        raise LimitExceeded(
            f"{_path(where, ())}takes {len(data)} bytes, the limit is {limits.PAYLOAD_BYTES}; "
            "keep it in a file or a table and pass its name"
        )
    return data


class _Mode(threading.local):
    """How this thread encodes at the moment."""

    whole = False
    """Fields that equal their default are written too."""


_MODE = _Mode()


def encode_whole(value: object, where: str = "value") -> bytes:
    """Like `encode`, with every field: for what is kept and read back, not hashed.

    A recorded result must not change when code gives a field another default.
    """
    _MODE.whole = True
    try:
        return encode(value, where)
    finally:
        _MODE.whole = False


def _path(where: str, steps: Iterable[object]) -> str:
    for step in steps:
        if isinstance(step, str) and step.isidentifier():
            where += f".{step}" if where else step
        else:
            where += f"[{step!r}]"
    return f"{where}: " if where else ""


def _surrogate(plain: object) -> list[object] | None:
    """The way to the first lone surrogate in parsed canonical text."""
    if isinstance(plain, str):
        return [] if any("\ud800" <= char <= "\udfff" for char in plain) else None
    if isinstance(plain, dict):
        for key, item in plain.items():
            inner = _surrogate(key) if _surrogate(item) is None else _surrogate(item)
            if inner is not None:
                return [key[1:] if key.startswith("$$") else key, *inner]
    if isinstance(plain, list):
        for index, item in enumerate(plain):
            if (inner := _surrogate(item)) is not None:
                return [index, *inner]
    return None


def _text(value: object, room: int) -> str:
    return _WRITERS[type(value)](value, room)


def _enter(room: int) -> int:
    if room <= 0:
        depth = limits.PAYLOAD_DEPTH
        reason = f"nested more than {depth} levels deep, or contains itself; flatten it"
        raise Refused(reason, LimitExceeded)
    return room - 1


def _enum(value: Enum, room: int) -> str:
    return _text(value.value, room)


# Collections


def _array(value: Iterable[object], room: int) -> str:
    room = _enter(room)
    parts: list[str] = []
    try:
        for item in value:  # a comprehension would not tell where it stopped
            parts.append(_WRITERS[type(item)](item, room))  # noqa: PERF401
    except Refused as refused:
        refused.steps.append(len(parts))
        raise
    return f"[{','.join(parts)}]"


def _set(value: Iterable[object], room: int) -> str:
    room = _enter(room)
    return f"[{','.join(sorted([_text(item, room) for item in value]))}]"


def _mapping(value: dict[Any, object], room: int) -> str:
    room = _enter(room)
    try:
        keys = sorted(value)
        tagged = "$" in "".join(keys)
    except TypeError:  # keys that are no text, or of several types
        keys, tagged = [], True
    if tagged:
        value = _named(value)
        keys = sorted(value)
    parts: list[str] = []
    try:
        for key in keys:
            item = value[key]
            parts.append(f"{_quote(key)}:{_WRITERS[type(item)](item, room)}")
    except Refused as refused:
        key = keys[len(parts)]
        refused.steps.append(key[1:] if key[:2] == "$$" else key)
        raise
    return f"{{{','.join(parts)}}}"


def _named(value: dict[Any, object]) -> dict[str, object]:
    """The items under their written keys; a first "$" is doubled, for one "$" marks a tag."""
    named: dict[str, object] = {}
    for key, item in value.items():
        try:
            name = _escaped(key if isinstance(key, str) else _key(key))
            if name in named:
                raise Refused("two keys of this dict are written alike; use keys of one type")
        except Refused as refused:
            refused.steps.append(key)
            raise
        named[name] = item
    return named


def _escaped(name: str) -> str:
    return f"${name}" if name[:1] == "$" else name


def _key(key: object) -> str:
    if isinstance(key, Enum):
        return key.value if isinstance(key.value, str) else _key(key.value)
    if isinstance(key, int) and not isinstance(key, bool):
        return int.__repr__(key)
    if isinstance(key, float | Decimal | datetime | date | time | timedelta | UUID | bytes):
        return _text(key, 1).strip('"')
    raise Refused(f"{_name(type(key))} cannot be a key; use str, int, an enum or UUID")


# Objects with declared fields


class _Field(NamedTuple):
    attribute: str
    label: str
    """The written name with its colon; empty in an array."""
    default: str | None
    """The text to leave out, None if there is no default or it changes by itself."""


_NO_DEFAULT = (msgspec.NODEFAULT, dataclasses.MISSING)


def _field(attribute: str, name: str | None, default: object, factory: object = None) -> _Field:
    label = "" if name is None else f"{_quote(_escaped(name))}:"
    absent = any(default is mark for mark in _NO_DEFAULT)
    return _Field(attribute, label, _factory_text(factory) if absent else _default_text(default))


def _default_text(default: object) -> str | None:
    whole, _MODE.whole = _MODE.whole, False
    try:
        return _text(default, limits.PAYLOAD_DEPTH)
    except Refused:
        return None
    finally:
        _MODE.whole = whole


def _factory_text(factory: Any) -> str | None:
    """A factory that may answer differently tomorrow or elsewhere is no default to leave out."""
    if not callable(factory):
        return None
    try:
        first = factory()
        text = _default_text(first)
        same = text == _default_text(factory())
    except Exception:  # the user's code; what fails here is surely no constant
        return None
    return text if same and not isinstance(first, _CHANGING) else None


def _members(value: object, fields: tuple[_Field, ...], room: int) -> list[str | None]:
    """The text of each field with its label, None where it equals the default."""
    texts: list[str | None] = []
    try:
        for attribute, label, default in fields:
            item = getattr(value, attribute)
            if item is msgspec.UNSET:
                texts.append(None)
                continue
            text = _WRITERS[type(item)](item, room)
            texts.append(None if text == default and not _MODE.whole else label + text)
    except Refused as refused:
        refused.steps.append(fields[len(texts)].attribute)
        raise
    except AttributeError:
        raise Refused(f"its field {fields[len(texts)].attribute} has no value; set it") from None
    return texts


def _object_writer(fields: tuple[_Field, ...], tag: tuple[str, str] | None = None) -> _Writer:
    """Fields sorted by written name; `tag` is a written name and a value's text."""
    tagged: tuple[_Field, ...] = (_Field("", f"{_quote(_escaped(tag[0]))}:", None),) if tag else ()
    order = tuple(sorted(fields + tagged, key=lambda field: loads(field.label[:-1])))
    place = order.index(tagged[0]) if tagged else 0
    own = tuple(field for field in order if field.attribute)
    mark = [f.label + tag[1] for f in tagged] if tag else []

    def write(value: object, room: int) -> str:
        texts = _members(value, own, _enter(room))
        if mark:
            texts[place:place] = mark
        return f"{{{','.join([text for text in texts if text is not None])}}}"

    return write


def _array_writer(fields: tuple[_Field, ...], mark: list[str]) -> _Writer:
    """Fields by place; only those at the end can be left out."""

    def write(value: object, room: int) -> str:
        texts = _members(value, fields, _enter(room))
        while texts and texts[-1] is None:
            texts.pop()
        kept = [f.default if text is None else text for f, text in zip(fields, texts, strict=False)]
        if None in kept:
            raise Refused("UNSET has no place inside an array-like Struct; use None")
        return f"[{','.join([*mark, *map(str, kept)])}]"

    return write


def _struct_writer(kind: type[msgspec.Struct]) -> _Writer:
    config = kind.__struct_config__
    fields = tuple(
        _field(f.name, None if config.array_like else f.encode_name, f.default, f.default_factory)
        for f in msgspec.structs.fields(kind)
    )
    tag = None if config.tag is None else _text(config.tag, 1)
    if config.array_like:
        return _array_writer(fields, [] if tag is None else [tag])
    return _object_writer(fields, None if tag is None else (str(config.tag_field), tag))


def _dataclass_writer(kind: Any) -> _Writer:
    fields = dataclasses.fields(kind)
    return _object_writer(
        tuple(_field(f.name, f.name, f.default, f.default_factory) for f in fields)
    )


def _named_tuple_writer(kind: Any) -> _Writer:
    defaults = kind._field_defaults
    names = kind._fields
    return _array_writer(
        tuple(_field(name, None, defaults.get(name, msgspec.NODEFAULT)) for name in names), []
    )


# Models of other libraries


def _attrs_writer(kind: Any) -> _Writer:
    nothing = sys.modules["attr"].NOTHING
    fields = []
    for each in kind.__attrs_attrs__:
        made = hasattr(each.default, "takes_self")  # a Factory; one that needs self is no constant
        factory = each.default.factory if made and not each.default.takes_self else None
        default = msgspec.NODEFAULT if made or each.default is nothing else each.default
        fields.append(_field(each.name, each.name, default, factory))
    return _object_writer(tuple(fields))


def _model(value: Any, room: int) -> str:
    """A pydantic model as pydantic writes it, except for sets and NaN."""
    options = {
        "exclude_defaults": not _MODE.whole,
        "by_alias": True,
        "round_trip": True,
        "warnings": False,
    }
    try:
        plain = value.model_dump(mode="json", **options)
        python = value.model_dump(**options)
    except (ValueError, TypeError) as error:  # PydanticSerializationError is a ValueError
        cyclic = "Circular reference" in str(error)
        raise Refused(str(error), LimitExceeded if cyclic else PayloadError) from None
    return _text(_settled(plain, python), room)


def _settled(plain: Any, python: Any) -> Any:
    """`plain`, where what was a set has a set's order, and NaN is not silently null."""
    if plain is None and isinstance(python, float):
        return python
    if isinstance(plain, list) and isinstance(python, set | frozenset):
        sample = next(iter(python), None)
        members = [_settled(item, sample) for item in plain]
        return sorted(members, key=lambda item: _text(item, limits.PAYLOAD_DEPTH))
    if isinstance(plain, dict) and isinstance(python, dict) and len(plain) == len(python):
        pairs = zip(plain.items(), python.values(), strict=True)
        return {key: _settled(item, twin) for (key, item), twin in pairs}
    if isinstance(plain, list) and isinstance(python, list | tuple) and len(plain) == len(python):
        return [_settled(*pair) for pair in zip(plain, python, strict=True)]
    return plain


def _other(value: object, room: int) -> str:
    kind = type(value)
    try:
        plain = msgspec.to_builtins(value)
    except (TypeError, ValueError):
        raise Refused(f"{_name(kind)} cannot be encoded; {_USE}") from None
    if type(plain) is kind:
        raise Refused(f"{_name(kind)} cannot be encoded; {_USE}")
    return _text(plain, _enter(room))


def _name(kind: type) -> str:
    home = kind.__module__
    return kind.__qualname__ if home == "builtins" else f"{home}.{kind.__qualname__}"


# The choice by type


class _Writers(dict[type, _Writer]):
    """The writer of each exact type; a user's class gets its own when it is first met."""

    def __missing__(self, kind: type) -> _Writer:
        writer = _writer_of(kind)
        if len(self) < _KEPT_WRITERS:
            self[kind] = writer
        return writer


_WRITERS = _Writers(
    {
        type(None): lambda value, room: "null",
        str: scalars.write_string,
        bool: scalars.write_boolean,
        int: scalars.write_integer,
        float: scalars.write_float,
        Decimal: scalars.write_decimal,
        datetime: scalars.write_datetime,
        date: scalars.write_date,
        time: scalars.write_time,
        timedelta: scalars.write_timedelta,
        UUID: scalars.write_uuid,
        bytes: scalars.write_bytes,
        bytearray: scalars.write_bytes,
        memoryview: scalars.write_bytes,
        list: _array,
        tuple: _array,
        set: _set,
        frozenset: _set,
        dict: _mapping,
    }
)


def _writer_of(kind: type) -> _Writer:
    pydantic = sys.modules.get("pydantic.main")
    if issubclass(kind, Enum):
        return _enum
    if issubclass(kind, msgspec.Struct):
        return _struct_writer(kind)
    if pydantic is not None and issubclass(kind, pydantic.BaseModel):
        return _model
    if dataclasses.is_dataclass(kind):
        return _dataclass_writer(kind)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _named_tuple_writer(kind)
    if hasattr(kind, "__attrs_attrs__"):
        return _attrs_writer(kind)
    return next((_WRITERS[base] for base in kind.__mro__ if base in _WRITERS), _other)
