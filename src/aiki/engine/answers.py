"""Kept answers: a command that is repeated under its id gets the first answer, for a day.

The answer is saved in the transaction that does the work, so that there is never one without the
other. Most operations need none: their own ids, or the run's state, show that they were done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from aiki.engine.batch import Batch
from aiki.engine.handler import Handler
from aiki.errors import Conflict
from aiki.model.audit import Principal
from aiki.operations.base import Operation
from aiki.operations.bulk import SendEvents
from aiki.operations.runs import SendEvent, StartRun, StartRuns
from aiki.wire.calls import answer_type

_replace = msgspec.structs.replace


class Kept(msgspec.Struct, frozen=True):
    """An answer, and a digest of what was asked."""

    asked: str
    answer: msgspec.Raw


_decode = msgspec.json.Decoder(Kept).decode
_encode = msgspec.json.Encoder().encode


def once(kind: type[Operation[Any]], handler: Handler) -> Handler:
    """The handler, for an operation with an optional `command_id` that is obeyed once."""
    decoder = msgspec.json.Decoder(answer_type(kind))

    async def prepare(operation: Any, principal: Principal, batch: Batch) -> None:
        if _command(operation) is not None:
            namespace, command_id = principal.namespace, operation.command_id
            known = await batch.tx.load_answer(namespace, command_id)
            if known is not None:
                batch.answers[namespace, command_id] = known
        await handler.prepare(operation, principal, batch)

    def apply(operation: Any, principal: Principal, batch: Batch) -> Any:
        if _command(operation) is None:
            return handler.apply(operation, principal, batch)
        key, asked = (principal.namespace, operation.command_id), _digest(operation)
        known = batch.answers.get(key)
        if known is None:
            answer = handler.apply(operation, principal, batch)
            batch.add_answer(*key, _encode(Kept(asked, msgspec.Raw(_encode(answer)))))
            return answer
        kept = _decode(known)
        if kept.asked != asked:
            raise Conflict(f"command id {key[1]} was used for another request")
        return decoder.decode(kept.answer)

    return Handler(prepare, apply)


def _command(operation: Any) -> str | None:
    """A dry run does nothing, so that nothing of it is kept."""
    command_id: str | None = operation.command_id
    return None if getattr(operation, "dry_run", False) else command_id


def _digest(operation: Operation[Any]) -> str:
    """Of what was asked for. Ids of what it makes do not count: they may be made anew."""
    asked: Any = operation
    match operation:
        case StartRuns():
            asked = _replace(operation, starts=tuple(map(_nameless, operation.starts)))
        case SendEvent():
            asked = _nameless(operation)
        case SendEvents():
            asked = _replace(operation, events=tuple(map(_nameless, operation.events)))
        case _:
            pass
    return hashlib.sha256(_encode(_whole(asked))).hexdigest()[:32]


def _whole(value: Any) -> Any:
    """With every field: encoders leave out what is the very object of a default, equal or not."""
    if isinstance(value, msgspec.Struct):
        return [type(value).__name__, *map(_whole, msgspec.structs.astuple(value))]
    if isinstance(value, tuple | list):
        return [_whole(each) for each in cast("Sequence[Any]", value)]
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return [[key, _whole(fields[key])] for key in sorted(fields)]
    return value


def _nameless(one: StartRun | SendEvent) -> StartRun | SendEvent:
    return _replace(one, id="")
