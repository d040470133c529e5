"""Ids: made by the caller, ordered by time, and saying where a run lives.

Every id is the canonical text of a UUIDv7 (RFC 9562 section 5.7). The first eight bits after the
variant hold the store's shard, so that a run's id alone tells which database keeps it. The id of a
child is derived from its parent and its call, so that asking twice starts one child.
"""

from __future__ import annotations

import hashlib

from uuid_utils import uuid7

_SHARD_SHIFT = 54
_SHARD_MASK = 0xFF << _SHARD_SHIFT
_TIME_MASK = ((1 << 48) - 1) << 80
_VERSION_MASK = (0xF << 76) | (0x3 << 62)
_UUID8 = (0x8 << 76) | (0x2 << 62)


def _text(value: int) -> str:
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def new_id(shard: int = 0) -> str:
    """A fresh id, greater than every id that this process made before in another millisecond."""
    return _text((uuid7().int & ~_SHARD_MASK) | (shard << _SHARD_SHIFT))


def derived_id(origin: str, *parts: str) -> str:
    """The id that `parts` name below `origin`: always the same, in the same shard, UUIDv8."""
    base = int(origin.replace("-", ""), 16)
    digest = hashlib.sha256("\x1f".join((origin, *parts)).encode()).digest()
    value = int.from_bytes(digest[:16], "big") & ~(_TIME_MASK | _VERSION_MASK | _SHARD_MASK)
    return _text(value | (base & _TIME_MASK) | (base & _SHARD_MASK) | _UUID8)


def shard_of(id: str) -> int:
    """The number of the store that keeps this run, 0 to 255."""
    return (int(id.replace("-", ""), 16) & _SHARD_MASK) >> _SHARD_SHIFT
