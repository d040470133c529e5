"""Group commit: operations that arrive while a transaction is in flight form the next one.

Invariant: an operation is answered only after the transaction that holds its effects committed, or
after it is certain that it had none. Operations keep the order in which they came. One that fails
does not touch its neighbours: typed errors are raised before anything is decided, and a batch that
fails as a whole is repeated one by one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, Protocol

import msgspec

from aiki import failpoints
from aiki.engine.batch import Batch
from aiki.engine.claims import check_claim, grant_newborn, serve_claim
from aiki.engine.handlers import HANDLERS
from aiki.engine.ordering import keep_order
from aiki.errors import AikiError, ServerBusy, ServiceError, UsageError
from aiki.model.audit import Principal
from aiki.operations.base import Operation
from aiki.operations.work import ClaimRuns, Claims, Report, Reported, ReportOutcome
from aiki.store.protocol import Store, Transaction

logger = logging.getLogger("aiki.engine")

BATCH_OPERATIONS = 1_000
QUEUED_OPERATIONS = 10_000

Reply = Callable[[Any, BaseException | None], None]


class Ask:
    """One operation that waits for its answer."""

    __slots__ = ("has_looked", "operation", "principal", "reply")

    def __init__(self, operation: Operation[Any], principal: Principal, reply: Reply) -> None:
        self.operation = operation
        self.principal = principal
        self.reply = reply
        self.has_looked = True
        """Of a claim that waits: whether it is known that nothing was granted to it before."""


Answers = dict[Ask, tuple[Any, BaseException | None]]


class Committed(NamedTuple):
    """What a transaction did: its batch, and the answers to give."""

    batch: Batch
    answers: Answers
    began: float
    """The loop's time: what others did to the runs of the batch came before it or is news since."""


class WaitingClaims(Protocol):
    """The claims that found nothing yet."""

    @property
    def waiting(self) -> list[Ask]: ...

    def matching(self, batch: Batch) -> list[Ask]:
        """Those that a batch's newly ready runs may satisfy."""
        ...

    def hold(self, asks: Iterable[Ask]) -> None:
        """A transaction may grant them something: none is answered otherwise until `release`."""
        ...

    def release(self, asks: Iterable[Ask]) -> None:
        """That transaction is over, and what it granted is told."""
        ...


class Committer:
    """Takes operations, and commits them in batches."""

    def __init__(
        self,
        store: Store,
        *,
        claims: WaitingClaims,
        on_commit: Callable[[Committed], None],
        on_doubt: Callable[[], None],
    ) -> None:
        self._store = store
        self._claims = claims
        self._on_commit = on_commit
        self._on_doubt = on_doubt
        """The database failed to answer: what was asked of it may have been done all the same."""
        self._queue: deque[Ask] = deque()
        self._urgent: deque[Ask] = deque()
        self._wake = asyncio.Event()
        self._finishing = False
        self.batches = 0
        self.operations = 0

    def submit(self, ask: Ask) -> None:
        """Queue an operation; `ServerBusy` where the queue is full, but never to a worker."""
        if ask.operation.urgent:
            self._urgent.append(ask)
        elif len(self._queue) >= QUEUED_OPERATIONS:
            ask.reply(None, ServerBusy())
            return
        else:
            self._queue.append(ask)
        self._wake.set()

    def _next_batch(self) -> list[Ask]:
        """What workers report goes first; each lane keeps its order."""
        asks: list[Ask] = []
        for lane in (self._urgent, self._queue):
            count = min(len(lane), BATCH_OPERATIONS - len(asks))
            asks.extend(lane.popleft() for _ in range(count))
        return asks

    async def run(self) -> None:
        """Commit batch after batch until told to finish."""
        while not self._finishing:
            await self._wake.wait()
            while asks := self._next_batch():
                await self.commit(asks)
                # Let what arrived meanwhile join the next batch, and answers leave.
                await asyncio.sleep(0)
            self._wake.clear()

    def finish(self) -> None:
        """Commit what was submitted, then end `run`."""
        self._finishing = True
        self._wake.set()

    async def commit(self, asks: list[Ask]) -> None:
        """One transaction for all of them."""
        failpoints.hit("before_transaction")
        held: set[Ask] = set()
        try:
            try:
                committed = await self._store.transact(lambda tx: self._work(tx, asks, held))
            except Exception as error:
                await self._one_by_one(asks, error)
                return
            failpoints.hit("after_commit_before_reply")
            self.batches += 1
            self.operations += len(asks)
            self._settle(committed)
        finally:
            self._claims.release(held)

    def _settle(self, committed: Committed) -> None:
        """Wake whom the batch concerns, and answer, whatever becomes of the waking."""
        try:
            self._on_commit(committed)
        except Exception:
            logger.exception("a batch is committed, and not all whom it concerns are told")
            self._on_doubt()
        for ask, (result, failed) in committed.answers.items():
            ask.reply(result, failed)

    async def _one_by_one(self, asks: list[Ask], error: Exception) -> None:
        if len(asks) > 1 and not isinstance(error, ServiceError):
            logger.warning("a batch of %d failed and is repeated singly: %r", len(asks), error)
            for ask in asks:
                await self.commit([ask])
            return
        if not isinstance(error, ServiceError) and isinstance(asks[0].operation, Report):
            await self._report_singly(asks[0], asks[0].operation, error)
            return
        if isinstance(error, ServiceError):
            self._on_doubt()
        if not isinstance(error, AikiError):
            logger.error("%s failed", type(asks[0].operation).__name__, exc_info=error)
            error = ServiceError(f"the server failed on this operation: {error!r}")
        for ask in asks:
            ask.reply(None, error)

    async def _report_singly(self, ask: Ask, report: Report, error: Exception) -> None:
        """A worker's report that cannot be stored must not stand in the way of its other runs."""
        outcomes: list[ReportOutcome] = []
        now = 0
        for one in report.reports:
            single = msgspec.structs.replace(report, reports=(one,))
            inner = Ask(single, ask.principal, ask.reply)
            held: set[Ask] = set()
            try:
                committed = await self._store.transact(partial(self._work, asks=[inner], held=held))
            except ServiceError as unavailable:
                self._claims.release(held)
                self._on_doubt()
                ask.reply(None, unavailable)
                return
            except Exception as failed:
                self._claims.release(held)
                logger.exception("run %s: its report cannot be stored", one.run_id)
                outcomes.append(_unstored(failed))
                continue
            now = committed.batch.now
            answer, refused = committed.answers.pop(inner)
            outcome = ReportOutcome("refused", str(refused)) if refused else answer.outcomes[0]
            outcomes.append(outcome)
            self._settle(committed)
            self._claims.release(held)
        ask.reply(Reported(tuple(outcomes), now), None)

    async def _work(self, tx: Transaction, asks: list[Ask], held: set[Ask]) -> Committed:
        began = asyncio.get_running_loop().time()
        batch = Batch(tx)
        answers: Answers = {}
        claims = [ask for ask in asks if isinstance(ask.operation, ClaimRuns)]
        others = [ask for ask in asks if not isinstance(ask.operation, ClaimRuns)]
        if others:
            await self._decide(batch, others, answers, held)
        waiting = [ask for ask in self._claims_for(batch, held) if ask not in answers]
        for ask in [*waiting, *claims]:
            await self._claim(batch, ask, answers)
        await tx.signal(batch.news())
        failpoints.hit("before_commit")
        return Committed(batch, answers, began)

    def _claims_for(self, batch: Batch, held: set[Ask]) -> list[Ask]:
        """The waiting claims that may be granted something.

        Where an earlier try may have been committed, those that it granted are not known: all are
        asked, and find by their ids what is theirs.
        """
        return (
            self._hold(held, self._claims.waiting)
            if batch.tx.repeated
            else self._match(batch, held)
        )

    def _match(self, batch: Batch, held: set[Ask]) -> list[Ask]:
        return self._hold(held, self._claims.matching(batch))

    def _hold(self, held: set[Ask], asks: list[Ask]) -> list[Ask]:
        """Nobody else may answer a claim while this transaction grants it something."""
        new = [ask for ask in asks if ask not in held]
        self._claims.hold(new)
        held.update(new)
        return asks

    async def _decide(
        self, batch: Batch, asks: list[Ask], answers: Answers, held: set[Ask]
    ) -> None:
        for ask in asks:
            try:
                handler = HANDLERS[type(ask.operation)]
                await handler.prepare(ask.operation, ask.principal, batch)
            except AikiError as error:
                answers[ask] = (None, error)
        await batch.load()
        for ask in asks:
            if ask in answers:
                continue
            try:
                apply = HANDLERS[type(ask.operation)].apply
                answers[ask] = (apply(ask.operation, ask.principal, batch), None)
            except AikiError as error:
                answers[ask] = (None, error)
        self._grant_newborn(batch, answers, held)
        await batch.flush()
        await keep_order(batch)

    def _grant_newborn(self, batch: Batch, answers: Answers, held: set[Ask]) -> None:
        if not batch.inputs:
            return
        for ask in self._match(batch, held):
            assert isinstance(ask.operation, ClaimRuns)
            if not ask.has_looked:
                # Its answer may have been lost: it must be given what it took then.
                continue
            granted = grant_newborn(ask.operation, ask.principal, batch)
            if granted is not None:
                answers[ask] = (granted, None)

    async def _claim(self, batch: Batch, ask: Ask, answers: Answers) -> None:
        operation = ask.operation
        assert isinstance(operation, ClaimRuns)
        try:
            check_claim(operation)
            granted = await serve_claim(operation, ask.principal, batch)
        except AikiError as error:
            answers[ask] = (None, error)
            return
        answers[ask] = (granted, None)


def _unstored(error: Exception) -> ReportOutcome:
    """A run ends only by what no database can keep; whatever else it was may pass."""
    if isinstance(error, UsageError):
        return ReportOutcome("refused", f"NotStorable: {error.message}")
    return ReportOutcome("later", "the server failed on this report; its log says more")


def is_empty(answer: Any) -> bool:
    """Whether a claim brought nothing, and may go on waiting."""
    return isinstance(answer, Claims) and not answer.runs and not answer.alone_waiting
