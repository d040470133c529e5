"""The engine of one process: it answers operations, and runs the daemons that time asks for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

import msgspec

from aiki import failpoints
from aiki.clock import SYSTEM
from aiki.engine.claims import has_work
from aiki.engine.committer import Ask, Committed, Committer, Reply
from aiki.engine.daemons import Daemons
from aiki.engine.guarded import GuardedStore
from aiki.engine.handlers import BROWSED, HANDLERS, READERS
from aiki.engine.publishing import Publishing
from aiki.engine.reads import ResultReader, get_changes
from aiki.engine.watchers import ChangeWatchers, ClaimWatchers, NewsWatchers, RunWatchers, Watch
from aiki.engine.workers import SeeWorker, SuspectWorker
from aiki.errors import AikiError, Closed, InvalidRequest, ServiceError
from aiki.model.audit import Principal
from aiki.operations.base import Api, Operation
from aiki.operations.catalog import Changes, GetChanges, GetServerInfo, ServerInfo
from aiki.operations.runs import GetRun
from aiki.operations.work import (
    ClaimRuns,
    Heartbeat,
    Holding,
    LeaveWorker,
    Listen,
    RegisterWorker,
    WorkerNews,
)
from aiki.queue.publisher import Publisher
from aiki.store.protocol import Store, Transaction
from aiki.store.records import News

logger = logging.getLogger("aiki.engine")
R = TypeVar("R")
VERSION = "0.1.0"
_DOUBT_SECONDS = 0.1
_LIFELINE = frozenset({Heartbeat, SeeWorker, SuspectWorker})


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may choose; times in milliseconds."""

    daemons: bool | None = None
    """Wake, recover, stall and delete in this process; None: as soon as it has a worker."""
    recovery_interval_ms: int = 500
    recovery_grace_ms: int = 0
    """For so long after the start no worker is found silent: none could be heard before."""
    republish_interval_ms: int = 5_000
    stall_after_ms: int = 24 * 3_600_000
    retention_ms: int | None = 30 * 24 * 3_600_000
    """How long an ended run is kept; None keeps it for ever."""
    upkeep_interval_ms: int = 60_000
    sweep_interval_ms: int = 30_000
    """How often messages that nobody needs are removed from a broker."""
    forget_interval_ms: int = 3_600_000


class Engine:
    """Owns a store; everything runs on the event loop that started it."""

    def __init__(
        self,
        store: Store,
        settings: EngineSettings | None = None,
        publisher: Publisher | None = None,
    ) -> None:
        guarded = GuardedStore(store)
        self.breaker = guarded.breaker
        """Of the database."""
        self.store = cast("Store", guarded)
        self.settings: EngineSettings = settings or EngineSettings()
        self.results = ResultReader(self.store)
        self.runs = RunWatchers(self._look)
        self.news = NewsWatchers()
        self.claims = ClaimWatchers(self._submit)
        self.committer = self._new_committer()
        self.lifeline = self._new_committer()
        """Heartbeats go by themselves: a batch that waits for a lock must not cost leases."""
        self.changes = ChangeWatchers()
        self.daemons = Daemons(self)
        self.publishing = Publishing(self, publisher) if publisher is not None else None
        self._tasks: set[asyncio.Task[None]] = set()
        self._announced: set[tuple[str, str]] = set()
        """Embedded workers whose lock proves that they live, with their namespaces."""
        self._committing: list[asyncio.Task[None]] = []
        self._closed = False
        self._started = 0.0

    def _new_committer(self) -> Committer:
        return Committer(
            self.store,
            claims=self.claims,
            on_commit=self._committed,
            on_doubt=self._doubt,
        )

    @property
    def is_young(self) -> bool:
        """Whether workers had no time yet to be heard."""
        age_ms = (SYSTEM.monotonic() - self._started) * 1000
        return age_ms < self.settings.recovery_grace_ms

    async def start(self) -> None:
        """Open the store, and begin to answer."""
        self._started = SYSTEM.monotonic()
        failpoints.arm_from_environment()
        await self.store.open()
        lanes = (self.committer, self.lifeline)
        self._committing = [asyncio.create_task(lane.run()) for lane in lanes]
        self.daemons.start(duties=self.settings.daemons is True)
        if self.publishing is not None:
            await self.publishing.start()

    async def stop(self) -> None:
        """Stop answering: what was submitted is committed first."""
        self._closed = True
        await self.daemons.stop()
        if self.publishing is not None:
            await self.publishing.stop()
        self.committer.finish()
        self.lifeline.finish()
        await asyncio.gather(*self._committing)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.runs.close()
        self.claims.close()
        for _, incarnation in self._announced:
            await self.store.withdraw(incarnation)
        await self.store.close()

    def session(self, principal: Principal) -> Session:
        """The only way in: an `Api` that acts for this principal."""
        return Session(self, principal)

    def dispatch(self, operation: Operation[Any], principal: Principal, reply: Reply) -> None:
        """Answer an operation by `reply(result, error)`, on this engine's loop."""
        if self._closed:
            reply(None, Closed("the engine was stopped"))
            return
        kind = type(operation)
        if principal.roles.isdisjoint({"admin", kind.role}):
            reply(None, InvalidRequest(f"{principal.name} lacks the role {kind.role}"))
        elif isinstance(operation, ClaimRuns) and self.claims.is_fruitless(operation):
            self._park(Ask(operation, principal, reply))
        elif kind in HANDLERS or kind is ClaimRuns:
            self._lane(operation).submit(Ask(operation, principal, reply))
            self._note_presence(operation, principal)
        elif isinstance(operation, GetRun) and operation.wait_ms > 0:
            # Whoever waits looks after it began to wait, so that nothing falls in between.
            watch = Watch(operation, principal, reply)
            self.runs.add(watch)
            if not self.runs.has_to_wait(operation, principal):
                self._look(watch, late=False)
        else:
            self._spawn(self._answer(operation, principal, reply))

    def _lane(self, operation: Operation[Any]) -> Committer:
        """Heartbeats go by themselves; but a goodbye keeps its place among claims."""
        if isinstance(operation, Heartbeat) and operation.draining:
            return self.committer
        return self.lifeline if type(operation) in _LIFELINE else self.committer

    def _submit(self, ask: Ask) -> None:
        self.committer.submit(ask)

    def _note_presence(self, operation: Operation[Any], principal: Principal) -> None:
        """Waiting claims end with a worker's presence; an embedded one's lock proves its life."""
        namespace = principal.namespace
        if isinstance(operation, RegisterWorker):
            if not principal.remote:
                self._announced.add((namespace, operation.incarnation))
                self._spawn(self._announce(operation.incarnation))
            if self.settings.daemons is None:
                self.daemons.start_duties()
        elif isinstance(operation, SuspectWorker):
            self.claims.withdraw(operation.incarnation, namespace)
            self.daemons.recover_soon()
        elif isinstance(operation, Heartbeat) and operation.draining:
            self.claims.withdraw(operation.incarnation, namespace)
        elif isinstance(operation, LeaveWorker):
            self.claims.withdraw(operation.incarnation, namespace)
            self.news.forget(operation.incarnation)
            if (namespace, operation.incarnation) in self._announced:
                self._announced.discard((namespace, operation.incarnation))
                self._spawn(self.store.withdraw(operation.incarnation))

    async def _announce(self, incarnation: str) -> None:
        try:
            await self.store.announce(incarnation)
        except (OSError, ServiceError) as error:
            logger.warning("no lock proves that this worker lives, leases apply: %s", error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _look(self, watch: Watch, late: bool) -> None:
        """Read a run for a call that waits for it."""

        async def look() -> None:
            try:
                result = await self.results.read(watch.operation.id, watch.principal)
            except asyncio.CancelledError:
                watch.answer(None, Closed("the engine was stopped"))
                raise
            except Exception as error:
                self.runs.drop(watch)
                known = isinstance(error, AikiError)
                if not known:
                    logger.exception("run %s cannot be read", watch.operation.id)
                watch.answer(None, error if known else ServiceError(f"cannot read: {error!r}"))
            else:
                self.runs.settle(watch, result, late=late)

        self._spawn(look())

    async def _answer(self, operation: Operation[Any], principal: Principal, reply: Reply) -> None:
        try:
            result = await self._read(operation, principal)
        except asyncio.CancelledError:
            reply(None, Closed("the engine was stopped"))
            raise
        except AikiError as error:
            reply(None, error)
        except Exception as error:
            logger.exception("%s failed", type(operation).__name__)
            reply(None, ServiceError(f"the server failed on this operation: {error!r}"))
        else:
            reply(result, None)

    async def _read(self, operation: Operation[Any], principal: Principal) -> Any:
        match operation:
            case GetRun():
                return await self.results.read(operation.id, principal)
            case Listen():
                return await self._listen(operation, principal.namespace)
            case GetServerInfo():
                now = await self.store.glance(lambda tx: tx.now())
                return ServerInfo(VERSION, self.store.schema_version, self.store.name, now)
            case GetChanges():
                return await self._follow(operation, principal)
            case _:
                reader = READERS[type(operation)]
                read = self.store.browse if type(operation) in BROWSED else self.store.read
                return await read(lambda tx: reader(operation, principal, tx))

    async def _follow(self, operation: GetChanges, principal: Principal) -> Changes:
        """Changes since the cursor; what is waited for may be committed by any process."""
        waiting = self.changes.begin(principal.namespace)
        try:
            found = await self.store.read(lambda tx: get_changes(operation, principal, tx))
            new = any(change.at > (operation.cursor or 0) for change in found.changes)
            if new or operation.wait_ms <= 0:
                return found
            await waiting.wait(operation.wait_ms)
            since = msgspec.structs.replace(operation, cursor=found.cursor)
            return await self.store.read(lambda tx: get_changes(since, principal, tx))
        finally:
            waiting.end()

    async def _listen(self, operation: Listen, namespace: str) -> WorkerNews:
        incarnation = operation.incarnation
        cursor = await self.news.wait(incarnation, operation.cursor, operation.wait_ms)
        announcing = self.publishing is not None and self.publishing.announcing
        if cursor == operation.cursor:
            return WorkerNews(cursor=cursor, announcing=announcing)

        async def read(tx: Transaction) -> WorkerNews:
            held = await tx.held_runs(namespace, incarnation)
            return WorkerNews(
                tuple(await tx.pushed_facts(namespace, incarnation)),
                tuple(Holding(row.run_id, row.epoch) for row in held),
                cursor,
                await tx.now(),
                announcing,
            )

        return await self.store.read(read)

    def _committed(self, committed: Committed) -> None:
        batch = committed.batch
        self.claims.settle(committed)
        for incarnation in batch.gone:
            self.claims.withdraw(incarnation)
        if batch.leaves_ready:
            # A claim that began to wait during the transaction was not served in it.
            for ask in self.claims.matching(batch):
                self.claims.resubmit(ask)
        self.runs.tell(batch, committed.began)
        self.changes.tell(batch)
        self.news.tell(batch)
        self.daemons.note(batch)
        if self.publishing is not None:
            self.publishing.tell(batch)

    def _doubt(self) -> None:
        """The database did not answer: what it was asked may be done, and somebody waits for it."""
        asyncio.get_running_loop().call_later(_DOUBT_SECONDS, self._look_again)

    def _look_again(self) -> None:
        if self._closed:
            return
        for ask in self.claims.waiting:
            self.claims.resubmit(ask)
        self.runs.refresh()
        self.changes.refresh()
        self.news.refresh()
        self.daemons.timers.poke()

    async def refresh(self, news: News) -> None:
        """Another process may have committed: whoever waits looks again."""
        if news & News.READY and len(self.claims):
            await self.offer()
        if news & News.RUNS:
            self.runs.refresh()
            self.changes.refresh()
        if news & News.FACTS:
            self.news.refresh()
        if news and not self.store.shared:
            self.daemons.timers.poke()

    async def offer(self) -> None:
        """Submit the waiting claims for which something is ready; looking writes nothing."""

        async def ready_for(tx: Transaction) -> list[Ask]:
            asks = self.claims.waiting
            return [
                a for a in asks if await has_work(cast("ClaimRuns", a.operation), a.principal, tx)
            ]

        for ask in await self.store.glance(ready_for):
            self.claims.resubmit(ask)

    def _park(self, ask: Ask) -> None:
        """Let a claim wait that will hardly find anything: it looks without a transaction.

        It waits before it looks, so that nothing falls in between.
        """
        ask.has_looked = False
        self.claims.park(ask)
        operation = cast("ClaimRuns", ask.operation)

        async def look() -> None:
            try:
                found = await self.store.glance(lambda tx: has_work(operation, ask.principal, tx))
            except ServiceError:
                found = True
            if found:
                self.claims.resubmit(ask)
            ask.has_looked = True

        self._spawn(look())

    @property
    def parts(self) -> dict[str, bool]:
        """Whether each of its parts runs: what commits, and the daemons."""
        committing = self._committing
        alive = bool(committing) and not any(lane.done() for lane in committing)
        return {"committer": alive and not self._closed, "daemons": self.daemons.running}

    @property
    def waiting(self) -> bool:
        """Whether any call waits for something that another process might bring."""
        return bool(len(self.claims) or len(self.runs) or len(self.news) or len(self.changes))


class Session:
    """An `Api` on the engine's own loop."""

    def __init__(self, engine: Engine, principal: Principal) -> None:
        self._engine = engine
        self._principal = principal

    async def call(self, operation: Operation[R]) -> R:
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()

        def reply(result: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self._engine.dispatch(operation, self._principal, reply)
        return await future

    def fork(self) -> Api:
        return self

    async def keep_presence(self, incarnation: str) -> None:
        """Wait: the worker is in this process."""
        await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """Nothing to let go of: the engine belongs to whoever started it."""
