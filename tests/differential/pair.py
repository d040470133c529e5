"""The engine and the oracle side by side: each operation is asked of both, and all is compared."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

import msgspec

from aiki import failpoints
from aiki.errors import AikiError, StoreUnavailable
from aiki.model.audit import Principal
from aiki.model.run import RunView
from aiki.operations.base import Operation
from aiki.operations.bulk import BulkResult, SentEvents
from aiki.operations.catalog import Backlog, Namespace
from aiki.operations.runs import RunPage, Started
from aiki.operations.work import ClaimedRun, Claims, HeartbeatAnswer, Reported
from tests.differential.invariants import OF_WORKERS, broken
from tests.differential.kept import differences, snapshot
from tests.differential.oracle import Oracle
from tests.differential.records import Answer
from tests.differential.stores import FROZEN, look_at
from tests.engine.support import Crash, Ring

PLACES = ("before_transaction", "before_commit", "after_commit_before_reply")
COVERED: Counter[str] = Counter()
"""How often each operation was answered, by name and outcome."""
# The life of this process proves nothing about workers that ask over a network.
_CALLER = Principal(remote=True)

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


class Pair:
    """Engines on one database and an oracle; `draw` chooses what they are asked."""

    def __init__(
        self, path: Path, rng: random.Random, engines: int = 1, *, crashes: bool = True
    ) -> None:
        self.path = path
        self.rng = rng
        self.crashes = crashes
        self.loop = asyncio.new_event_loop()
        self.rings = [self._open() for _ in range(engines)]
        self.look = look_at(path, self.loop)
        self.look.freeze()
        self.oracle = Oracle(FROZEN, self._find_rerun)
        self.claims: list[tuple[str, ClaimedRun]] = []
        self.claim_ids: list[tuple[str, str]] = []
        self.commands: list[Callable[[], None]] = []
        self.sent: list[Callable[[], None]] = []
        self.number = 0

    def _open(self) -> Ring:
        ring = Ring(self.path)
        ring.api = ring.engine.session(_CALLER)
        self.loop.run_until_complete(ring.engine.start())
        return ring

    def close(self) -> None:
        self.look.close()
        for ring in self.rings:
            self.loop.run_until_complete(ring.engine.stop())
        self.loop.close()

    def draw(self, choice: Choice) -> Any:
        return choice(self.rng)

    def _find_rerun(self, run_id: str) -> str:
        """The id of the new run is made by the engine; the oracle does not know it yet."""
        made = [
            id
            for id, options in self.look.rows("SELECT id, options FROM run")
            if id not in self.oracle.runs and msgspec.json.decode(options).get("rerun_of") == run_id
        ]
        assert len(made) == 1, f"run {run_id} was rerun as {made}"
        return str(made[0])

    # Asking both

    def ask(self, operation: Operation[Any], expected: Callable[[], Any]) -> Any:
        """Maybe through a crash, maybe twice, as after a lost reply: both answer alike."""
        place = self.draw(choose.integers(0, len(self.rings) - 1))
        crash = self.draw(choose.sampled_from((None,) * 57 + PLACES))
        if crash is not None and operation.mutates and self.crashes:
            self._crash(place, operation, crash)
            if crash == "after_commit_before_reply":
                self.oracle.answer(expected)
            self.compare()
        answer = self._both(operation, expected, place)
        if self.draw(choose.integers(0, 9)) == 0:
            self._both(operation, expected, -1)
        self.sent.append(lambda: self._both(operation, expected, -1) and None)
        return answer

    def _both(self, operation: Operation[Any], expected: Callable[[], Any], place: int) -> Any:
        got, raw = self._call(operation, expected, place)
        wanted = self.oracle.answer(expected)
        if isinstance(raw, Claims) and isinstance(wanted[1], list):
            got = ("ok", _like(got[1], wanted[1]))
        if not isinstance(raw, int):
            assert got == wanted, f"{operation}\nengine: {got}\noracle: {wanted}"
        COVERED[f"{type(operation).__name__} {got[0]}"] += 1
        if isinstance(raw, Reported):
            COVERED[f"{_ending_of(operation)} {got[1]}"] += 1
        return raw

    def _call(
        self, operation: Operation[Any], expected: Callable[[], Any], place: int
    ) -> tuple[Answer, Any]:
        while True:
            try:
                raw = self.loop.run_until_complete(self.rings[place].api.call(operation))
            except StoreUnavailable:
                # It was obeyed, and the answer is lost: whoever asked asks again.
                COVERED["fault"] += 1
                self.oracle.answer(expected)
            except AikiError as error:
                return (type(error).__name__, None), None
            else:
                return ("ok", _body(raw)), raw

    def _crash(self, place: int, operation: Operation[Any], where: str) -> None:
        """The process dies while it answers; another one opens the database."""
        ring = self.rings[place]

        async def until_dead() -> None:
            died = asyncio.get_running_loop().create_future()

            def die() -> None:
                if not died.done():
                    died.set_result(None)
                raise Crash

            failpoints.armed[where] = die
            call = asyncio.ensure_future(ring.api.call(operation))
            await died
            failpoints.armed.clear()
            call.cancel()
            try:
                await ring.engine.stop()
            except Crash:
                await ring.store.close()

        self.loop.run_until_complete(until_dead())
        self.rings[place] = self._open()
        COVERED[f"crash {where}"] += 1

    def daemon(self, work: Callable[[Any], Coroutine[Any, Any, int]], wanted: Any) -> None:
        """One duty, done by one of the engines."""
        ring = self.draw(choose.sampled_from(self.rings))
        while True:
            try:
                self.loop.run_until_complete(work(ring.engine))
                break
            except StoreUnavailable:
                COVERED["fault"] += 1
        wanted()
        COVERED[work.__name__] += 1

    def compare(self) -> None:
        """Everything that is kept, and the invariants."""
        different = differences(snapshot(self.look), self.oracle.snapshot())
        assert not different, "\n".join(different)
        violated = broken(self.look, OF_WORKERS)
        assert not violated, violated

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
        run = self.oracle.runs.get(claimed.id)
        if run is None:
            return False
        return (run.status, run.epoch, run.holder) == ("running", claimed.epoch, worker)


def _like(got: Any, wanted: list[Any]) -> Any:
    """A repeated claim has no order of its own, and sends every memo."""
    if isinstance(got, list) and [run[0] for run in wanted] != [run[0] for run in got]:
        return sorted(got, key=lambda run: run[0])
    return got


def _body(raw: Any) -> Any:
    """An answer without instants and made ids."""
    match raw:
        case Reported():
            return raw.outcomes[0].verdict
        case HeartbeatAnswer():
            return [(holding.run_id, holding.epoch) for holding in raw.lost]
        case Claims():
            waits = raw.alone_waiting and not raw.runs
            alone = "a run waits that must be executed alone"
            return alone if waits else [_claimed(run) for run in raw.runs]
        case RunView():
            return _stored(raw.status)
        case Started():
            return raw.id
        case Namespace():
            return raw.retention_ms
        case RunPage():
            return [run.id for run in raw.runs], raw.next_cursor
        case BulkResult() | SentEvents():
            return _many(raw)
        case tuple():
            return [_item(item) for item in raw]
        case _:
            return raw


def _many(raw: BulkResult | SentEvents) -> Any:
    refused = [(each.id, each.error) for each in raw.refused]
    if isinstance(raw, SentEvents):
        return list(raw.ids), refused
    return raw.matched, list(raw.done), refused, raw.more


def _item(item: Any) -> Any:
    if isinstance(item, Backlog):
        return item.ready, item.oldest_ms
    return item.id, item.created


def _stored(status: str) -> str:
    return {"sleeping": "waiting", "awaiting_event": "waiting", "awaiting_child": "waiting",
            "awaiting_retry": "waiting"}.get(status, status)  # fmt: skip


def _claimed(run: ClaimedRun) -> Any:
    memo = None if run.memo is None else [entry.number for entry in run.memo.entries]
    inbox = sorted((fact.at, fact.kind, fact.name) for fact in run.inbox)
    return (run.id, run.epoch, run.attempt, memo, inbox, run.stop_cause, run.memo_version)


def _ending_of(operation: Any) -> str:
    return f"report {type(operation.reports[0].ending).__name__}"
