"""Commands: what may happen to a run. The rows T1 to T21 are named in `docs/state-machine.md`."""

from __future__ import annotations

import msgspec

from aiki.clock import Instant
from aiki.model.run import StopCause


class Due(msgspec.Struct, frozen=True):
    """T2: the start's delay is over."""


class Admit(msgspec.Struct, frozen=True):
    """T20: the runs before it with the same ordering key have ended."""


class Untangle(msgspec.Struct, frozen=True):
    """T21: its turn never comes, since whoever stands before it waits for it."""


class Claim(msgspec.Struct, frozen=True):
    """T3: a worker takes the run."""

    worker: str
    claim_id: str
    fingerprint: str | None = None


class Record(msgspec.Struct, frozen=True):
    """The claim holder recorded entries: progress."""

    epoch: int
    stop_delivered: bool = False
    grace_ms: int = 0


class Park(msgspec.Struct, frozen=True):
    """T5: the run waits; `ready` if something it waits for is already there."""

    epoch: int
    due_at: Instant | None
    ready: bool
    command_id: str | None = None


class Complete(msgspec.Struct, frozen=True):
    """T5: the workflow returned."""

    epoch: int
    command_id: str | None = None


class Fail(msgspec.Struct, frozen=True):
    """T5: the workflow raised."""

    epoch: int
    command_id: str | None = None


class RetryRun(msgspec.Struct, frozen=True):
    """T5: the workflow raised, and is to be tried again from its beginning."""

    epoch: int
    due_at: Instant
    command_id: str | None = None


class Release(msgspec.Struct, frozen=True):
    """T7: the worker gives the run back untouched."""

    epoch: int
    command_id: str | None = None


class Diverge(msgspec.Struct, frozen=True):
    """T18: code and records part."""

    epoch: int
    command_id: str | None = None


class Recover(msgspec.Struct, frozen=True):
    """T6: the worker is silent or dead."""


class Wake(msgspec.Struct, frozen=True):
    """T8 to T12: something that the run waits for is there."""

    reason: str


class Pause(msgspec.Struct, frozen=True):
    """T13."""


class Resume(msgspec.Struct, frozen=True):
    """T14; `in_turn` where the run has an ordering key: before its first claim it lines up."""

    in_turn: bool = False


class RequestStop(msgspec.Struct, frozen=True):
    """T15, T17: cancel on request, or because the run's time is over."""

    cause: StopCause
    grace_ms: int = 0


class Terminate(msgspec.Struct, frozen=True):
    """T15: end it now."""


class EndGrace(msgspec.Struct, frozen=True):
    """T15, T17: the time for clean-up is over."""


class Stall(msgspec.Struct, frozen=True):
    """T16: nobody took it for too long."""


class Redeliver(msgspec.Struct, frozen=True):
    """T16: offer it again."""


class Reconsider(msgspec.Struct, frozen=True):
    """T19: new code or an operator's decision may resolve the divergence."""

    reason: str


Command = (
    Due
    | Admit
    | Untangle
    | Claim
    | Record
    | Park
    | Complete
    | Fail
    | RetryRun
    | Release
    | Diverge
    | Recover
    | Wake
    | Pause
    | Resume
    | RequestStop
    | Terminate
    | EndGrace
    | Stall
    | Redeliver
    | Reconsider
)
