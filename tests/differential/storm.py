"""A storm: actors at two engines do what they like at once, and remember what was promised.

There is no oracle here. What an engine answered must be true in the database afterwards, what it
refused must not be there, and the invariants hold.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from aiki.engine.daemons import recover, stall, wake_due
from aiki.errors import UsageError
from aiki.ids import new_id
from aiki.model.run import RunOptions
from aiki.model.task import Divergence, Entry, Wait
from aiki.operations.base import Operation
from aiki.operations.bulk import CancelRuns, RerunRun, RerunRuns, SendEvents
from aiki.operations.runs import (
    CancelRun,
    ListRuns,
    PauseRun,
    ResumeRun,
    RetryDiverged,
    RunQuery,
    StartRuns,
    TerminateRun,
)
from aiki.operations.work import (
    ClaimedRun,
    Diverged,
    Ending,
    Failed,
    Heartbeat,
    Holding,
    LeaveWorker,
    Memo,
    Parked,
    Released,
)
from tests.engine.support import (
    COMPLETE,
    FAIL,
    FAILURE,
    Ring,
    claim_of,
    event_of,
    registration,
    report_of,
    start_of,
)

Deed = Callable[[], Awaitable[Any]]
_OPTIONS = RunOptions(timeout_ms=3_000, cancel_grace_ms=200)


class Storm:
    """What the actors share: the engines, and what was promised."""

    def __init__(self, rings: list[Ring], seed: int) -> None:
        self.rings = rings
        self.seed = seed
        self.runs: list[str] = []
        self.started: set[str] = set()
        self.sent: set[str] = set()
        self.recorded: set[bytes] = set()
        self.refused: set[bytes] = set()
        self.answered = 0

    async def blow(self, operations: int) -> None:
        """Let all actors do so many operations each."""
        actors: list[Actor] = []
        for number, ring in enumerate(self.rings):
            for kind in (Client, Client, Laborer, Laborer, Laborer, Keeper):
                actors.append(kind(self, ring, f"{number}-{len(actors)}"))
        await asyncio.gather(*(actor.act(operations) for actor in actors))

    async def settle(self) -> None:
        """Bring every run to its end."""
        ring = self.rings[0]
        await ring.pass_time(60_000)
        await recover(ring.engine)
        while True:
            open_runs = RunQuery(status=("scheduled", "queued", "running", "waiting", "paused",
                                         "diverged", "stalled"))  # fmt: skip
            page = await ring.api.call(ListRuns(query=open_runs, limit=100))
            if not page.runs:
                return
            ends = (TerminateRun(id=run.id, command_id=new_id()) for run in page.runs)
            await asyncio.gather(*map(ring.api.call, ends), return_exceptions=True)


class Actor:
    """Does one thing after the other, chosen by its own chance."""

    def __init__(self, storm: Storm, ring: Ring, name: str) -> None:
        self.storm = storm
        self.ring = ring
        self.name = name
        self.chance = random.Random(f"{storm.seed} {name}")

    async def act(self, operations: int) -> None:
        for _ in range(operations):
            await self.chance.choice(self.deeds())()

    def deeds(self) -> Sequence[Deed]:
        raise NotImplementedError

    async def ask(self, operation: Operation[Any], ring: Ring | None = None) -> Any:
        """The answer, or None where the caller asked for what cannot be; trouble is raised."""
        try:
            answer = await (ring or self.ring).api.call(operation)
        except UsageError:
            return None
        self.storm.answered += 1
        return answer

    async def twice(self, operation: Operation[Any]) -> Any:
        """Ask both engines at once, as who waited too long for the first does.

        Whoever comes first may find the run in another state; but what is done is done once.
        """
        answers = await asyncio.gather(
            *(self.ask(operation, ring) for ring in self.storm.rings[: self.chance.choice([1, 2])])
        )
        given = [answer for answer in answers if answer is not None]
        assert all(answer == given[0] for answer in given), answers
        return given[0] if given else None

    def some_run(self) -> str:
        return self.chance.choice(self.storm.runs[-40:] or ["none"])


class Client(Actor):
    """Starts, sends, stops, pauses and repeats."""

    def deeds(self) -> Sequence[Deed]:
        many = [self.send_many, self.cancel_many, self.rerun_many]
        return [self.start] * 5 + [self.send] * 4 + [self.control] * 3 + [
            self.cancel, self.rerun, *many,
        ]  # fmt: skip

    async def start(self) -> None:
        starts = tuple(
            start_of(
                reference_id=self.chance.choice([None, None, "a", "b", "c"]),
                on_conflict="return_existing",
                delay_ms=self.chance.choice([0, 0, 50]),
                options=self.chance.choice([RunOptions(cancel_grace_ms=200), _OPTIONS]),
            )
            for _ in range(self.chance.choice([1, 1, 5]))
        )
        operation = StartRuns(starts=starts, command_id=new_id())
        answers = await self.twice(operation)
        for one in answers or ():
            self.storm.runs.append(one.id)
            self.storm.started.add(one.id)

    async def send(self) -> None:
        name, key = self.chance.choice(["paid", "sent"]), self.chance.choice([None, "k"])
        event = event_of(self.some_run(), name, key=key, value=b"1")
        sent = await self.twice(event)
        if sent is not None:
            self.storm.sent.add(sent)

    async def send_many(self) -> None:
        events = tuple(event_of(self.some_run(), "paid", value=b"1") for _ in range(5))
        sent = await self.twice(SendEvents(events=events, command_id=new_id()))
        self.storm.sent.update(sent.ids)

    async def control(self) -> None:
        kind = self.chance.choice([PauseRun, ResumeRun, ResumeRun, RetryDiverged, TerminateRun])
        await self.ask(kind(id=self.some_run(), command_id=new_id()))

    async def cancel(self) -> None:
        await self.ask(CancelRun(id=self.some_run(), command_id=new_id()))

    async def cancel_many(self) -> None:
        query = RunQuery(status=("queued", "waiting", "running"))
        await self.twice(CancelRuns(command_id=new_id(), query=query, limit=3))

    async def rerun(self) -> None:
        await self.twice(RerunRun(id=self.some_run(), command_id=new_id()))

    async def rerun_many(self) -> None:
        query = RunQuery(status=("failed", "cancelled"))
        done = await self.twice(RerunRuns(command_id=new_id(), query=query, limit=2))
        self.storm.runs.extend(done.done)


class Laborer(Actor):
    """A worker: claims, reports, and sometimes dies or leaves."""

    held: dict[str, ClaimedRun]
    over: list[ClaimedRun]
    """Claims that have ended, of which it goes on to report now and then."""
    last: dict[str, int]

    async def act(self, operations: int) -> None:
        await self.begin()
        await super().act(operations)

    async def begin(self) -> None:
        self.held, self.over, self.last = {}, [], {}
        self.incarnation = f"worker-{new_id()}"
        await self.ask(registration(self.incarnation, lease_ms=2_000))

    def deeds(self) -> Sequence[Deed]:
        return [self.claim] * 6 + [self.report] * 14 + [self.beat] * 2 + [self.leave, self.begin]

    async def claim(self) -> None:
        claims = await self.ask(claim_of(self.incarnation, limit=self.chance.randint(1, 4)))
        for run in claims.runs if claims else ():
            memo = run.memo or Memo()
            if run.memo is not None:
                self.last[run.id] = max((entry.number for entry in memo.entries), default=0)
            self.held[run.id] = run

    async def report(self) -> None:
        if not self.held:
            return
        stale = bool(self.over) and self.chance.random() < 0.2
        run = self.chance.choice(self.over if stale else list(self.held.values()))
        token = new_id().encode()
        entries = [Entry(self.last[run.id] + 1, "task", "x", 0, 0, value=token)]
        if run.inbox and self.chance.random() < 0.7:
            fact = run.inbox[0]
            taken = Entry(self.last[run.id] + 2, fact.kind, "f", 0, 0, fact_id=fact.id)
            entries.append(taken)
            if not stale:
                self.held[run.id] = _without(run, fact.id)
        ending, fields = self.ending(run)
        answer = await self.ask(
            report_of(run, ending, incarnation=self.incarnation, entries=tuple(entries), **fields)
        )
        self.note(run, answer.outcomes[0].verdict, token, len(entries), ended=ending is not None)

    def note(self, run: ClaimedRun, verdict: str, token: bytes, count: int, *, ended: bool) -> None:
        assert verdict in ("recorded", "claim_lost"), verdict
        if verdict == "recorded":
            self.storm.recorded.add(token)
            self.last[run.id] += count
        else:
            self.storm.refused.add(token)
        if run.id in self.held and (ended or verdict == "claim_lost"):
            self.over.append(self.held.pop(run.id))

    def ending(self, run: ClaimedRun) -> tuple[Ending | None, dict[str, Any]]:
        """How the claim ends, if it does, and the child that it starts."""
        child = start_of()
        fields = {"children": (child,), "child_keys": (child.id,)}
        parks: list[Ending] = [
            Parked((Wait("event", "paid"),)),
            Parked((Wait("event", "sent", 1),)),
            Parked((Wait("child", child.id),)),
        ]
        others: list[Ending | None] = [COMPLETE, FAIL, Failed(FAILURE, 10), Released(), None, None]
        diverged = Diverged(Divergence((), ("b#0",), fingerprint="source-1"))
        ending = self.chance.choice([*parks, *parks, *others, diverged])
        return ending, fields if self.chance.random() < 0.3 or ending is parks[2] else {}

    async def beat(self) -> None:
        held = tuple(Holding(run.id, run.epoch) for run in self.held.values())
        answer = await self.ask(Heartbeat(incarnation=self.incarnation, held=held))
        for holding in answer.lost if answer else ():
            self.held.pop(holding.run_id, None)

    async def leave(self) -> None:
        await self.ask(LeaveWorker(incarnation=self.incarnation))
        await self.begin()


class Keeper(Actor):
    """Time, and the daemons of this engine beside those of the others."""

    def deeds(self) -> Sequence[Deed]:
        return [self.wait, self.wake, self.wake, self.recover, self.stall]

    async def wait(self) -> None:
        await self.ring.pass_time(self.chance.choice([50, 200, 200, 1_000]))

    async def wake(self) -> None:
        await wake_due(self.ring.engine)

    async def recover(self) -> None:
        await recover(self.ring.engine)

    async def stall(self) -> None:
        await stall(self.ring.engine)


def _without(run: ClaimedRun, fact_id: str) -> ClaimedRun:
    inbox = tuple(fact for fact in run.inbox if fact.id != fact_id)
    return msgspec.structs.replace(run, inbox=inbox)
