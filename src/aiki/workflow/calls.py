"""Calls: what a workflow asked for, each known by its address and ordinal."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Literal

from aiki.clock import Instant
from aiki.errors import ChildFailed, TaskFailed, TaskInterrupted, TaskTimedOut
from aiki.model.failure import ChildEnded, Failure, Interrupted, TimedOut
from aiki.model.task import Entry, Key
from aiki.workflow.loop import RunFuture

_STORABLE = re.compile("[^\ud800-\udfff]*", re.DOTALL)
CallKind = Literal["task", "timer", "event", "child", "effect"]


class Call:
    """One request of the workflow, and the future that waits for its answer."""

    __slots__ = (
        "arguments",
        "details",
        "due_at",
        "events",
        "future",
        "key",
        "kind",
        "name",
        "waited",
    )

    def __init__(
        self,
        kind: CallKind,
        key: Key,
        name: str,
        future: RunFuture[Entry],
        *,
        arguments: bytes = b"",
        details: Any = None,
        due_at: Instant | None = None,
        events: tuple[str, ...] = (),
        waited: bool = True,
    ) -> None:
        self.kind = kind
        self.key = key
        self.name = name
        self.future = future
        self.arguments = arguments
        self.details = details
        """What the executor needs: a task's definition, a child's start, an effect's command."""
        self.due_at = due_at
        self.events = events
        """Names of the events that may answer it."""
        self.waited = waited
        """Whether workflow code waits for the answer now; a started child may have to wait."""


def is_storable(text: str) -> bool:
    """Whether a database can keep it: no lone surrogates."""
    return _STORABLE.fullmatch(text) is not None


def address_of(name: str, arguments: bytes, discriminator: str | None = None) -> str:
    """Name and hash of the canonical arguments."""
    data = arguments if discriminator is None else arguments + b"\0" + discriminator.encode()
    return f"{name}:{hashlib.sha256(data).hexdigest()[:32]}"


def error_of(failure: Failure) -> TaskFailed | ChildFailed:
    """The exception that a workflow sees: made here alone, live and on replay."""
    match failure:
        case TimedOut():
            return TaskTimedOut(failure)
        case Interrupted():
            return TaskInterrupted(failure)
        case ChildEnded():
            return ChildFailed(failure)
        case _:
            return TaskFailed(failure)
