"""Completion: the ids that a caller of gRPC left to the server."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from aiki.errors import InvalidRequest
from aiki.ids import derived_id, new_id
from aiki.operations.base import Operation
from aiki.operations.bulk import SendEvents
from aiki.operations.runs import SendEvent, StartRuns

KEY_NAME = "idempotency-key"
_KEY_FORM = re.compile(r"[\x20-\x7e]{1,255}")
_ORIGIN = "00000000-0000-7000-8000-000000000000"
"""Ids that are made from keys are derived from nothing."""
_COMMANDS = ("command_id", "claim_id")
_IN_BRACES = re.compile(r"\{(\w+)\}")


def completed(operation: Operation[Any], namespace: str, key: str | None) -> Operation[Any]:
    """The operation with the ids that are missing; a `key` makes its command id.

    Raises `InvalidRequest` for a key that cannot be one.
    """
    made: dict[str, Any] = {}
    if isinstance(operation, StartRuns):
        made["starts"] = tuple(_with_id(start) for start in operation.starts)
    elif isinstance(operation, SendEvents):
        made["events"] = tuple(_with_id(event) for event in operation.events)
    elif isinstance(operation, SendEvent) and not operation.id:
        made["id"] = new_id()
    for field in _COMMANDS:
        if field in operation.__struct_fields__:
            made |= _command(operation, field, namespace, key)
    return msgspec.structs.replace(operation, **made) if made else operation


def _command(operation: Any, field: str, namespace: str, key: str | None) -> dict[str, str]:
    given: str | None = getattr(operation, field)
    if key is not None:
        if given:
            raise InvalidRequest(f"{field} and the metadata {KEY_NAME} mean the same: give one")
        return {field: id_of_key(operation, namespace, key)}
    return {field: new_id()} if given == "" else {}


def _with_id(item: Any) -> Any:
    return item if item.id else msgspec.structs.replace(item, id=new_id())


def id_of_key(operation: Operation[Any], namespace: str, key: str) -> str:
    """The id that a key stands for, the same as over REST; keys of other calls never meet it."""
    if not _KEY_FORM.fullmatch(key):
        raise InvalidRequest(f"the metadata {KEY_NAME} has 1 to 255 printable characters")
    path = [getattr(operation, field) for field in _IN_BRACES.findall(operation.route)]
    return derived_id(_ORIGIN, namespace, type(operation).__name__, *path, key)
