"""Shards: which of a workflow's shards a key belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def shard_of_key(key: str, shards: Sequence[str]) -> str:
    """The same shard for the same key, whatever the order of the shards.

    Where a shard is added, keys move to it alone; where one is removed, its keys alone move. Each
    shard is weighed by the SHA-256 of the key, a NUL and its name, both in UTF-8; the greatest
    wins. (Rendezvous hashing: Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit
    Rates", 1998.)
    """
    return max(shards, key=lambda shard: (_weight(key, shard), shard))


def _weight(key: str, shard: str) -> bytes:
    return hashlib.sha256(f"{key}\0{shard}".encode()).digest()
