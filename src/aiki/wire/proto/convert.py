"""Structs to messages and back, exactly; how is worked out once for each type, at its first use.

What a message cannot say, and what a struct would not accept, is refused by name: `InvalidRequest`
for an operation, `ServiceError` for an answer that cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

import msgspec
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as Proto

from aiki.errors import InvalidRequest, ServiceError, UsageError
from aiki.operations.base import Operation
from aiki.wire.proto.aiki.v1 import aiki_pb2
from aiki.wire.proto.schema import (
    REQUIRED,
    Choice,
    Field,
    Json,
    Message,
    OneOf,
    Record,
    Scalar,
    Wrapped,
    message_name,
    response_message,
    response_name,
    struct_message,
    wrapper_message,
)

S = TypeVar("S", bound=msgspec.Struct)
R = TypeVar("R")
Fill = Callable[[Any, Any], None]
"""Put a value into a message."""
Read = Callable[[Any], Any]
"""Take a value out of a message."""
_UNREADABLE = (
    DecodeError,
    msgspec.MsgspecError,
    UsageError,
    ValueError,
    TypeError,
    RecursionError,
)


def encode(value: msgspec.Struct) -> Proto:
    """The message that stands for this struct, of an operation or a record.

    Raises `InvalidRequest` for what no message can hold, such as an integer beyond 64 bits.
    """
    return _encoded(type(value).__name__, _fill_of(type(value)), value, _class_of(type(value)))


def encode_answer(kind: type[Operation[Any]], answer: Any) -> Proto:
    """The message that answers an operation of this kind."""
    message = response_message(kind)
    if message.struct is not None:
        return encode(answer)
    return _encoded(message.name, _response_fill(kind), answer, _named(message.name))


def _encoded(name: str, fill: Fill, value: Any, make: Callable[[], Proto]) -> Proto:
    message = make()
    try:
        fill(value, message)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise InvalidRequest(f"{name} cannot be sent: {error}") from None
    return message


def decode(struct: type[S], message: Proto) -> S:
    """The struct that the message stands for. Raises `InvalidRequest`, naming the field."""
    try:
        value: S = _reader_of(struct)(message)
    except _UNREADABLE as error:
        raise InvalidRequest(f"{struct.__name__}: {error}") from None
    return value


def parse(struct: type[S], data: bytes) -> S:
    """The struct whose message was serialized. Raises `InvalidRequest`, naming the field."""
    try:
        message = _class_of(struct).FromString(data)
    except DecodeError as error:
        raise InvalidRequest(f"this is no {message_name(struct)}: {error}") from None
    return decode(struct, message)


def parse_answer(kind: type[Operation[R]], data: bytes) -> R:
    """The answer to an operation of this kind, from its serialized message.

    Raises `ServiceError` for what cannot be read: whoever answered is no server of Aiki's.
    """
    try:
        message = _named(response_name(kind)).FromString(data)
        answer: R = _response_reader(kind)(message)
    except _UNREADABLE as error:
        raise ServiceError(f"the answer cannot be read: {error}") from None
    return answer


def _named(name: str) -> type[Proto]:
    made: type[Proto] = getattr(aiki_pb2, name)
    return made


@cache
def _class_of(struct: type[msgspec.Struct]) -> type[Proto]:
    return _named(message_name(struct))


# Into messages


@cache
def _fill_of(struct: type[msgspec.Struct]) -> Fill:
    return _fill(struct_message(struct))


@cache
def _response_fill(kind: type[Operation[Any]]) -> Fill:
    return _putter(response_message(kind).fields[0])


def _fill(message: Message) -> Fill:
    steps = [(field.attribute, _putter(field), _is_told(field)) for field in message.fields]

    def fill(value: Any, into: Any) -> None:
        for attribute, put, told in steps:
            item = getattr(value, attribute)
            if item or (told and item is not None):
                put(item, into)

    return fill


def _is_told(field: Field) -> bool:
    """Whether what is zero or empty is put in too, to be told from what is missing."""
    return field.optional or isinstance(field.kind, Record | OneOf | Wrapped)


def _putter(field: Field) -> Fill:
    name = field.name
    match field.kind:
        case Record(struct):
            return _record_putter(name, struct, many=field.many)
        case Wrapped(union):
            fill = _one_of_putter(wrapper_message(union).fields[0].kind)
            return lambda item, into: fill(item, getattr(into, name))
        case OneOf():
            return _one_of_putter(field.kind)
        case Json():
            return lambda item, into: setattr(into, name, msgspec.json.encode(item))
        case Scalar() | Choice() if field.many:
            return lambda item, into: getattr(into, name).extend(item)
        case Scalar() | Choice():
            return lambda item, into: setattr(into, name, item)


def _record_putter(name: str, struct: type[msgspec.Struct], *, many: bool) -> Fill:
    def put_one(item: Any, into: Any) -> None:
        inner = getattr(into, name)
        inner.SetInParent()
        _fill_of(struct)(item, inner)

    def put_many(items: Any, into: Any) -> None:
        add = getattr(into, name).add
        fill = _fill_of(struct)
        for item in items:
            fill(item, add())

    return put_many if many else put_one


def _one_of_putter(kind: Any) -> Fill:
    assert isinstance(kind, OneOf)
    names = {struct: name for name, struct in kind.members}

    def put(item: msgspec.Struct, into: Any) -> None:
        inner = getattr(into, names[type(item)])
        inner.SetInParent()
        _fill_of(type(item))(item, inner)

    return put


# Out of messages


@cache
def _reader_of(struct: type[msgspec.Struct]) -> Read:
    steps = [(field.attribute, _getter(field)) for field in struct_message(struct).fields]

    def read(message: Any) -> Any:
        return struct(**{attribute: get(message) for attribute, get in steps})

    return read


@cache
def _response_reader(kind: type[Operation[Any]]) -> Read:
    message = response_message(kind)
    return _reader_of(message.struct) if message.struct else _getter(message.fields[0])


def _getter(field: Field) -> Read:
    match field.kind:
        case Record(struct):
            return _record_getter(field, struct)
        case Wrapped(union):
            return _present(field, _one_of_getter(wrapper_message(union).fields[0]))
        case OneOf():
            return _one_of_getter(field)
        case Json(annotation):
            return _json_getter(field, annotation)
        case Scalar() | Choice():
            return _scalar_getter(field)


def _scalar_getter(field: Field) -> Read:
    name, default = field.name, field.default
    get: Read = attrgetter(name)
    if field.many:
        return lambda message: tuple(items) if (items := get(message)) else ()
    if isinstance(field.kind, Choice):
        get = _choice_getter(name, field.kind)
    if not field.optional:
        return get
    if default is None:
        return lambda message: get(message) if message.HasField(name) else None

    def get_or_default(message: Any) -> Any:
        value = get(message) if message.HasField(name) else default
        # The very object: what omits defaults knows them by their identity.
        return default if value == default else value

    return get_or_default


def _choice_getter(name: str, kind: Choice) -> Read:
    values = frozenset(kind.values)

    def get(message: Any) -> Any:
        value = getattr(message, name)
        if value not in values:
            raise ValueError(f"{name} is {value!r}; it is one of {', '.join(kind.values)}")
        return value

    return get


def _record_getter(field: Field, struct: type[msgspec.Struct]) -> Read:
    name = field.name

    def read(inner: Any) -> Any:
        # Looked up late: a struct may hold one of its own kind.
        return _reader_of(struct)(inner)

    def read_many(message: Any) -> Any:
        items = getattr(message, name)
        return tuple([read(inner) for inner in items]) if items else ()

    return read_many if field.many else _present(field, read)


def _present(field: Field, read: Read) -> Read:
    name, default = field.name, field.default

    def get(message: Any) -> Any:
        if message.HasField(name):
            return read(getattr(message, name))
        if default is REQUIRED:
            raise ValueError(f"{name} is missing")
        return default

    return get


def _one_of_getter(field: Field) -> Read:
    assert isinstance(field.kind, OneOf)
    structs = dict(field.kind.members)
    name, default = field.name, field.default

    def get(message: Any) -> Any:
        member = message.WhichOneof(name)
        if member is not None:
            return _reader_of(structs[member])(getattr(message, member))
        if default is REQUIRED:
            raise ValueError(f"{name} is missing, or of a kind that is not known here")
        return default

    return get


def _json_getter(field: Field, annotation: Any) -> Read:
    name = field.name
    decoder = msgspec.json.Decoder(annotation)

    def get(message: Any) -> Any:
        data = getattr(message, name)
        try:
            return decoder.decode(data) if data else {}
        except msgspec.MsgspecError as error:
            raise ValueError(f"{name}: {error}") from None

    return get
