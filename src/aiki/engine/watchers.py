"""Watchers: calls that wait until something happens; held in memory, never the only way to know.

Whoever waits has looked at the database after it began to wait, so that nothing falls in between;
whatever another process commits is found by `refresh`.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Container, Iterable
from typing import Any, NamedTuple

from aiki.clock import SYSTEM
from aiki.engine.batch import Batch
from aiki.engine.committer import Ask, Committed, Reply, is_empty
from aiki.engine.views import view_of
from aiki.errors import Closed
from aiki.model.audit import Principal
from aiki.model.run import TERMINAL, Run, RunResult
from aiki.operations.runs import GetRun
from aiki.operations.work import ClaimRuns, Claims

LONGEST_WAIT_MS = 60_000
_FRESH_SECONDS = 1.0


class Watch:
    """One call that waits for a run; answered once."""

    __slots__ = ("_reply", "alarm", "answered", "operation", "principal")

    def __init__(self, operation: GetRun, principal: Principal, reply: Reply) -> None:
        self.operation = operation
        self.principal = principal
        self.answered = False
        self.alarm: asyncio.TimerHandle | None = None
        self._reply = reply

    def answer(self, result: RunResult | None, error: BaseException | None = None) -> None:
        """Answer the call, unless that was done."""
        if not self.answered:
            self.answered = True
            if self.alarm is not None:
                self.alarm.cancel()
            self._reply(result, error)


class RunWatchers:
    """Calls that wait for a run's next transition, or for its end."""

    def __init__(self, look: Callable[[Watch, bool], None]) -> None:
        self._look = look
        """Read the run and answer if it is what the call waits for, or if the time is over."""
        self._waiting: defaultdict[str, set[Watch]] = defaultdict(set)
        self._unfinished: OrderedDict[str, tuple[str, float]] = OrderedDict()
        """Runs that a batch has just left unfinished: their namespaces and the loop's time then, in
        its order. Empty after news of others: they may have ended some."""
        self._refreshed = 0.0
        """When that came last; of batches that had begun before, nothing is known either."""

    def __len__(self) -> int:
        return len(self._waiting)

    def has_to_wait(self, operation: GetRun, principal: Principal) -> bool:
        """Whether the run has just been seen unfinished, so that nobody has to look.

        It is as if the call had begun to wait then.
        """
        if operation.after_revision is not None:
            return False
        self._forget_old()
        return self._unfinished.get(operation.id, ("",))[0] == principal.namespace

    def add(self, watch: Watch) -> None:
        """From now on the call is answered by what batches change."""
        self._waiting[watch.operation.id].add(watch)
        wait_ms = min(watch.operation.wait_ms, LONGEST_WAIT_MS)
        loop = asyncio.get_running_loop()
        watch.alarm = loop.call_later(wait_ms / 1000, self._look, watch, True)

    def settle(self, watch: Watch, result: RunResult, *, late: bool) -> None:
        """The run was read for this call."""
        if late or satisfies(result, watch.operation):
            self.drop(watch)
            watch.answer(result)

    def drop(self, watch: Watch) -> None:
        """The call waits no longer."""
        waiting = self._waiting.get(watch.operation.id)
        if waiting is not None:
            waiting.discard(watch)
            if not waiting:
                del self._waiting[watch.operation.id]

    def tell(self, batch: Batch, began: float) -> None:
        """Answer those whose run a batch has changed to what they wait for."""
        self._remember(batch, began)
        if not self._waiting:
            return
        for run_id in batch.changed & self._waiting.keys():
            run = batch.runs[run_id]
            result = _result(run, batch)
            for watch in list(self._waiting[run_id]):
                if run.namespace == watch.principal.namespace:
                    self.settle(watch, result, late=False)

    def _remember(self, batch: Batch, began: float) -> None:
        self._forget_old()
        is_known = began > self._refreshed
        now = asyncio.get_running_loop().time()
        for run_id in batch.changed:
            run = batch.runs[run_id]
            self._unfinished.pop(run_id, None)
            if is_known and run.state.status not in TERMINAL:
                self._unfinished[run_id] = run.namespace, now

    def _forget_old(self) -> None:
        before = asyncio.get_running_loop().time() - _FRESH_SECONDS
        while self._unfinished and next(iter(self._unfinished.values()))[1] <= before:
            self._unfinished.popitem(last=False)

    def close(self) -> None:
        """Nobody will be answered any more."""
        for waiting in list(self._waiting.values()):
            for watch in list(waiting):
                self.drop(watch)
                watch.answer(None, Closed("the engine was stopped"))

    def refresh(self) -> None:
        """Let everybody look again: another process has committed."""
        self._unfinished.clear()
        self._refreshed = asyncio.get_running_loop().time()
        for waiting in self._waiting.values():
            for watch in waiting:
                self._look(watch, False)


def satisfies(result: RunResult, operation: GetRun) -> bool:
    """Whether the run is what the call waits for."""
    if operation.after_revision is None:
        return result.ended
    return result.run.revision > operation.after_revision or result.ended


def _result(run: Run, batch: Batch) -> RunResult:
    view = view_of(run, batch.waits.get(run.id, ()))
    if run.state.status not in TERMINAL:
        return RunResult(run=view)
    result = batch.results[run.id]
    if isinstance(result, bytes):
        return RunResult(run=view, output=result)
    return RunResult(run=view, failure=result)


class _Wait(NamedTuple):
    """Of a claim: the loop's time at which it ends, and what ends it then.

    That says no time where it is due at once: uvloop gives a plain handle then.
    """

    until: float
    timer: asyncio.Handle


class ClaimWatchers:
    """Claims that found nothing and may wait."""

    def __init__(self, submit: Callable[[Ask], None]) -> None:
        self._submit = submit
        self._waiting: dict[Ask, _Wait] = {}
        self._fruitless: set[str] = set()
        """Workers whose last claim took all that there was: the next one will find nothing."""
        self._looking: dict[Ask, float] = {}
        """Those that look again, with the loop's times at which they give up."""
        self._held: Counter[Ask] = Counter()
        """Those that a transaction may be granting something now."""
        self._deferred: set[Ask] = set()
        """Those of them that are to look again when it is over."""

    def __len__(self) -> int:
        return len(self._waiting)

    def matching(self, batch: Batch) -> list[Ask]:
        """Those that a batch's newly ready runs may satisfy: served in the same transaction."""
        if not batch.readied or not self._waiting:
            return []
        return [ask for ask in self._waiting if _serves(ask, batch)]

    def settle(self, committed: Committed) -> None:
        """Keep waiting what found nothing; forget what is answered."""
        for ask, (answer, error) in list(committed.answers.items()):
            if not isinstance(ask.operation, ClaimRuns):
                continue
            self._learn(ask.operation, answer)
            if error is None and is_empty(answer) and self._may_wait(ask):
                del committed.answers[ask]
                continue
            self._looking.pop(ask, None)
            wait = self._waiting.pop(ask, None)
            if wait is not None:
                wait.timer.cancel()

    def _learn(self, claim: ClaimRuns, answer: Any) -> None:
        if isinstance(answer, Claims) and len(answer.runs) < claim.limit:
            self._fruitless.add(claim.incarnation)
        else:
            self._fruitless.discard(claim.incarnation)

    def is_fruitless(self, claim: ClaimRuns) -> bool:
        """Whether a claim that may wait will hardly find anything."""
        return claim.wait_ms > 0 and claim.incarnation in self._fruitless

    def park(self, ask: Ask) -> None:
        """Let it wait without having asked."""
        self._may_wait(ask)

    def _may_wait(self, ask: Ask) -> bool:
        assert isinstance(ask.operation, ClaimRuns)
        if ask in self._waiting:
            return True
        loop = asyncio.get_running_loop()
        wait_ms = min(ask.operation.wait_ms, LONGEST_WAIT_MS)
        until = self._looking.pop(ask, loop.time() + wait_ms / 1000)
        if until <= loop.time():
            return False
        self._wait(ask, until)
        return True

    def _wait(self, ask: Ask, until: float) -> None:
        timer = asyncio.get_running_loop().call_at(until, self._give_up, ask)
        self._waiting[ask] = _Wait(until, timer)

    def _give_up(self, ask: Ask) -> None:
        if self._held[ask]:
            self._deferred.add(ask)
        elif self._waiting.pop(ask, None) is not None:
            ask.reply(Claims(), None)

    @property
    def waiting(self) -> list[Ask]:
        """The claims that wait."""
        return list(self._waiting)

    def hold(self, asks: Iterable[Ask]) -> None:
        """A transaction may grant them something: none is answered otherwise until `release`.

        A claim that gave up meanwhile would have runs of which its worker knows nothing.
        """
        self._held.update(asks)

    def release(self, asks: Iterable[Ask]) -> None:
        """That transaction is over; whose time has come looks once more, by its id."""
        for ask in asks:
            self._held[ask] -= 1
            if not self._held[ask]:
                del self._held[ask]
                if ask in self._deferred:
                    self._deferred.discard(ask)
                    self.resubmit(ask)

    def resubmit(self, ask: Ask) -> None:
        """Let a claim look again: there is something for it."""
        if self._held[ask]:
            self._deferred.add(ask)
            return
        wait = self._waiting.pop(ask, None)
        if wait is not None:
            wait.timer.cancel()
            self._looking[ask] = wait.until
            self._submit(ask)

    def close(self) -> None:
        """Nobody will be given anything any more."""
        for ask in list(self._waiting):
            self._waiting.pop(ask).timer.cancel()
            ask.reply(None, Closed("the engine was stopped"))

    def withdraw(self, incarnation: str, namespace: str | None = None) -> None:
        """End the time of the waiting claims of a worker that leaves: it wants nothing any more.

        Where somebody says so, only those of their own namespace.
        """
        self._fruitless.discard(incarnation)
        now = asyncio.get_running_loop().time()
        for ask in list(self._waiting):
            operation = ask.operation
            assert isinstance(operation, ClaimRuns)
            is_theirs = namespace in (None, ask.principal.namespace)
            if operation.incarnation == incarnation and is_theirs:
                self._waiting[ask].timer.cancel()
                self._wait(ask, now)
                if self._held[ask]:
                    self._deferred.add(ask)


def _serves(ask: Ask, batch: Batch) -> bool:
    operation = ask.operation
    assert isinstance(operation, ClaimRuns)
    return any(
        (ask.principal.namespace, offer.workflow, offer.version, shard) in batch.readied
        for offer in operation.offers
        for shard in operation.shards or ("",)
    )


class NewsWatchers:
    """Workers that listen for facts about the runs they execute."""

    def __init__(self) -> None:
        self._cursors: dict[str, int] = {}
        self._waiting: dict[str, asyncio.Event] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def cursor(self, incarnation: str) -> int:
        """Changes whenever there may be news; differs between processes."""
        return self._cursors.setdefault(incarnation, SYSTEM.wall())

    async def wait(self, incarnation: str, cursor: int, wait_ms: int) -> int:
        """The cursor once it differs from the given one, or when the time is over."""
        if self.cursor(incarnation) == cursor and wait_ms > 0:
            event = self._waiting.setdefault(incarnation, asyncio.Event())
            try:
                async with asyncio.timeout(min(wait_ms, LONGEST_WAIT_MS) / 1000):
                    await event.wait()
            except TimeoutError:
                self._waiting.pop(incarnation, None)
        return self.cursor(incarnation)

    def tell(self, batch: Batch) -> None:
        """Wake the workers that a batch concerns."""
        for incarnation in batch.told | batch.lost:
            self._ring(incarnation)

    def refresh(self) -> None:
        """Let everybody look again."""
        for incarnation in list(self._cursors):
            self._ring(incarnation)

    def _ring(self, incarnation: str) -> None:
        self._cursors[incarnation] = self.cursor(incarnation) + 1
        event = self._waiting.pop(incarnation, None)
        if event is not None:
            event.set()

    def keep(self, alive: Container[str]) -> None:
        """Forget all workers but these."""
        for incarnation in list(self._cursors):
            if incarnation not in alive:
                self.forget(incarnation)

    def forget(self, incarnation: str) -> None:
        """The worker has left; whoever still listens in its name looks again."""
        self._cursors.pop(incarnation, None)
        event = self._waiting.pop(incarnation, None)
        if event is not None:
            event.set()


class ChangeWatchers:
    """Calls that follow what happens in a namespace."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[ChangeWatch]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self, namespace: str) -> ChangeWatch:
        """From now on nothing that is committed is missed."""
        watch = ChangeWatch(namespace, self._end)
        self._waiting[namespace].add(watch)
        return watch

    def _end(self, watch: ChangeWatch) -> None:
        waiting = self._waiting.get(watch.namespace, set())
        waiting.discard(watch)
        if not waiting:
            self._waiting.pop(watch.namespace, None)

    def tell(self, batch: Batch) -> None:
        """Wake those whose namespace a batch has changed."""
        if self._waiting:
            for namespace in {batch.runs[run_id].namespace for run_id in batch.changed}:
                for watch in self._waiting.get(namespace, ()):
                    watch.changed.set()

    def refresh(self) -> None:
        """Let everybody look again."""
        for waiting in self._waiting.values():
            for watch in waiting:
                watch.changed.set()


class ChangeWatch:
    """One call that follows a namespace."""

    def __init__(self, namespace: str, end: Callable[[ChangeWatch], None]) -> None:
        self.namespace = namespace
        self.changed = asyncio.Event()
        self._end = end

    async def wait(self, wait_ms: int) -> None:
        """Return when something may have changed since the watch began, or the time is over."""
        try:
            async with asyncio.timeout(min(wait_ms, LONGEST_WAIT_MS) / 1000):
                await self.changed.wait()
        except TimeoutError:
            return

    def end(self) -> None:
        """The call is answered."""
        self._end(self)
