"""Workers, and the workflows that they offer."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from aiki.clock import Instant


class WorkflowSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A workflow version as a worker offers it."""

    name: str
    version: str
    fingerprint: str = ""
    """Hash of the source; another one takes up diverged runs again."""
    input_schema: dict[str, Any] = {}
    output_schema: dict[str, Any] = {}
    events: tuple[str, ...] = ()
    options: dict[str, Any] = {}
    canonical_form: int = 1


class WorkflowVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow version as the server knows it."""

    namespace: str
    spec: WorkflowSpec
    first_seen_at: Instant
    last_seen_at: Instant


class WorkerView(msgspec.Struct, frozen=True, kw_only=True):
    """A worker process: known by its incarnation, never by its name."""

    incarnation: str
    name: str
    namespace: str
    status: Literal["alive", "stopped", "lost"]
    lease_ms: int
    lease_until: Instant
    registered_at: Instant
    seen_at: Instant
    running: int = 0
    stuck: tuple[str, ...] = ()


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """Something that could not be delivered, kept with the reason."""

    id: str
    namespace: str
    run_id: str | None
    reason: str
    at: Instant
    detail: str = ""
