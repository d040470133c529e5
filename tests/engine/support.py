"""An engine on the test's own loop, with time moved by hand, and operations with short names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from aiki.engine.engine import Engine, EngineSettings
from aiki.errors import AikiError, StoreUnavailable
from aiki.ids import new_id
from aiki.model.audit import Principal
from aiki.model.failure import Raised
from aiki.model.run import RunOptions, RunResult
from aiki.model.task import Entry, Fact, TaskAttempt, Wait
from aiki.model.worker import WorkflowSpec
from aiki.operations.base import Operation
from aiki.operations.runs import (
    CancelRun,
    GetHistory,
    GetRun,
    History,
    SendEvent,
    StartRun,
    StartRuns,
)
from aiki.operations.work import (
    ClaimedRun,
    ClaimRuns,
    Claims,
    Completed,
    Ending,
    EventSend,
    Failed,
    Offer,
    Parked,
    RegisterWorker,
    Released,
    Report,
    ReportOutcome,
    RunReport,
)
from aiki.store.protocol import Transaction, Work
from aiki.store.sqlite.store import SqliteStore
from tests.support.databases import FAULTS, rows_at, store_at
from tests.support.faults import FaultyStore

R = TypeVar("R")
WORKFLOW, VERSION = "orders", "1.0"
OFFERS = (Offer(WORKFLOW, VERSION, "source-1"),)
LEASE_MS = 5_000
RECORDED = ReportOutcome()
FAILURE = Raised("ValueError", "no")


class Crash(BaseException):
    """The process dies here."""


class Ring:
    """An engine with its store, and one principal's way into it."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.path = path
        self.store = store_at(path)
        self.engine = Engine(self.store, EngineSettings(daemons=False, **settings))
        self.api = self.engine.session(Principal())

    async def call(self, operation: Operation[R]) -> R:
        """Repeated while the database does not answer, as every client does."""
        while True:
            try:
                return await self.api.call(operation)
            except StoreUnavailable:
                if not FAULTS:
                    raise

    async def refused(self, operation: Operation[Any]) -> AikiError:
        """The error that this operation gets."""
        try:
            answer = await self.call(operation)
        except AikiError as error:
            return error
        raise AssertionError(f"{operation} was answered: {answer}")

    async def together(self, *operations: Operation[Any]) -> list[Any]:
        """All of them in one batch: answers or errors, in their order."""
        batches = self.batches
        if isinstance(self.store, FaultyStore):
            self.store.pause(len(operations))
        answers = await asyncio.gather(*map(self.api.call, operations), return_exceptions=True)
        assert self.batches == batches + 1
        return answers

    @property
    def batches(self) -> int:
        """Transactions that operations shared, on both lanes."""
        return self.engine.committer.batches + self.engine.lifeline.batches

    async def pass_time(self, milliseconds: int) -> None:
        await self.store.shift_clock(milliseconds)

    async def now(self) -> int:
        return await self.store.read(lambda tx: tx.now())

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows straight from the database."""
        return rows_at(self.path, sql, *values)

    # Short names

    async def start(self, **fields: Any) -> str:
        start = start_of(**fields)
        return (await self.call(StartRuns(starts=(start,))))[0].id

    async def worker(self, incarnation: str = "worker-1", **fields: Any) -> str:
        await self.call(registration(incarnation, **fields))
        return incarnation

    async def claim(self, incarnation: str = "worker-1", **fields: Any) -> tuple[ClaimedRun, ...]:
        return (await self.call(claim_of(incarnation, **fields))).runs

    async def take(self, incarnation: str = "worker-1", **fields: Any) -> ClaimedRun:
        """The one run that is ready."""
        (run,) = await self.claim(incarnation, **fields)
        return run

    async def running(self, **fields: Any) -> ClaimedRun:
        """A new run, claimed by worker-1."""
        await self.start(**fields)
        await self.worker()
        return await self.take()

    async def report(
        self, run: ClaimedRun, ending: Ending | None = None, **fields: Any
    ) -> ReportOutcome:
        reported = await self.call(report_of(run, ending, **fields))
        return reported.outcomes[0]

    async def parked(self, *waits: Wait, **fields: Any) -> ClaimedRun:
        """A new run that was claimed by worker-1 and waits."""
        run = await self.running(**fields)
        assert await self.report(run, Parked(waits)) == RECORDED
        return run

    async def send(self, run_id: str, name: str = "paid", **fields: Any) -> str:
        return await self.call(event_of(run_id, name, **fields))

    async def cancel(self, run_id: str, command_id: str | None = None) -> str:
        view = await self.call(CancelRun(id=run_id, command_id=command_id or new_id()))
        return view.status

    async def result(self, run_id: str) -> RunResult:
        return await self.call(GetRun(id=run_id))

    async def status(self, run_id: str) -> str:
        return (await self.result(run_id)).run.status

    async def history(self, run_id: str) -> History:
        return await self.call(GetHistory(id=run_id))

    async def reasons(self, run_id: str) -> list[str]:
        return [transition.reason for transition in (await self.history(run_id)).transitions]


async def turns(until: Callable[[], Any]) -> None:
    """Let the loop turn until this is so."""
    async with asyncio.timeout(30):
        while not until():  # noqa: ASYNC110 - what is looked at announces nothing
            await asyncio.sleep(0)


class CountingStore(SqliteStore):
    """Counts the transactions that were asked for."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.transactions = 0

    async def transact(self, work: Work[R]) -> R:
        self.transactions += 1
        return await super().transact(work)


def start_of(**fields: Any) -> StartRun:
    defaults: dict[str, Any] = {
        "id": new_id(), "workflow": WORKFLOW, "version": VERSION, "input": b"{}",
    }  # fmt: skip
    return StartRun(**(defaults | fields))


def registration(incarnation: str = "worker-1", **fields: Any) -> RegisterWorker:
    defaults: dict[str, Any] = {
        "name": "worker", "lease_ms": LEASE_MS,
        "workflows": (WorkflowSpec(WORKFLOW, VERSION, "source-1"),),
    }  # fmt: skip
    return RegisterWorker(incarnation=incarnation, **(defaults | fields))


def claim_of(incarnation: str = "worker-1", **fields: Any) -> ClaimRuns:
    defaults: dict[str, Any] = {"claim_id": new_id(), "offers": OFFERS, "limit": 100}
    return ClaimRuns(incarnation=incarnation, **(defaults | fields))


def run_report(run: ClaimedRun, ending: Ending | None = None, **fields: Any) -> RunReport:
    if ending is not None:
        fields.setdefault("command_id", new_id())
    defaults: dict[str, Any] = {
        "epoch": run.epoch, "attempt": run.attempt, "parent_id": run.parent_id,
    }  # fmt: skip
    return RunReport(run_id=run.id, ending=ending, **(defaults | fields))


def report_of(
    run: ClaimedRun, ending: Ending | None = None, *, incarnation: str = "worker-1", **fields: Any
) -> Report:
    return Report(incarnation=incarnation, reports=(run_report(run, ending, **fields),))


def event_of(run_id: str, name: str = "paid", **fields: Any) -> SendEvent:
    return SendEvent(run_id=run_id, name=name, **({"id": new_id()} | fields))


def entry(number: int, **fields: Any) -> Entry:
    """A recorded result of a task."""
    defaults: dict[str, Any] = {
        "kind": "task", "address": f"charge:{number}", "ordinal": 0, "at": 0, "value": b"1",
    }  # fmt: skip
    return Entry(number=number, **(defaults | fields))


def taking(number: int, fact: Fact) -> Entry:
    """An entry that takes a fact out of the inbox."""
    return entry(number, kind=fact.kind, address=fact.name, fact_id=fact.id, value=fact.value)


def attempt(number: int = 1, **fields: Any) -> TaskAttempt:
    """A task's start."""
    defaults: dict[str, Any] = {
        "address": "charge:1", "ordinal": 0, "name": "charge", "status": "running",
        "started_at": 0, "epoch": 1,
    }  # fmt: skip
    return TaskAttempt(number=number, **(defaults | fields))


def ids_of(claims: Claims | Sequence[ClaimedRun]) -> list[str]:
    runs = claims.runs if isinstance(claims, Claims) else claims
    return [run.id for run in runs]


def child_of(parent: ClaimedRun, key: str = "ship#0", **fields: Any) -> dict[str, Any]:
    """The fields of a report that starts a child."""
    return {"children": (start_of(**fields),), "child_keys": (key,)}


COMPLETE = Completed(b'"done"')
FAIL = Failed(FAILURE)
RELEASE = Released()
FOR_EVENT = Wait("event", "paid")
NO_GRACE = RunOptions(cancel_grace_ms=0)

__all__ = [
    "COMPLETE", "FAIL", "FAILURE", "FOR_EVENT", "LEASE_MS", "NO_GRACE", "OFFERS", "RECORDED",
    "RELEASE", "VERSION", "WORKFLOW", "Callable", "CountingStore", "EventSend", "Ring",
    "Transaction", "attempt", "child_of", "claim_of", "entry", "event_of", "ids_of", "msgspec",
    "registration", "report_of", "run_report", "start_of", "taking",
]  # fmt: skip
