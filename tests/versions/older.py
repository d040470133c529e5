"""An older peer: a process that does not know what is newest, made by patching before it begins.

It sends none of the newest fields, ignores them where it is sent them, knows none of the newest
operations, and calls itself by an older version. `become_older` comes before anything else is
imported: others take what it changes by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

import aiki
from aiki.errors import InvalidRequest
from aiki.operations.base import OPERATIONS, Operation
from aiki.wire import calls
from aiki.wire.proto import convert

VERSION = "0.0.9"
NEWEST: dict[str, tuple[str, ...]] = {
    "StartRuns": ("command_id",),
    "SendEvent": ("command_id",),
    "PauseRun": ("command_id",),
    "RunQuery": ("created_after", "created_before"),
    "RunOptions": ("rerun_of",),
    "RunView": ("attributes", "rerun_of"),
    "ClaimedRun": ("rested",),
    "Heartbeat": ("as_of", "draining"),
    "ServerInfo": ("protocol",),
}
"""Fields that were added last, by struct."""
NEWER_OPERATIONS = frozenset({"GetChanges", "SendEvents", "CancelRuns", "RerunRuns"})


def older(value: Any) -> Any:
    """The value with defaults in place of what is newest."""
    if isinstance(value, tuple):
        return tuple(map(older, value))
    if not isinstance(value, msgspec.Struct):
        return value
    unknown = NEWEST.get(type(value).__name__, ())
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(value):
        if field.name not in unknown:
            fields[field.name] = older(getattr(value, field.name))
    return type(value)(**fields)


def written(value: Any) -> Any:
    """The value for MessagePack, in which nobody finds a name of what is newest."""
    if isinstance(value, tuple | list):
        return [written(item) for item in value]
    if not isinstance(value, msgspec.Struct):
        return value
    unknown, config = NEWEST.get(type(value).__name__, ()), value.__struct_config__
    told = {config.tag_field: config.tag} if config.tag_field else {}
    return told | {
        name: written(getattr(value, name))
        for name in value.__struct_fields__
        if name not in unknown
    }


def become_older() -> None:
    """From here on this process is of an older version."""
    aiki.__version__ = VERSION
    _patch_messagepack()
    _patch_protocol_buffers()
    for name in NEWER_OPERATIONS:
        # Front ends that are made later have no way to call it.
        del OPERATIONS[name]


def _patch_messagepack() -> None:
    decode_calls, decode_answers = calls.decode_calls, calls.decode_answers
    encode = msgspec.msgpack.encode

    def encode_calls(operations: Sequence[Operation[Any]]) -> bytes:
        return encode([[type(each).__name__, written(each)] for each in operations])

    def decode_older_calls(message: bytes) -> list[Operation[Any] | InvalidRequest]:
        return [_known(each) for each in decode_calls(message)]

    def encode_answers(answers: Sequence[calls.Answer]) -> bytes:
        return encode([
            [written(result)] if error is None else calls._refusal(error)
            for result, error in answers
        ])  # fmt: skip

    def decode_older_answers(
        message: bytes, operations: Sequence[Operation[Any]]
    ) -> list[calls.Answer]:
        answers = decode_answers(message, operations)
        return [(older(result), error) for result, error in answers]

    calls.encode_calls = encode_calls
    calls.decode_calls = decode_older_calls
    calls.encode_answers = encode_answers
    calls.decode_answers = decode_older_answers


def _known(operation: Operation[Any] | InvalidRequest) -> Operation[Any] | InvalidRequest:
    name = type(operation).__name__
    if name in NEWER_OPERATIONS:
        return InvalidRequest(f"this server knows no operation {name!r}; is it older than you?")
    changed: Operation[Any] | InvalidRequest = older(operation)
    return changed


def _patch_protocol_buffers() -> None:
    encode, encode_answer = convert.encode, convert.encode_answer
    parse, parse_answer = convert.parse, convert.parse_answer

    convert.encode = lambda value: encode(older(value))
    convert.encode_answer = lambda kind, answer: encode_answer(kind, older(answer))
    convert.parse = lambda struct, data: older(parse(struct, data))
    convert.parse_answer = lambda kind, data: older(parse_answer(kind, data))
