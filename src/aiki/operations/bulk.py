"""Operations on many runs at once: by a list, or by a filter, with a dry run to look first."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from aiki.operations.base import Operation, Role, operation
from aiki.operations.runs import RunQuery, SendEvent, Started


class Refused(msgspec.Struct, frozen=True):
    """One of many that was not done, and why: the error's class and its message."""

    id: str
    error: str
    message: str


class BulkResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the runs that a filter matched."""

    matched: int
    done: tuple[str, ...] = ()
    """Ids of the runs that were asked to stop, or of the new runs; of a dry run, what it would
    be done to."""
    refused: tuple[Refused, ...] = ()
    more: bool = False
    """There are more than one call takes: call again, with a new command id."""


class SentEvents(msgspec.Struct, frozen=True):
    """The ids of the events that were kept, in their order, and those that were refused."""

    ids: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()


@operation
class SendEvents(Operation[SentEvents], frozen=True, kw_only=True):
    """Put many events into inboxes; one that is refused does not touch the others."""

    role: ClassVar[Role] = "client"
    route: ClassVar[str] = "POST /events"
    mutates: ClassVar[bool] = True

    events: tuple[SendEvent, ...]
    command_id: str | None = None
    """Repeated under the same id, whatever the events' ids, it gets the first answer for a day."""


@operation
class CancelRuns(Operation[BulkResult], frozen=True, kw_only=True):
    """Ask every unfinished run that matches to stop, up to `limit` of them, oldest first."""

    role: ClassVar[Role] = "operator"
    route: ClassVar[str] = "POST /runs/cancel"
    mutates: ClassVar[bool] = True

    command_id: str
    """Made by the caller: the same id gets the first answer again, for a day."""
    query: RunQuery
    reason: str = ""
    limit: int = 1_000
    dry_run: bool = False
    """Only tell what would be done."""


@operation
class RerunRun(Operation[Started], frozen=True, kw_only=True):
    """Start a new run with the input and options of one that has ended, linked to it."""

    role: ClassVar[Role] = "operator"
    route: ClassVar[str] = "POST /runs/{id}/rerun"
    mutates: ClassVar[bool] = True

    id: str
    command_id: str
    """Made by the caller: the same id starts the same run."""


@operation
class RerunRuns(Operation[BulkResult], frozen=True, kw_only=True):
    """Start every ended run that matches anew, up to `limit` of them, oldest first."""

    role: ClassVar[Role] = "operator"
    route: ClassVar[str] = "POST /runs/rerun"
    mutates: ClassVar[bool] = True

    command_id: str
    """Made by the caller: the same id gets the first answer again, for a day."""
    query: RunQuery
    limit: int = 1_000
    dry_run: bool = False
    """Only tell what would be done."""
