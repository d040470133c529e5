"""Completion: the ids that a caller of gRPC left to the server."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from aiki.errors import InvalidRequest
from aiki.ids import new_id
from aiki.model.limits import NAME_LENGTH
from aiki.operations.base import Operation
from aiki.operations.bulk import SendEvents
from aiki.operations.runs import SendEvent, StartRuns
from aiki.operations.work import ClaimRuns

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
    elif isinstance(operation, ClaimRuns) and not operation.claim_id:
        made["claim_id"] = new_id()
    if "command_id" in operation.__struct_fields__:
        made |= _command_id(operation, namespace, key)
    return msgspec.structs.replace(operation, **made) if made else operation


def _command_id(operation: Any, namespace: str, key: str | None) -> dict[str, str]:
    if operation.command_id:
        return {}
    if key is not None:
        return {"command_id": command_id_of(operation, namespace, key)}
    return {} if operation.command_id is None else {"command_id": new_id()}


def _with_id(item: Any) -> Any:
    return item if item.id else msgspec.structs.replace(item, id=new_id())


def command_id_of(operation: Operation[Any], namespace: str, key: str) -> str:
    """The command id that a key stands for: the same for the same call in the same namespace."""
    if not 0 < len(key) <= NAME_LENGTH:
        raise InvalidRequest(f"an idempotency key has 1 to {NAME_LENGTH} characters")
    name = type(operation).__name__
    ids = [getattr(operation, field) for field in _IN_BRACES.findall(operation.route)]
    digest = hashlib.sha256("\x1f".join((namespace, name, *ids, key)).encode())
    return digest.hexdigest()
