"""Calls as Aiki's own parts send them: operations by name, in MessagePack, many in one message.

A message is an array of `[name, fields]`; its answer is an array of the same length, each
`[result]` or `[null, class of the error, message]`. Fields are maps by name, so that a peer of
another version leaves out what it does not know and fills in defaults for what it is not given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import msgspec

from aiki import errors
from aiki.errors import AikiError, InvalidRequest, ServiceError, UsageError
from aiki.operations import bulk, catalog, runs, work
from aiki.operations.base import OPERATIONS, Operation

MEDIA_TYPE = "application/msgpack"
PATH = "/api/v1/calls"
PROTOCOL_HEADER = "Aiki-Protocol"
VERSION_HEADER = "Aiki-Version"
NAMESPACE_HEADER = "Aiki-Namespace"
CALLS_IN_ONE = 1_000
"""Operations in one message."""

MODULES = (runs, bulk, work, catalog)
"""Those that hold operations: each is registered when its module is imported."""

Answer = tuple[Any, BaseException | None]
_encode = msgspec.msgpack.Encoder().encode
_calls = msgspec.msgpack.Decoder(list[tuple[str, msgspec.Raw]])
_answers = msgspec.msgpack.Decoder(list[list[msgspec.Raw]])
_REFUSAL_PARTS = 3
_text = msgspec.msgpack.Decoder(str)


def answer_type(kind: type[Operation[Any]]) -> Any:
    """The `R` of an `Operation[R]`."""
    for base in getattr(kind, "__orig_bases__", ()):
        arguments = get_args(base)
        if arguments:
            return arguments[0]
    raise TypeError(f"{kind.__name__} does not say what it answers")


_OPERATION_DECODERS: dict[str, msgspec.msgpack.Decoder[Any]] = {
    name: msgspec.msgpack.Decoder(kind) for name, kind in OPERATIONS.items()
}
_ANSWER_DECODERS: dict[type[Operation[Any]], msgspec.msgpack.Decoder[Any]] = {
    kind: msgspec.msgpack.Decoder(answer_type(kind)) for kind in OPERATIONS.values()
}


def encode_calls(operations: Sequence[Operation[Any]]) -> bytes:
    """One message for all of them."""
    return _encode([(type(operation).__name__, operation) for operation in operations])


def decode_calls(message: bytes) -> list[Operation[Any] | InvalidRequest]:
    """The operations of a message; one that cannot be read is its own error.

    Raises `InvalidRequest` for what is no message at all.
    """
    try:
        calls = _calls.decode(message)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"this is no message of calls: {error}") from None
    if len(calls) > CALLS_IN_ONE:
        raise InvalidRequest(f"{len(calls)} calls in one message; at most {CALLS_IN_ONE}")
    return [_operation(name, fields) for name, fields in calls]


def _operation(name: str, fields: msgspec.Raw) -> Operation[Any] | InvalidRequest:
    decoder = _OPERATION_DECODERS.get(name)
    if decoder is None:
        return InvalidRequest(f"this server knows no operation {name!r}; is it older than you?")
    try:
        operation: Operation[Any] = decoder.decode(fields)
    except (msgspec.MsgspecError, UsageError, RecursionError, UnicodeDecodeError) as error:
        return InvalidRequest(f"{name}: {error}")
    return operation


def encode_answers(answers: Sequence[Answer]) -> bytes:
    """One message of answers, in the order of the calls."""
    return _encode([[result] if error is None else _refusal(error) for result, error in answers])


def _refusal(error: BaseException) -> list[Any]:
    # What is a plain `ServiceError` was not foreseen: its text may tell of the server's inside.
    if isinstance(error, AikiError) and type(error) is not ServiceError:
        return [None, type(error).__name__, error.message]
    return [None, ServiceError.__name__, "the server failed on this operation; its log says more"]


def decode_answers(message: bytes, operations: Sequence[Operation[Any]]) -> list[Answer]:
    """The answers to these operations.

    Raises `ServiceError` for a message that is none, or not for these: whoever answered is no
    server of Aiki's, or it was cut off; the call may be repeated.
    """
    try:
        answers = _answers.decode(message)
        if len(answers) != len(operations):
            raise msgspec.ValidationError(f"{len(answers)} answers to {len(operations)} calls")
        return [_answer(raw, type(o)) for raw, o in zip(answers, operations, strict=True)]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ServiceError(f"the answer cannot be read: {error}") from None


def _answer(raw: list[msgspec.Raw], kind: type[Operation[Any]]) -> Answer:
    if len(raw) == 1:
        return _ANSWER_DECODERS[kind].decode(raw[0]), None
    if len(raw) != _REFUSAL_PARTS:
        raise msgspec.ValidationError("an answer is a result, or an error with its message")
    return None, error_named(_text.decode(raw[1]), _text.decode(raw[2]))


def error_named(name: str, message: str) -> AikiError:
    """The error of this class; of an unknown one, by a newer server, a plain `AikiError`."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, AikiError):
        # Those that carry a recorded failure are no answers to operations.
        if kind.__init__ is AikiError.__init__:
            return kind(message)
    return AikiError(f"{name}: {message}")
