"""Operations of workers: register, claim, report, listen, heartbeat, leave."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from aiki.clock import Instant
from aiki.model.failure import Failure
from aiki.model.run import RunOptions, StopCause
from aiki.model.task import Decision, Divergence, Entry, Fact, TaskAttempt, Wait
from aiki.model.worker import WorkflowSpec
from aiki.operations.base import Operation, Role, operation
from aiki.operations.runs import StartRun


class Offer(msgspec.Struct, frozen=True):
    """A workflow version that a worker can execute."""

    workflow: str
    version: str
    fingerprint: str = ""


class Hint(msgspec.Struct, frozen=True):
    """A run that a broker announced as ready, and the queue in which it stands."""

    run_id: str
    workflow: str
    version: str
    shard: str = ""


class RefusedMessage(msgspec.Struct, frozen=True):
    """What a worker found at a broker and could not understand."""

    queue: str
    entry: str
    """The broker's id of it, or another text that is the same whenever it is delivered again."""
    reason: str
    content: str = ""
    """Its beginning, as a text for people."""


class ChildRef(msgspec.Struct, frozen=True):
    """A child that an attempt of a run started."""

    id: str
    key: str


class Memo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is recorded of a run's attempt, in the order of its numbers."""

    entries: tuple[Entry, ...] = ()
    attempts: tuple[TaskAttempt, ...] = ()
    children: tuple[ChildRef, ...] = ()
    decisions: tuple[Decision, ...] = ()
    next_number: int | None = None
    """Where the next page begins; None when this is the last."""


class ClaimedRun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run handed to a worker, with all it needs to go on."""

    id: str
    namespace: str
    workflow: str
    version: str
    attempt: int
    epoch: int
    memo_version: int
    """Number of the last entry plus the number of decisions."""
    input: bytes | None
    """None where the worker may still hold the run; `LoadMemo` brings it otherwise."""
    memo: Memo | None = None
    inbox: tuple[Fact, ...] = ()
    started_at: Instant = 0
    reference_id: str | None = None
    parent_id: str | None = None
    shard: str = ""
    options: RunOptions = RunOptions()
    stop_cause: StopCause | None = None
    alone: bool = False
    """To be executed with nothing beside it."""
    rested: bool = False
    """The last claim ended in order, at rest: what the code does before a new entry was done."""


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """The runs granted, and the database's instant."""

    runs: tuple[ClaimedRun, ...] = ()
    now: Instant = 0
    alone_waiting: bool = False
    """A run that must be executed alone waits for a worker that has nothing else."""
    unknown: tuple[str, ...] = ()
    """Runs that the hints named and that do not exist in this queue: the messages were forged."""


class EventSend(msgspec.Struct, frozen=True):
    """An event that a run sends to another run."""

    id: str
    run_id: str
    name: str
    value: bytes
    key: str | None = None


class StopRequest(msgspec.Struct, frozen=True):
    """A request to stop that a run makes of another."""

    id: str
    run_id: str
    reason: str = ""


class Parked(msgspec.Struct, frozen=True, tag="park"):
    """The run waits for these, and for nothing that runs here."""

    waits: tuple[Wait, ...]


class Completed(msgspec.Struct, frozen=True, tag="complete"):
    """The workflow returned."""

    output: bytes


class Failed(msgspec.Struct, frozen=True, tag="fail"):
    """The workflow raised; with `retry_in_ms` it is tried again from its beginning."""

    failure: Failure
    retry_in_ms: int | None = None


class Released(msgspec.Struct, frozen=True, tag="release"):
    """The worker gives the run back."""


class Diverged(msgspec.Struct, frozen=True, tag="diverge"):
    """Records and code part; nothing new was executed."""

    divergence: Divergence


Ending = Parked | Completed | Failed | Released | Diverged


class RunReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What happened in one run since its last report; recorded whole or refused whole."""

    run_id: str
    epoch: int
    attempt: int
    parent_id: str | None = None
    entries: tuple[Entry, ...] = ()
    attempts: tuple[TaskAttempt, ...] = ()
    children: tuple[StartRun, ...] = ()
    child_keys: tuple[str, ...] = ()
    sends: tuple[EventSend, ...] = ()
    stops: tuple[StopRequest, ...] = ()
    ending: Ending | None = None
    command_id: str | None = None
    """Of a report with an ending: repeated, it gets the same answer."""


class ReportOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one run's report."""

    verdict: Literal["recorded", "claim_lost", "early", "refused", "later"] = "recorded"
    """`later`: nothing is known to be wrong with it; it is to be sent again after a pause."""
    detail: str = ""
    """For people; of a refused report: the error's class, a colon, and its message."""


class Reported(msgspec.Struct, frozen=True):
    """The outcomes in the order of the reports, and the database's instant."""

    outcomes: tuple[ReportOutcome, ...]
    now: Instant


class Holding(msgspec.Struct, frozen=True):
    """A run that a worker believes to hold."""

    run_id: str
    epoch: int


class HeartbeatAnswer(msgspec.Struct, frozen=True):
    """The claims that are no longer this worker's, and the database's instant."""

    lost: tuple[Holding, ...]
    now: Instant


class WorkerNews(msgspec.Struct, frozen=True):
    """Facts for the runs that this worker executes, and the claims that the server knows of."""

    facts: tuple[Fact, ...] = ()
    held: tuple[Holding, ...] = ()
    cursor: int = 0
    now: Instant = 0
    announcing: bool | None = None
    """Whether ready runs are announced at a broker now; None: the server does not say."""


@operation
class RegisterWorker(Operation[Instant], frozen=True, kw_only=True):
    """Make a worker and what it offers known; answers the database's instant."""

    role: ClassVar[Role] = "worker"
    route: ClassVar[str] = "POST /workers"
    mutates: ClassVar[bool] = True
    urgent: ClassVar[bool] = True

    incarnation: str
    name: str
    lease_ms: int
    workflows: tuple[WorkflowSpec, ...]
    shards: tuple[str, ...] = ()


@operation
class ClaimRuns(Operation[Claims], frozen=True, kw_only=True):
    """Take up to `limit` ready runs. Waits up to `wait_ms` until there is one.

    Repeated with the same `claim_id`, it answers the same runs.
    """

    role: ClassVar[Role] = "worker"
    route: ClassVar[str] = "POST /workers/{incarnation}/claims"
    mutates: ClassVar[bool] = True
    urgent: ClassVar[bool] = True

    claim_id: str
    incarnation: str
    offers: tuple[Offer, ...]
    limit: int
    shards: tuple[str, ...] = ()
    wait_ms: int = 0
    idle: bool = True
    """The worker executes nothing: it may take a run that must be executed alone."""
    hints: tuple[Hint, ...] = ()
    """What a broker announced. With hints, no more runs are granted of each queue than they name;
    which ones the server decides, by priority and age."""


@operation
class RefuseMessages(Operation[int], frozen=True, kw_only=True):
    """Keep messages that no worker can understand as dead letters. Answers how many are kept."""

    role: ClassVar[Role] = "worker"
    route: ClassVar[str] = "POST /workers/{incarnation}/refused-messages"
    mutates: ClassVar[bool] = True

    incarnation: str
    messages: tuple[RefusedMessage, ...]


@operation
class LoadMemo(Operation[ClaimedRun], frozen=True, kw_only=True):
    """A claimed run with its input and one page of its memo, from entry `from_number` on."""

    role: ClassVar[Role] = "worker"
    route: ClassVar[str] = "GET /runs/{run_id}/memo"

    run_id: str
    epoch: int
    from_number: int = 1


@operation
class Report(Operation[Reported], frozen=True, kw_only=True):
    """Record what happened in claimed runs; one refused report does not touch the others."""

    role: ClassVar[Role] = "worker"
    route: ClassVar[str] = "POST /workers/{incarnation}/reports"
    mutates: ClassVar[bool] = True
    urgent: ClassVar[bool] = True

    incarnation: str
    reports: tuple[RunReport, ...]


@operation
class Heartbeat(Operation[HeartbeatAnswer], frozen=True, kw_only=True):
    """Refresh the leases of all runs of a worker.

    What the server thinks it holds, and it lists neither as held nor as being claimed, is released.
    """

    role: ClassVar[Role] = "worker"
    route: ClassVar[str] = "POST /workers/{incarnation}/heartbeat"
    mutates: ClassVar[bool] = True
    urgent: ClassVar[bool] = True

    incarnation: str
    held: tuple[Holding, ...]
    claiming: tuple[str, ...] = ()
    """Ids of claims whose answers are still on their way."""
    as_of: Instant | None = None
    """The database had reached this instant when the lists were made: what was claimed later is
    not released. None: nothing was claimed since."""
    draining: bool = False
    """The worker takes nothing new: its waiting claims are withdrawn."""
    stuck: tuple[str, ...] = ()
    """Runs whose code blocks the worker, with the place."""


@operation
class Listen(Operation[WorkerNews], frozen=True, kw_only=True):
    """Wait up to `wait_ms` for news about the runs that this worker executes.

    It answers at once when something happened since `cursor`.
    """

    role: ClassVar[Role] = "worker"
    route: ClassVar[str] = "GET /workers/{incarnation}/news"

    incarnation: str
    cursor: int = 0
    wait_ms: int = 0


@operation
class LeaveWorker(Operation[Instant], frozen=True, kw_only=True):
    """Say goodbye: what the worker still holds is released at once."""

    role: ClassVar[Role] = "worker"
    route: ClassVar[str] = "DELETE /workers/{incarnation}"
    mutates: ClassVar[bool] = True
    urgent: ClassVar[bool] = True

    incarnation: str
