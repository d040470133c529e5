"""What differs between recorded calls and those that the code makes now, field by field."""

# Values of every type pass through here; what is unknown about them stays in this module.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false
from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

import msgspec

from aiki.model.task import Divergence, Entry
from aiki.workflow.calls import Call
from aiki.workflow.execution import Execution

_SHOWN = 5
_WIDTH = 200


def with_diff(divergence: Divergence, execution: Execution, fingerprint: str) -> Divergence:
    """The divergence, with the nearest recorded call beside each call that was asked for."""
    left = [entry for entry in execution.undelivered if entry.kind != "cancel"]
    lines: list[str] = []
    for call in execution.held[:_SHOWN]:
        lines += _against(call, _nearest(call, left))
    return msgspec.structs.replace(divergence, diff="\n".join(lines), fingerprint=fingerprint)


def _nearest(call: Call, left: list[Entry]) -> Entry | None:
    """The recorded call of the same name with the most similar arguments."""
    same = [entry for entry in left if _name(entry.address) == _name(call.key.address)]
    text = call.arguments.decode("utf-8", "replace")

    def likeness(entry: Entry) -> float:
        recorded = (entry.arguments or b"").decode("utf-8", "replace")
        return difflib.SequenceMatcher(None, text[:2000], recorded[:2000]).quick_ratio()

    return max(same, key=likeness, default=None)


def _name(address: str) -> str:
    return address.rpartition(":")[0]


def _against(call: Call, entry: Entry | None) -> Iterator[str]:
    if entry is None:
        yield f"+ {call.name or call.kind}: not recorded"
        return
    yield f"~ {call.name or call.kind}, recorded as entry {entry.number}:"
    old, new = _fields(entry.arguments), _fields(call.arguments)
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) != new.get(path):
            yield f"    {path}: {old.get(path, '(absent)')} -> {new.get(path, '(absent)')}"


def _fields(arguments: bytes | None) -> dict[str, str]:
    if not arguments:
        return {}
    return dict(_flatten("", msgspec.json.decode(arguments)))


def _flatten(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flatten(f"{path}.{key}" if path else str(key), item)
    elif isinstance(value, list) and value:
        for place, item in enumerate(value):
            yield from _flatten(f"{path}[{place}]", item)
    else:
        yield path, msgspec.json.encode(value).decode()[:_WIDTH]
