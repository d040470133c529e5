"""The engine against the oracle: random operations, stale claims, lost replies and crashes.

After every step the answers are the same, all that is kept is the same, and the invariants hold.
`AIKI_TEST_EXAMPLES` makes the search longer.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from aiki import failpoints
from aiki.engine.daemons import recover, stall, wake_due
from aiki.errors import AikiError
from aiki.model.run import RunOptions, RunView
from aiki.model.task import Divergence, Entry, TaskAttempt, Wait
from aiki.operations import runs as run_operations
from aiki.operations.base import Operation
from aiki.operations.runs import CancelRun, PauseRun, ResumeRun, StartRuns, TerminateRun
from aiki.operations.work import (
    ClaimedRun,
    Claims,
    Diverged,
    Ending,
    Failed,
    Heartbeat,
    HeartbeatAnswer,
    Holding,
    LeaveWorker,
    Parked,
    Released,
    Reported,
)
from aiki.store.sqlite import run_verbs
from aiki.store.sqlite.store import SqliteStore
from tests.differential import oracle as model
from tests.differential.invariants import broken
from tests.differential.oracle import GRACE_MS, LEASE_MS, Oracle
from tests.engine.support import (
    COMPLETE,
    FAILURE,
    Crash,
    Ring,
    attempt,
    claim_of,
    event_of,
    registration,
    report_of,
    start_of,
)

EXAMPLES = int(os.environ.get("AIKI_TEST_EXAMPLES", "40"))
STEPS = 120
STALL_MS = 24 * 3_600_000
WORKERS = ("worker-1", "worker-2", "worker-3")
PLACES = ("before_transaction", "before_commit", "after_commit_before_reply")
COVERED: Counter[str] = Counter()
"""How often each operation was answered, by name and outcome."""


Choice = Callable[[random.Random], Any]


class choose:  # noqa: N801
    """Even choices by a seed.

    Hypothesis chooses the seeds; left to choose each step it repeats a few, and hardly a run is
    ever parked. Nothing is lost for whoever debugs: the first step that fails ends the example.
    """

    @staticmethod
    def sampled_from(values: Iterable[Any]) -> Choice:
        return lambda rng: rng.choice(list(values))

    @staticmethod
    def integers(least: int, most: int) -> Choice:
        return lambda rng: rng.randint(least, most)

    @staticmethod
    def booleans() -> Choice:
        return lambda rng: rng.random() < 0.5

    @staticmethod
    def subset(values: Iterable[Any]) -> Choice:
        return lambda rng: {value for value in values if rng.random() < 0.6}


class FrozenClock:
    """A wall that stands still: only `shift_clock` moves the database's time."""

    instant = 1_900_000_000_000

    def wall(self) -> int:
        return self.instant

    def monotonic(self) -> float:
        return 0.0


class Pair:
    """The engine and the oracle, asked the same things; `draw` chooses what."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.path = folder / "a.db"
        self.rng = rng
        self.loop = asyncio.new_event_loop()
        self.ring = self._open()
        self.oracle = Oracle(FrozenClock.instant)
        self.connection = sqlite3.connect(self.path)
        self.claims: list[tuple[str, ClaimedRun]] = []
        self.claim_ids: list[tuple[str, str]] = []
        self.sent: list[Callable[[], None]] = []
        self.number = 0

    def _open(self) -> Ring:
        ring = Ring(self.path)
        self.loop.run_until_complete(ring.engine.start())
        return ring

    def close(self) -> None:
        self.connection.close()
        self.loop.run_until_complete(self.ring.engine.stop())
        self.loop.close()

    def draw(self, choice: Choice) -> Any:
        return choice(self.rng)

    # Asking both

    def ask(self, operation: Operation[Any], expected: Callable[[], Any]) -> Any:
        """Maybe through a crash, maybe twice, as after a lost reply: both answer alike."""
        crash = self.draw(choose.sampled_from((None,) * 57 + PLACES))
        if crash is not None:
            self._crash(operation, crash)
            if crash == "after_commit_before_reply":
                self.oracle.answer(expected)
            self.compare()
        answer = self._both(operation, expected)
        if self.draw(choose.integers(0, 9)) == 0:
            self._both(operation, expected)
        self.sent.append(lambda: self._both(operation, expected) and None)
        return answer

    def _both(self, operation: Operation[Any], expected: Callable[[], Any]) -> Any:
        name = type(operation).__name__
        wanted = self.oracle.answer(expected)
        got, raw = self.loop.run_until_complete(self._call(operation))
        repeated_claim = isinstance(raw, Claims) and isinstance(wanted[1], list)
        if repeated_claim:
            got = ("ok", _like(got[1], wanted[1]))
        if not isinstance(raw, int):
            assert got == wanted, f"{operation}\nengine: {got}\noracle: {wanted}"
        COVERED[f"{name} {got[0]}"] += 1
        if isinstance(raw, Reported):
            COVERED[f"{_ending_of(operation)} {got[1]}"] += 1
        return raw

    async def _call(self, operation: Operation[Any]) -> tuple[model.Answer, Any]:
        try:
            raw = await self.ring.api.call(operation)
        except AikiError as error:
            return (type(error).__name__, None), None
        return ("ok", _body(raw)), raw

    def _crash(self, operation: Operation[Any], place: str) -> None:
        """The process dies while it answers; another one opens the file."""

        async def until_dead() -> None:
            died = asyncio.get_running_loop().create_future()

            def die() -> None:
                died.set_result(None)
                raise Crash

            failpoints.armed[place] = die
            call = asyncio.ensure_future(self.ring.api.call(operation))
            await died
            failpoints.armed.clear()
            call.cancel()
            try:
                await self.ring.engine.stop()
            except Crash:
                await self.ring.store.close()

        self.loop.run_until_complete(until_dead())
        self.ring = self._open()
        COVERED[f"crash {place}"] += 1

    def daemon(self, work: Callable[[Any], Coroutine[Any, Any, int]], wanted: Any) -> None:
        self.loop.run_until_complete(work(self.ring.engine))
        wanted()
        COVERED[work.__name__] += 1

    def compare(self) -> None:
        """Everything that is kept, and the invariants."""
        assert _differences(_snapshot(self.connection), self.oracle.snapshot()) == []
        assert broken(self.connection) == {}

    # Choosing

    def fresh(self) -> int:
        self.number += 1
        return self.number

    def id(self) -> str:
        """The same ids in every repetition."""
        return f"00000000-0000-7000-8000-{self.fresh():012}"

    def some_run(self) -> str:
        known = list(self.oracle.runs)
        chosen: str = self.draw(choose.sampled_from(known * 12 + ["unknown"]))
        return chosen

    def some_claim(self) -> tuple[str, ClaimedRun] | None:
        """Mostly one that is held, sometimes a stale one."""
        held = [c for c in self.claims if self._is_held(*c)]
        stale = self.draw(choose.integers(0, 9)) == 0
        choice = self.claims if stale or not held else held
        return self.draw(choose.sampled_from(choice)) if choice else None

    def _is_held(self, worker: str, claimed: ClaimedRun) -> bool:
        run = self.oracle.runs[claimed.id]
        return (run.status, run.epoch, run.holder) == ("running", claimed.epoch, worker)


def _differences(kept: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Where they differ, one line for each thing."""
    found = [f"{run_id}: in one only" for run_id in kept.keys() ^ wanted.keys()]
    for run_id in kept.keys() & wanted.keys():
        if not isinstance(kept[run_id], dict):
            kept[run_id], wanted[run_id] = {"": kept[run_id]}, {"": wanted[run_id]}
        found += [
            f"{run_id} {what}: {value} is not {wanted[run_id][what]}"
            for what, value in kept[run_id].items()
            if value != wanted[run_id][what]
        ]
    return found


def _like(got: Any, wanted: list[Any]) -> Any:
    """A repeated claim has no order of its own, and sends every memo."""
    if isinstance(got, list) and [run[0] for run in wanted] != [run[0] for run in got]:
        return sorted(got, key=lambda run: run[0])
    return got


def _body(raw: Any) -> Any:
    """An answer without instants and made ids."""
    if isinstance(raw, Reported):
        return raw.outcomes[0].verdict
    if isinstance(raw, HeartbeatAnswer):
        return [(holding.run_id, holding.epoch) for holding in raw.lost]
    if isinstance(raw, Claims):
        if raw.alone_waiting and not raw.runs:
            return "a run waits that must be executed alone"
        return [_claimed(run) for run in raw.runs]
    if isinstance(raw, tuple):
        return (raw[0].id, raw[0].created)
    if isinstance(raw, RunView):
        return {"sleeping": "waiting", "awaiting_event": "waiting", "awaiting_child": "waiting",
                "awaiting_retry": "waiting"}.get(raw.status, raw.status)  # fmt: skip
    return raw


def _claimed(run: ClaimedRun) -> Any:
    memo = None if run.memo is None else [entry.number for entry in run.memo.entries]
    inbox = sorted((fact.at, fact.kind, fact.name) for fact in run.inbox)
    return (run.id, run.epoch, run.attempt, memo, inbox, run.stop_cause, run.memo_version)


def _ending_of(operation: Any) -> str:
    return f"report {type(operation.reports[0].ending).__name__}"


def _add_memo(connection: sqlite3.Connection, found: dict[str, Any]) -> None:
    read = connection.execute
    for run_id, *wait in read("SELECT run_id, kind, name, due_at FROM wait"):
        if found[run_id]["waits"] is not None:
            found[run_id]["waits"] = sorted([*found[run_id]["waits"], tuple(wait)], key=str)
    for run_id, *fact in read(
        "SELECT run_id, at, kind, name FROM fact WHERE consumed_by IS NULL ORDER BY at, kind, name"
    ):
        found[run_id]["inbox"].append(tuple(fact))
    for run_id, *numbers in read(
        "SELECT run_id, attempt, number FROM entry ORDER BY attempt, number"
    ):
        found[run_id]["entries"].append(tuple(numbers))


def _snapshot(connection: sqlite3.Connection) -> dict[str, Any]:
    read = connection.execute
    found: dict[str, Any] = {}
    for row in read(
        "SELECT id, status, attempt, epoch, holder, losses, alone_losses, pause_requested,"
        " stop_cause, stop_delivered, retry_pending, due_at, deadline_at, grace_until FROM run"
    ):
        flags = [bool(value) for value in (row[7], row[9], row[10])]
        state = (*row[1:7], flags[0], row[8], flags[1], flags[2], *row[11:])
        parked = row[1] in ("waiting", "paused", *model.ENDED)
        found[row[0]] = {
            "state": state, "history": [], "waits": [] if parked else None, "inbox": [],
            "entries": [], "tasks": {}, "children": {}, "ready": None, "result": None,
        }  # fmt: skip
    for run_id, status, reason in read(
        "SELECT run_id, status, reason FROM transition ORDER BY run_id, revision"
    ):
        found[run_id]["history"].append((status, reason))
    _add_memo(connection, found)
    for run_id, number, name, status in read(
        "SELECT run_id, attempt, name, status FROM task_attempt"
    ):
        found[run_id]["tasks"][number, name] = status
    for parent, number, key, child in read(
        "SELECT parent_id, parent_attempt, key, child_id FROM child"
    ):
        found[parent]["children"][number, key] = child
    for run_id, ready_at, alone in read("SELECT run_id, ready_at, alone FROM outbox"):
        found[run_id]["ready"] = (ready_at, bool(alone))
    for run_id, kind, value in read(
        "SELECT run_id, kind, value FROM run_payload WHERE kind <> 'input'"
    ):
        what = kind if kind == "output" else msgspec.json.decode(value)["kind"]
        found[run_id]["result"] = what
    (found["dead letters"],) = read("SELECT count(*) FROM dead_letter").fetchone()
    return found


# What may happen: each function draws one operation and asks both


def start(pair: Pair) -> None:
    draw = pair.draw
    reference = draw(choose.sampled_from([None, None, None, "a", "b", "A"]))
    existing, delay = draw(choose.booleans()), draw(choose.sampled_from([0, 0, 0, 500]))
    timeout, priority = (
        draw(choose.sampled_from([None, None, None, None, 700])),
        draw(choose.integers(0, 2)),
    )
    known = list(pair.oracle.runs)
    again = bool(known) and draw(choose.integers(0, 9)) == 0
    run_id = draw(choose.sampled_from(known)) if again else pair.id()
    content = draw(choose.sampled_from([b"{}", b"{}", b"[]"])) if again else b"{}"
    operation = start_of(
        id=run_id, input=content, reference_id=reference, delay_ms=delay, priority=priority,
        on_conflict="return_existing" if existing else "error",
        options=RunOptions(timeout_ms=timeout, cancel_grace_ms=GRACE_MS),
    )  # fmt: skip
    pair.ask(
        StartRuns(starts=(operation,)),
        lambda: pair.oracle.start(
            run_id, content, reference=reference, existing=existing, delay=delay, timeout=timeout,
            priority=priority,
        ),
    )  # fmt: skip


def register(pair: Pair, worker: str | None = None) -> None:
    worker = worker or pair.draw(choose.sampled_from(WORKERS))
    pair.ask(registration(worker, lease_ms=LEASE_MS), lambda: pair.oracle.register(worker))


def leave(pair: Pair) -> None:
    worker = pair.draw(choose.sampled_from(WORKERS))
    pair.ask(LeaveWorker(incarnation=worker), lambda: pair.oracle.leave(worker))


def claim(pair: Pair) -> None:
    draw = pair.draw
    repeat = bool(pair.claim_ids) and draw(choose.integers(0, 5)) == 0
    fresh = (draw(choose.sampled_from(WORKERS)), pair.id())
    worker, claim_id = draw(choose.sampled_from(pair.claim_ids)) if repeat else fresh
    limit, idle = draw(choose.integers(1, 3)), draw(choose.integers(0, 3)) > 0
    pair.claim_ids.append((worker, claim_id))
    claims = pair.ask(
        claim_of(worker, claim_id=claim_id, limit=limit, idle=idle),
        lambda: pair.oracle.claim(worker, claim_id, limit, idle=idle),
    )
    if claims is not None:
        pair.claims += [(worker, run) for run in claims.runs]


def heartbeat(pair: Pair) -> None:
    draw = pair.draw
    worker = draw(choose.sampled_from(WORKERS))
    mine = [(run.id, run.epoch) for holder, run in pair.claims if holder == worker]
    held = [holding for holding in dict.fromkeys(mine) if draw(choose.integers(0, 4))]
    claiming = [claim_id for _, claim_id in pair.claim_ids if draw(choose.integers(0, 2)) == 0]
    holdings = tuple(Holding(*holding) for holding in held)
    pair.ask(
        Heartbeat(incarnation=worker, held=holdings, claiming=tuple(claiming)),
        lambda: pair.oracle.heartbeat(worker, held, claiming),
    )


def _wait(pair: Pair, run: model.Run) -> model.WaitRow:
    kind = pair.draw(choose.sampled_from(["event", "event", "timer", "child", "child"]))
    due = pair.oracle.now + pair.draw(choose.sampled_from([0, 300, 900, 900]))
    if kind == "event":
        timed = pair.draw(choose.booleans())
        return kind, pair.draw(choose.sampled_from(["paid", "sent"])), due if timed else None
    if kind == "child" and run.children:
        return kind, pair.draw(choose.sampled_from(sorted(run.children.values()))), None
    return "timer", f"t-{pair.fresh()}", due


def _ending(pair: Pair, run: model.Run) -> tuple[Ending | None, model.Ending | None]:
    kinds = ["park"] * 5 + ["complete", "fail", "retry", "release"] + ["diverge"] * 2 + [""] * 5
    kind = pair.draw(choose.sampled_from(kinds))
    if not kind:
        return None, None
    waits = [_wait(pair, run) for _ in range(pair.draw(choose.integers(1, 3)))]
    rows = list({(wait[0], wait[1]): wait for wait in waits}.values())
    delay = pair.draw(choose.sampled_from([0, 300]))
    endings: dict[str, Ending] = {
        "park": Parked(tuple(Wait(*row) for row in rows)),  # type: ignore[arg-type]
        "complete": COMPLETE,
        "fail": Failed(FAILURE),
        "retry": Failed(FAILURE, delay),
        "release": Released(),
        "diverge": Diverged(Divergence((), ("b#0",), fingerprint="source-1")),
    }
    return endings[kind], model.Ending(kind, pair.id(), rows, delay)


def _entries(pair: Pair, run: model.Run) -> tuple[tuple[Entry, ...], list[model.Entry]]:
    """New entries: results, a timer that may be early, and a fact out of the inbox."""
    draw = pair.draw
    number = max(run.entries.get(run.attempt, [0]), default=0) + 1
    entries: list[Entry] = []
    wanted: list[model.Entry] = []
    if draw(choose.booleans()):
        due = pair.oracle.now + draw(choose.sampled_from([-5, 0, 0, 400]))
        kind = draw(choose.sampled_from(["task", "timer"]))
        timer = due if kind == "timer" else None
        entries.append(Entry(number, kind, f"x:{number}", 0, 0, value=b"1", due_at=timer))
        wanted.append(model.Entry(number, kind, None, timer))
        number += 1
    if run.inbox and draw(choose.booleans()):
        fact = draw(choose.sampled_from(run.inbox))
        (fact_id,) = pair.connection.execute(
            "SELECT id FROM fact WHERE run_id = ? AND consumed_by IS NULL"
            " AND kind = ? AND name = ? AND (?4 IS NULL OR id = ?4)",
            (run.id, fact.kind, fact.name, fact.event_id),
        ).fetchone()
        entries.append(Entry(number, fact.kind, f"x:{number}", 0, 0, fact_id=fact_id))
        wanted.append(model.Entry(number, fact.kind, fact))
    return tuple(entries), wanted


def _tasks(pair: Pair, claimed: ClaimedRun) -> list[tuple[str, str]]:
    statuses = ["running", "running", "completed", "failed"]
    return [
        (f"task-{name}", pair.draw(choose.sampled_from(statuses)))
        for name in range(3)
        if pair.draw(choose.integers(0, 3)) == 0
    ]


def report(pair: Pair) -> None:
    chosen = pair.some_claim()
    if chosen is None:
        return
    worker, claimed = chosen
    run = pair.oracle.runs[claimed.id]
    ending, wanted_ending = _ending(pair, run)
    entries, wanted_entries = _entries(pair, run)
    tasks = _tasks(pair, claimed)
    children = [
        model.Child(pair.id(), f"call-{pair.fresh()}")
        for _ in range(pair.draw(choose.sampled_from([0, 0, 1])))
    ]
    options = RunOptions(cancel_grace_ms=GRACE_MS)
    operation = report_of(
        claimed, ending, incarnation=worker, entries=entries,
        attempts=tuple(_attempt(name, status) for name, status in tasks),
        children=tuple(start_of(id=child.id, options=options) for child in children),
        child_keys=tuple(child.key for child in children),
        command_id=wanted_ending.command_id if wanted_ending else None,
    )  # fmt: skip
    pair.ask(
        operation,
        lambda: pair.oracle.report(
            worker, claimed.id, claimed.epoch, entries=wanted_entries, tasks=tasks,
            children=children, ending=wanted_ending,
        ),
    )  # fmt: skip


def _attempt(name: str, status: Any) -> TaskAttempt:
    return attempt(address=name, name=name, status=status)


def event(pair: Pair) -> None:
    draw = pair.draw
    known = list(pair.oracle.events)
    again = bool(known) and draw(choose.integers(0, 4)) == 0
    event_id = draw(choose.sampled_from(known)) if again else pair.id()
    run_id, name = pair.some_run(), draw(choose.sampled_from(["paid", "sent"]))
    awake = [run.id for run in pair.oracle.runs.values() if run.status in ("waiting", "running")]
    if awake and draw(choose.booleans()):
        run_id = draw(choose.sampled_from(awake))
    key = draw(choose.sampled_from([None, None, "k-1", "K-1"]))
    value = draw(choose.sampled_from([b"1", b"1", b"2"]))
    pair.ask(
        event_of(run_id, name, id=event_id, value=value, key=key),
        lambda: pair.oracle.send(event_id, run_id, name, value, key),
    )


def cancel(pair: Pair) -> None:
    run_id = pair.some_run()
    known = list(pair.oracle.cancels)
    again = bool(known) and pair.draw(choose.integers(0, 5)) == 0
    command_id = pair.draw(choose.sampled_from(known)) if again else pair.id()
    pair.ask(
        CancelRun(id=run_id, command_id=command_id),
        lambda: pair.oracle.cancel(run_id, command_id),
    )


def terminate(pair: Pair) -> None:
    run_id, command_id = pair.some_run(), pair.id()
    pair.ask(
        TerminateRun(id=run_id, command_id=command_id),
        lambda: pair.oracle.terminate(run_id, command_id),
    )


def control(pair: Pair) -> None:
    run_id = pair.some_run()
    oracle = pair.oracle
    kind, wanted = pair.draw(
        choose.sampled_from(
            [
                (PauseRun, oracle.pause),
                (ResumeRun, oracle.resume),
                (ResumeRun, oracle.resume),
                (run_operations.RedeliverRun, oracle.redeliver),
                (run_operations.RetryDiverged, oracle.retry_diverged),
            ]
        )
    )
    fitting = {"redeliver": "stalled", "retry_diverged": "diverged", "resume": "paused"}
    status = fitting.get(wanted.__name__)
    fit = [run.id for run in oracle.runs.values() if run.status == status]
    if any(run.status == "diverged" for run in oracle.runs.values()) and pair.draw(
        choose.booleans()
    ):
        kind, wanted = run_operations.RetryDiverged, oracle.retry_diverged
        fit = [run.id for run in oracle.runs.values() if run.status == "diverged"]
    chosen = pair.draw(choose.sampled_from(fit)) if fit else run_id
    pair.ask(kind(id=chosen), lambda: wanted(chosen))


def tick(pair: Pair) -> None:
    """Time passes, and the daemons look."""
    spans = [0, 1, 100, 250, 250, 500, 500, 900, LEASE_MS, LEASE_MS + 1]
    milliseconds = pair.draw(choose.sampled_from(spans))
    if pair.draw(choose.integers(0, 15)) == 0:
        milliseconds = STALL_MS
    pair.loop.run_until_complete(pair.ring.pass_time(milliseconds))
    pair.oracle.now += milliseconds
    works = pair.draw(choose.subset(["wake", "recover", "stall"]))
    if "wake" in works:
        pair.daemon(wake_due, pair.oracle.wake_due)
    if "recover" in works:
        pair.daemon(recover, pair.oracle.recover)
    if "stall" in works:
        pair.daemon(stall, lambda: pair.oracle.stall(STALL_MS))


def late_repeat(pair: Pair) -> None:
    """An operation of long ago arrives once more."""
    if pair.sent:
        pair.draw(choose.sampled_from(pair.sent))()


ACTIONS = (
    [start] * 4 + [register] * 2 + [claim] * 7 + [report] * 14 + [event] * 7 + [tick] * 4
    + [leave, heartbeat, heartbeat, cancel, cancel, terminate, control, control, late_repeat]
)  # fmt: skip


def _run(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(tempfile.mkdtemp(prefix="aiki-"))
    with monkeypatch.context() as patch:
        patch.setattr(run_verbs, "SYSTEM", FrozenClock())
        patch.setattr(SqliteStore, "SIGNAL_MS", (60_000, 60_000))
        pair = Pair(folder, random.Random(number))
        try:
            for worker in WORKERS:
                register(pair, worker)
                start(pair)
            for _ in range(STEPS):
                pair.draw(choose.sampled_from(ACTIONS))(pair)
                pair.compare()
        finally:
            failpoints.armed.clear()
            pair.close()
            shutil.rmtree(folder)


NUMBERS = st.integers(0, 2**32)
_SETTINGS = settings(
    max_examples=EXAMPLES, deadline=None, print_blob=True, database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[
        HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ],
)  # fmt: skip


@pytest.mark.timeout(60 + 2 * EXAMPLES)
@_SETTINGS
@given(number=NUMBERS)
def test_the_engine_is_the_oracle(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(number, monkeypatch)


MUST_HAPPEN = [
    *(f"{name} ok" for name in (
        "StartRuns", "RegisterWorker", "LeaveWorker", "ClaimRuns", "Report", "Heartbeat",
        "SendEvent", "CancelRun", "TerminateRun", "PauseRun", "ResumeRun", "RedeliverRun",
        "RetryDiverged",
    )),
    *(f"report {name} recorded" for name in (
        "NoneType", "Parked", "Completed", "Failed", "Released", "Diverged",
    )),
    *(f"crash {place}" for place in PLACES),
    "report Parked claim_lost", "report NoneType early", "wake_due", "recover", "stall",
    "StartRuns Conflict", "SendEvent Conflict", "CancelRun InvalidTransition",
    "SendEvent NotFound", "Heartbeat NotFound",
]  # fmt: skip


def test_the_search_meets_every_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    COVERED.clear()
    for number in range(20):
        _run(number, monkeypatch)
    assert [name for name in MUST_HAPPEN if not COVERED[name]] == []
