"""The schema: which message stands for which struct, derived from the structs' annotations.

A struct becomes a message of its name, an operation one of its name with `Request` behind it. A
missing field means what the struct's default says: where that differs from the zero of Protocol
Buffers, and where None is allowed, the field is `optional`. Unions of structs become `oneof`.
Objects of free shape are JSON in `bytes`, because `google.protobuf.Struct` knows no integers.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

from aiki.model.failure import Failure
from aiki.operations.base import OPERATIONS, Operation
from aiki.operations.work import Ending
from aiki.wire.calls import answer_type
from aiki.wire.proto.session import SessionRequest, SessionResponse

SCALARS: dict[type, str] = {
    str: "string",
    bytes: "bytes",
    bool: "bool",
    int: "int64",
    float: "double",
}
"""Protocol Buffers' name for each scalar."""

REQUIRED: Any = msgspec.NODEFAULT
"""The default of a field that must be there."""


class Scalar(NamedTuple):
    """A string, bytes, a boolean or a number."""

    python: type


class Choice(NamedTuple):
    """A string, one of these."""

    values: tuple[str, ...]


class Json(NamedTuple):
    """An object of free shape: its JSON in bytes, nothing for an empty one."""

    annotation: Any


class Record(NamedTuple):
    """A message that stands for a struct."""

    struct: type[msgspec.Struct]


class OneOf(NamedTuple):
    """One of several structs: each is a field of the message that holds the `oneof`."""

    members: tuple[tuple[str, type[msgspec.Struct]], ...]


class Wrapped(NamedTuple):
    """One of several structs, as a message of its own."""

    name: str


Kind = Scalar | Choice | Json | Record | OneOf | Wrapped


class Field(NamedTuple):
    """A field of a message; `attribute` is its name in the struct."""

    name: str
    attribute: str
    kind: Kind
    default: Any
    """What a missing field means, or `REQUIRED`."""
    many: bool = False
    optional: bool = False
    """The message tells a missing scalar from its zero."""


class Message(NamedTuple):
    """A message; `struct` is what it stands for, None where it only wraps a field."""

    name: str
    struct: type[msgspec.Struct] | None
    fields: tuple[Field, ...]


WRAPPED: dict[str, Any] = {"Failure": Failure, "Ending": Ending}
"""Unions that have a name, and therefore a message."""
_WRAPPED_BY_MEMBERS = {frozenset(get_args(union)): name for name, union in WRAPPED.items()}
_ONE_OF = "kind"


def message_name(struct: type[msgspec.Struct]) -> str:
    """The message that stands for this struct."""
    return f"{struct.__name__}Request" if issubclass(struct, Operation) else struct.__name__


def response_name(kind: type[Operation[Any]]) -> str:
    """The message that answers this operation: the record itself, or one that wraps the answer."""
    answer = answer_type(kind)
    return message_name(answer) if _is_struct(answer) else f"{kind.__name__}Response"


@cache
def struct_message(struct: type[msgspec.Struct]) -> Message:
    """The message of a struct."""
    fields = tuple(_field(struct, field) for field in msgspec.structs.fields(struct))
    return Message(message_name(struct), struct, fields)


@cache
def wrapper_message(name: str) -> Message:
    """The message of a named union."""
    field = Field(_ONE_OF, _ONE_OF, _one_of(get_args(WRAPPED[name])), REQUIRED)
    return Message(name, None, (field,))


@cache
def response_message(kind: type[Operation[Any]]) -> Message:
    """The message that answers an operation."""
    answer = answer_type(kind)
    if _is_struct(answer):
        return struct_message(answer)
    many, element = _element(answer)
    name = "results" if many else "result"
    default = () if many else element()
    field = Field(name, name, _kind(kind, name, element), default, many)
    return Message(response_name(kind), None, (field,))


def operations() -> list[type[Operation[Any]]]:
    """Every operation, in an order that does not depend on which module was imported first."""
    return sorted(OPERATIONS.values(), key=lambda kind: kind.__module__)


def messages() -> dict[str, Message]:
    """Every message, in an order that follows the operations."""
    found: dict[str, Message] = {}
    for kind in operations():
        _collect(struct_message(kind), found)
        _collect(response_message(kind), found)
    _collect(struct_message(SessionRequest), found)
    _collect(struct_message(SessionResponse), found)
    return found


def _collect(message: Message, found: dict[str, Message]) -> None:
    if message.name in found:
        if found[message.name] != message:
            raise TypeError(f"two messages would be named {message.name}")
        return
    found[message.name] = message
    for field in message.fields:
        for inner in _within(field.kind):
            _collect(inner, found)


def _within(kind: Kind) -> Iterator[Message]:
    match kind:
        case Record(struct):
            yield struct_message(struct)
        case OneOf(members):
            yield from (struct_message(struct) for _, struct in members)
        case Wrapped(name):
            yield wrapper_message(name)
        case _:
            return


def _field(owner: type[msgspec.Struct], field: msgspec.structs.FieldInfo) -> Field:
    inner, nullable = _without_none(field.type)
    many, element = _element(inner)
    kind = _kind(owner, field.name, element)
    name = f"{field.name}_json" if isinstance(kind, Json) else field.name
    default = _default(field, kind, many=many, nullable=nullable)
    if isinstance(kind, Scalar | Choice) and not many:
        optional = nullable or default not in (REQUIRED, kind_zero(kind))
        if default is REQUIRED:
            default = None if nullable else kind_zero(kind)
        return Field(name, field.name, kind, default, optional=optional)
    return Field(name, field.name, kind, default, many)


def _default(field: msgspec.structs.FieldInfo, kind: Kind, *, many: bool, nullable: bool) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    if isinstance(kind, Json):
        return {}
    if many:
        return ()
    return None if nullable else REQUIRED


def kind_zero(kind: Scalar | Choice) -> Any:
    """What Protocol Buffers takes a missing field for."""
    return kind.python() if isinstance(kind, Scalar) else ""


def _kind(owner: type[Any], name: str, annotation: Any) -> Kind:
    if annotation in SCALARS:
        return Scalar(annotation)
    if _is_struct(annotation):
        return Record(annotation)
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if origin is Literal:
        return Choice(arguments)
    if origin is dict:
        return Json(annotation)
    if origin in (Union, types.UnionType) and all(map(_is_struct, arguments)):
        wrapped = _WRAPPED_BY_MEMBERS.get(frozenset(arguments))
        return Wrapped(wrapped) if wrapped else _one_of(arguments)
    raise TypeError(f"{owner.__name__}.{name}: no message can hold {annotation}")


def _one_of(structs: tuple[type[msgspec.Struct], ...]) -> OneOf:
    return OneOf(tuple((_member_name(struct), struct) for struct in structs))


def _member_name(struct: type[msgspec.Struct]) -> str:
    tag = struct.__struct_config__.tag
    return str(tag) if tag else re.sub(r"(?<=[a-z])(?=[A-Z])", "_", struct.__name__).lower()


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation, False
    rest = tuple(each for each in get_args(annotation) if each is not type(None))
    return Union[rest], len(rest) < len(get_args(annotation))  # noqa: UP007 - made at run time


def _element(annotation: Any) -> tuple[bool, Any]:
    if get_origin(annotation) is not tuple:
        return False, annotation
    element, ellipsis = get_args(annotation)
    if ellipsis is not Ellipsis:
        raise TypeError(f"{annotation}: no message holds tuples of several types")
    return True, element


def _is_struct(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)
