"""Who did what: one row for each mutating operation of a principal."""

from __future__ import annotations

import msgspec

from aiki.clock import Instant


class Principal(msgspec.Struct, frozen=True):
    """Who asks, in which namespace, and what they may do."""

    namespace: str = "default"
    name: str = "local"
    roles: frozenset[str] = frozenset({"admin"})
    remote: bool = False
    """It asks over a network: this process's life says nothing about its own."""


class AuditRecord(msgspec.Struct, frozen=True):
    """One mutating operation, written in its own transaction."""

    id: str
    at: Instant
    namespace: str
    principal: str
    operation: str
    object_id: str
    detail: str = ""
