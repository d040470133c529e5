"""One life of a server that sends every operation: for comparing the ways in which it is reached.

The same script runs against two servers that were made alike, by two ways; whatever differs then is
the way's fault. Ids and instants differ by nature, and are replaced by where they came first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec

from aiki.engine.daemons import stall
from aiki.engine.engine import Engine
from aiki.errors import AikiError
from aiki.ids import new_id
from aiki.model.run import RunOptions
from aiki.model.task import Divergence, Entry, TaskAttempt, Wait
from aiki.model.worker import WorkflowSpec
from aiki.operations.base import Operation
from aiki.operations.bulk import CancelRuns, RerunRun, RerunRuns, SendEvents
from aiki.operations.catalog import (
    GetBacklog,
    GetChanges,
    GetNamespace,
    GetServerInfo,
    ListDeadLetters,
    ListWorkers,
    ListWorkflows,
    RedriveDeadLetter,
    SetRetention,
)
from aiki.operations.runs import (
    CancelRun,
    GetHistory,
    GetRun,
    ListRuns,
    PauseRun,
    RedeliverRun,
    ResumeRun,
    RetryDiverged,
    RunQuery,
    SendEvent,
    StartRun,
    StartRuns,
    TerminateRun,
    WaiveEntries,
)
from aiki.operations.work import (
    ClaimedRun,
    ClaimRuns,
    Completed,
    Diverged,
    Heartbeat,
    Holding,
    LeaveWorker,
    Listen,
    LoadMemo,
    Offer,
    Parked,
    RefusedMessage,
    RefuseMessages,
    RegisterWorker,
    Report,
    RunReport,
)

Call = Callable[[Operation[Any]], Awaitable[Any]]
WORKER = "11111111-1111-7111-8111-111111111111"
_OFFERS = (Offer("orders", "1", "source"),)
_DAY_MS = 86_400_000


class Told(NamedTuple):
    """What was asked, and what came of it: an answer, or an error."""

    operation: Operation[Any]
    answer: Any


class Script:
    """Sends every operation, and writes down what it is told."""

    def __init__(self, call: Call, engine: Engine) -> None:
        self._call = call
        self._engine = engine
        self.told: list[Told] = []

    async def run(self) -> list[Told]:
        """The whole life."""
        await self._settings()
        await self._work()
        await self._controls()
        await self._divergences()
        await self._ends()
        return self.told

    async def ask(self, operation: Operation[Any]) -> Any:
        try:
            answer = await self._call(operation)
        except AikiError as error:
            answer = error
        self.told.append(Told(operation, answer))
        return answer

    async def start(self, **fields: Any) -> str:
        run_id = new_id()
        start = StartRun(id=run_id, workflow="orders", version="1", input=b'{"n": [1, null]}')
        await self.ask(StartRuns(starts=(msgspec.structs.replace(start, **fields),)))
        return run_id

    async def claim(self) -> ClaimedRun:
        claim = ClaimRuns(claim_id=new_id(), incarnation=WORKER, offers=_OFFERS, limit=1, wait_ms=1)
        claimed: ClaimedRun = (await self.ask(claim)).runs[0]
        return claimed

    async def report(self, run: ClaimedRun, **fields: Any) -> None:
        one = RunReport(run_id=run.id, epoch=run.epoch, attempt=run.attempt, **fields)
        await self.ask(Report(incarnation=WORKER, reports=(one,)))

    async def _settings(self) -> None:
        await self.ask(GetServerInfo())
        await self.ask(GetNamespace())
        await self.ask(SetRetention(retention_ms=_DAY_MS, command_id=new_id()))
        await self.ask(GetNamespace())
        await self.ask(
            RegisterWorker(
                incarnation=WORKER,
                name="worker",
                lease_ms=30_000,
                workflows=(WorkflowSpec("orders", "1", "source", {"type": "object"}),),
            )
        )
        await self.ask(ListWorkers())
        await self.ask(ListWorkflows())

    async def _work(self) -> None:
        """A run that waits for an event, and ends."""
        options = RunOptions(attributes={"city": "Ulm", "size": 3, "hot": True})
        run_id = await self.start(reference_id="order-1", priority=2, options=options)
        await self.start(reference_id="order-1")
        await self.ask(GetBacklog())
        await self.ask(GetRun(id=run_id))
        await self.ask(GetRun(id=new_id()))
        run = await self.claim()
        await self.report(
            run,
            entries=(_entry(1), _entry(2, value=None, arguments=b"[1,2]")),
            attempts=(TaskAttempt("pay:3", 0, "pay", 1, "running", 5, epoch=1),),
            ending=Parked((Wait("event", "paid"),)),
            command_id=new_id(),
        )
        await self.ask(Listen(incarnation=WORKER))
        await self.ask(SendEvent(id=new_id(), run_id=run_id, name="paid", value=b'{"sum": 1.5}'))
        events = (SendEvent(id=new_id(), run_id=run_id, name="x"), _lost_event())
        await self.ask(SendEvents(events=events))
        run = await self.claim()
        await self.ask(LoadMemo(run_id=run_id, epoch=run.epoch))
        await self.ask(LoadMemo(run_id=run_id, epoch=run.epoch + 1))
        held = (Holding(run_id, run.epoch), Holding(new_id(), 1))
        await self.ask(Heartbeat(incarnation=WORKER, held=held))
        await self.report(run, ending=Completed(b'["\xc3\xa4", null]'), command_id=new_id())
        await self.ask(GetRun(id=run_id, wait_ms=1_000))
        await self.ask(GetHistory(id=run_id))
        await self.ask(RerunRun(id=run_id, command_id=new_id()))
        await self.ask(CancelRun(id=run_id, command_id=new_id()))

    async def _controls(self) -> None:
        run_id = await self.start()
        await self.ask(PauseRun(id=run_id))
        await self.ask(ListRuns(query=RunQuery(status=("paused", "queued"), workflow="orders")))
        await self.ask(ListRuns(order="oldest", limit=1))
        await self.ask(ListRuns(limit=0))
        await self.ask(ResumeRun(id=run_id, command_id=new_id()))
        await self.ask(RedeliverRun(id=run_id))
        await self._engine.store.shift_clock(2 * _DAY_MS)
        assert await stall(self._engine)
        await self.ask(RedeliverRun(id=run_id, command_id=new_id()))
        await self.ask(CancelRun(id=run_id, command_id=new_id(), reason="no\nneed"))
        await self.ask(TerminateRun(id=await self.start(), command_id=new_id(), reason="now"))

    async def _divergences(self) -> None:
        query = RunQuery(status=("queued", "stalled"))
        await self.ask(CancelRuns(command_id=new_id(), query=query, dry_run=True))
        await self.ask(CancelRuns(command_id=new_id(), query=query))
        for answer in (WaiveEntries, RetryDiverged):
            run_id = await self.start()
            run = await self.claim()
            await self.report(run, entries=(_entry(1),))
            divergence = Divergence(("charge:1#0",), ("refund:2#0",), (1,), diff="-a\n+b")
            await self.report(run, ending=Diverged(divergence), command_id=new_id())
            await self.ask(GetHistory(id=run_id))
            await self.ask(answer(id=run_id, command_id=new_id()))
            run = await self.claim()
            await self.report(run, ending=Completed(b"null"), command_id=new_id())
            await self.ask(GetRun(id=run_id))

    async def _ends(self) -> None:
        ended = RunQuery(status=("cancelled",))
        await self.ask(RerunRuns(command_id=new_id(), query=ended, limit=2))
        run_id = await self.start()
        message = RefusedMessage("workflow:orders", "1-0", "it is odd", f"run={run_id}")
        await self.ask(RefuseMessages(incarnation=WORKER, messages=(message, message)))
        letters = await self.ask(ListDeadLetters())
        (letter,) = (each for each in letters if each.reason == "malformed_message")
        await self.ask(RedriveDeadLetter(id=letter.id, command_id=new_id()))
        await self.ask(RedriveDeadLetter(id=new_id()))
        await self.ask(GetChanges())
        await self.ask(GetChanges(cursor=1, limit=500))
        await self.ask(LeaveWorker(incarnation=WORKER))


def _entry(number: int, **fields: Any) -> Entry:
    entry = Entry(number, "task", f"charge:{number}", 0, 0, "charge", b"null", epoch=1)
    return msgspec.structs.replace(entry, **fields)


def _lost_event() -> SendEvent:
    return SendEvent(id=new_id(), run_id=new_id(), name="paid")


# Answers that can be compared

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_AGES = frozenset({"oldest_ms"})
_LONG_AGO = 1_600_000_000_000


class Likeness:
    """Replaces what differs between two lives by what they have in common."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}

    def of(self, value: Any) -> Any:
        """The value with its ids numbered, and its instants told from nothing only."""
        if isinstance(value, str):
            return _UUID.sub(lambda found: self._number(found.group()), value)
        if isinstance(value, dict):
            shown = {self.of(name): self.of(each) for name, each in value.items()}
            if "changes" in shown:
                # What several runs did in one millisecond comes in any order.
                shown["changes"].sort(key=lambda change: (change["run_id"], change["revision"]))
            return shown | {name: "duration" for name in _AGES & shown.keys()}
        if isinstance(value, list | tuple):
            return [self.of(each) for each in value]
        if isinstance(value, int) and value > _LONG_AGO:
            return "instant"
        return value

    def _number(self, id: str) -> str:
        return self._ids.setdefault(id, f"id-{len(self._ids) + 1}")


def plain(value: Any) -> Any:
    """A record as JSON is expected to show it, payloads as values; written without the faces."""
    if isinstance(value, AikiError):
        return {"error": type(value).__name__, "message": value.message}
    if isinstance(value, bytes):
        return json.loads(value)
    if isinstance(value, msgspec.Struct):
        return _plain_struct(value)
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return value


def _plain_struct(value: msgspec.Struct) -> dict[str, Any]:
    config = value.__struct_config__
    shown: dict[str, Any] = {}
    if config.tag is not None:
        shown[config.tag_field or "type"] = config.tag
    for info in msgspec.structs.fields(value):
        each = getattr(value, info.name)
        absent = each is None and "bytes" in str(info.type)
        if not absent and not (config.omit_defaults and _is_default(each, info)):
            shown[info.name] = plain(each)
    return shown


def _is_default(value: Any, info: msgspec.structs.FieldInfo) -> bool:
    """Defaults are left out where they are the very object, or empty and made anew."""
    if info.default_factory is not msgspec.NODEFAULT:
        return bool(value == info.default_factory())
    return value is info.default
