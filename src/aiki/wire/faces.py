"""Faces: the records as JSON shows them, where payloads are values and not bytes.

The face of a struct has the same name and the same fields, but a field of type `bytes` holds any
JSON value; one that may be None is left out where it is None, so that a recorded `null` can be told
from nothing. Faces are made once for each type, together with functions that turn one into the
other; a type without payloads is its own face.

In faces of requests, ids that callers make may be left out, and a field that nobody knows is
refused: it is a mistake in what a person wrote.
"""

from __future__ import annotations

import base64
import types
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

Convert = Callable[[Any], Any]
SAFE_INTEGER = 2**53 - 1
"""The largest integer that every JSON parser reads as it was written."""
_Integer = Annotated[int, Meta(ge=-SAFE_INTEGER, le=SAFE_INTEGER)]
_is_json = msgspec.json.Decoder(Raw).decode
_encode = msgspec.json.Encoder().encode
UNREADABLE = "$bytes"
"""Key of the object that stands for a payload that is no JSON, with its bytes in Base64."""


class Face(NamedTuple):
    """How a type looks in JSON, and the ways to there and back; None where nothing changes."""

    type: Any
    show: Convert | None = None
    """From a value of the type to one of its face."""
    read: Convert | None = None
    """From a value of the face to one of the type."""


def show_payload(payload: bytes) -> Raw:
    """A payload as a part of a JSON document; what is none stands there in Base64."""
    try:
        _is_json(payload)
        if not payload.isascii():
            payload.decode()
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return Raw(_encode({UNREADABLE: base64.b64encode(payload).decode()}))
    return Raw(payload)


def read_payload(value: Any) -> bytes:
    """The bytes of a value, as they were sent."""
    return bytes(value)


class Faces:
    """Makes the faces of types, and keeps them."""

    def __init__(
        self,
        *,
        made: frozenset[tuple[str, str]] = frozenset(),
        strict: bool = False,
        suffix: str = "",
    ) -> None:
        self._made = made
        """Structs and their fields that may be left out although the record needs them: they are
        read as an empty text."""
        self._strict = strict
        """Refuse unknown fields, and integers that databases could not hold."""
        self._suffix = suffix
        """Of the faces' names, so that they differ from those of other faces."""
        self._known: dict[Any, Face] = {}

    def of(self, kind: Any) -> Face:
        """The face of a type."""
        face = self._known.get(kind)
        if face is None:
            face = self._known[kind] = self._make(kind)
        return face

    def _make(self, kind: Any) -> Face:
        if kind is bytes:
            return Face(Raw, show_payload, read_payload)
        if kind is int and self._strict:
            return Face(_Integer)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self._struct(kind)
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in (Union, types.UnionType):
            return self._union(arguments)
        if origin is tuple and arguments[1:] == (Ellipsis,):
            return self._tuple(arguments[0])
        if origin is dict:
            return self._dict(*arguments)
        return Face(kind)

    def _field(self, kind: Any) -> Face:
        """The face of a field; whether a payload may be missing is the field's business."""
        return self.of(bytes if _may_miss(kind) else kind)

    def _tuple(self, item: Any) -> Face:
        face = self.of(item)
        kind = tuple[face.type, ...]  # type: ignore[name-defined]
        if face.show is None or face.read is None:
            return Face(kind)
        return Face(kind, _each(face.show), _each(face.read))

    def _dict(self, key: Any, value: Any) -> Face:
        face = self.of(value)
        kind = dict[key, face.type]  # type: ignore[name-defined]
        if face.show is None or face.read is None:
            return Face(kind)
        return Face(kind, _each_value(face.show), _each_value(face.read))

    def _union(self, members: tuple[Any, ...]) -> Face:
        """Which member it is shows in the value's class: msgspec asks for tags that tell."""
        faces = [(member, self.of(member)) for member in members]
        kind = faces[0][1].type
        for _, face in faces[1:]:
            kind = kind | face.type
        shows = {_class(m): face.show for m, face in faces if face.show is not None}
        reads = {_class(face.type): face.read for _, face in faces if face.read is not None}
        if not shows:
            return Face(kind)
        return Face(kind, _choice(shows), _choice(reads))

    def _struct(self, kind: type[msgspec.Struct]) -> Face:
        """A struct that holds itself has no payload, and is left as it is."""
        if _is_recursive(kind):
            return Face(kind)
        fields = self._fields(kind)
        if not self._strict and all(field.show is None for field in fields):
            return Face(kind)
        face = self._define(kind, kind.__name__ + self._suffix, fields)
        return Face(face, _maker(face, fields, "show"), _maker(kind, fields, "read"))

    def part(self, kind: type[msgspec.Struct], name: str, without: Sequence[str]) -> Face:
        """The face of a struct without some of its fields; it reads a dict of the others."""
        fields = self._fields(kind, without)
        face = self._define(kind, name, fields)
        return Face(face, _maker(face, fields, "show"), _maker(dict, fields, "read"))

    def _fields(self, kind: type[msgspec.Struct], without: Sequence[str] = ()) -> list[_Field]:
        return [
            _Field(info, self._field(info.type), made=(kind.__name__, info.name) in self._made)
            for info in msgspec.structs.fields(kind)
            if info.name not in without
        ]

    def _define(self, kind: type[msgspec.Struct], name: str, fields: list[_Field]) -> Any:
        config = kind.__struct_config__
        return msgspec.defstruct(
            name,
            [field.definition for field in fields],
            module=kind.__module__,
            namespace={"__doc__": kind.__doc__},
            kw_only=True,
            frozen=True,
            omit_defaults=config.omit_defaults,
            forbid_unknown_fields=self._strict,
            tag_field=config.tag_field,
            tag=config.tag,
        )


def _class(kind: Any) -> Any:
    return get_origin(kind) or kind


def _may_miss(kind: Any) -> bool:
    return {bytes, types.NoneType} <= set(get_args(kind))


def _each(convert: Convert) -> Convert:
    return lambda many: tuple(map(convert, many))


def _each_value(convert: Convert) -> Convert:
    def convert_all(many: dict[Any, Any]) -> dict[Any, Any]:
        return {name: convert(one) for name, one in many.items()}

    return convert_all


def _choice(ways: dict[Any, Convert]) -> Convert:
    def convert(value: Any) -> Any:
        way = ways.get(type(value))
        return value if way is None else way(value)

    return convert


def _unless_unset(convert: Convert | None, otherwise: Any) -> Convert:
    def read(value: Any) -> Any:
        if value is UNSET:
            return otherwise
        return value if convert is None else convert(value)

    return read


def _show_optional(value: bytes | None) -> Any:
    return UNSET if value is None else show_payload(value)


class _Field:
    """A field of a struct and of its face."""

    def __init__(self, info: msgspec.structs.FieldInfo, face: Face, *, made: bool) -> None:
        self.name = info.name
        self.show = face.show
        self.read = face.read
        self.definition: tuple[str, Any] | tuple[str, Any, Any] = (info.name, face.type)
        if _may_miss(info.type):
            self.show = _show_optional
            self._may_be_unset(face, None)
        elif made:
            self._may_be_unset(face, "")
        elif info.type is bytes and info.default is not msgspec.NODEFAULT:
            self._may_be_unset(face, info.default)
        elif info.default_factory is not msgspec.NODEFAULT:
            default: Any = msgspec.field(default_factory=info.default_factory)
            self.definition = (info.name, face.type, default)
        elif info.default is not msgspec.NODEFAULT:
            default = info.default
            shown = default if face.show is None else face.show(default)
            self.definition = (info.name, face.type, shown)

    def _may_be_unset(self, face: Face, otherwise: Any) -> None:
        self.definition = (self.name, face.type | UnsetType, UNSET)
        self.read = _unless_unset(face.read, otherwise)


def _maker(kind: type[Any], fields: list[_Field], way: str) -> Convert:
    names = tuple(field.name for field in fields)
    ways: list[tuple[str, Convert | None]] = [(field.name, getattr(field, way)) for field in fields]
    changed = [(name, change) for name, change in ways if change is not None]

    def make(value: Any) -> Any:
        values = {name: getattr(value, name) for name in names}
        for name, change in changed:
            values[name] = change(values[name])
        return kind(**values)

    return make


def _is_recursive(kind: type[msgspec.Struct]) -> bool:
    seen: set[Any] = set()

    def reaches(found: Any) -> bool:
        if isinstance(found, type) and issubclass(found, msgspec.Struct):
            if found in seen:
                return found is kind
            seen.add(found)
            return any(map(reaches, get_type_hints(found).values()))
        return any(map(reaches, get_args(found)))

    return reaches(kind)


ANSWERS = Faces()
"""Faces of what the server tells."""
