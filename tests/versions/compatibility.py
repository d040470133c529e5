"""Whether what an older version wrote still says the same: each difference is one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from aiki.errors import AikiError
from aiki.operations.base import OPERATIONS, Operation
from aiki.wire.calls import answer_type, decode_answers, decode_calls
from aiki.wire.proto.convert import parse, parse_answer
from tests.versions.golden import FACES, Golden, Sample, plain
from tests.versions.samples import samples_of

_WAY_OUT = (
    "older peers are in use: give a new field a default, keep an old one, and leave names and "
    "types alone; what cannot stay compatible needs a new PROTOCOL"
)


def problems(golden: Golden) -> Iterator[str]:
    """What this version does not read as it was meant."""
    kind = OPERATIONS.get(golden.operation)
    if kind is None:
        yield f"operation {golden.operation} is gone: {_WAY_OUT}"
        return
    for sample in golden.asked:
        yield from _differences(kind.__name__, sample, _readers_of_call(kind))
    for sample in golden.answered:
        yield from _differences(f"answer of {kind.__name__}", sample, _readers_of_answer(kind))


Reader = Callable[[Sample], Any]


def unpack_call(sample: Sample) -> Operation[Any]:
    """The operation in a message."""
    (operation,) = decode_calls(sample.msgpack)
    if isinstance(operation, AikiError):
        raise operation
    return operation


def unpack_answer(kind: type[Operation[Any]], sample: Sample) -> Any:
    """The answer in a message; which operation was asked is all that it needs."""
    ((answer, error),) = decode_answers(sample.msgpack, samples_of(kind)[:1])
    if error is not None:
        raise error
    return answer


def _readers_of_call(kind: type[Operation[Any]]) -> dict[str, Reader]:
    return {
        "MessagePack": unpack_call,
        "Protocol Buffers": lambda sample: parse(kind, sample.protobuf),
        "JSON": lambda sample: read_face(kind, sample.json),
    }


def _readers_of_answer(kind: type[Operation[Any]]) -> dict[str, Reader]:
    return {
        "MessagePack": lambda sample: unpack_answer(kind, sample),
        "Protocol Buffers": lambda sample: parse_answer(kind, sample.protobuf),
        "JSON": lambda sample: read_face(answer_type(kind), sample.json),
    }


def read_face(kind: Any, text: str) -> Any:
    """A value of the type from its face in JSON."""
    face = FACES.of(kind)
    shown = msgspec.json.decode(text, type=face.type)
    return shown if face.read is None else face.read(shown)


def _differences(what: str, sample: Sample, readers: dict[str, Reader]) -> Iterator[str]:
    for form, read in readers.items():
        try:
            value = plain(read(sample))
        except (AikiError, msgspec.MsgspecError) as error:
            yield f"{what} in {form} cannot be read any more ({error}): {_WAY_OUT}"
            continue
        yield from lost(what, form, sample.value, value)


def lost(what: str, form: str, then: Any, now: Any) -> Iterator[str]:
    """What was said then and is not said now; what is said besides does no harm."""
    if isinstance(then, dict) and isinstance(now, dict):
        for name, value in then.items():
            if name not in now and value is not None:
                yield f"{what}.{name} in {form} is read no more: {_WAY_OUT}"
            elif name in now:
                yield from lost(f"{what}.{name}", form, value, now[name])
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for number, (before, after) in enumerate(zip(then, now, strict=True)):
            yield from lost(f"{what}[{number}]", form, before, after)
    elif then != now:
        yield f"{what} in {form} was {then!r} and is read as {now!r}: {_WAY_OUT}"
