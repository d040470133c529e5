"""The worker: claims runs, executes them, reports, and stops in order."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from aiki.clock import SYSTEM, Clock, Instant
from aiki.ending import end_all
from aiki.errors import (
    AikiError,
    ClaimLost,
    ConfigurationError,
    ServiceError,
)
from aiki.ids import new_id
from aiki.model.failure import Raised
from aiki.operations.catalog import GetServerInfo
from aiki.operations.work import (
    ClaimedRun,
    Failed,
    Heartbeat,
    Holding,
    LeaveWorker,
    Listen,
    Memo,
    Offer,
    RegisterWorker,
    Released,
    ReportOutcome,
    RunReport,
)
from aiki.queue.pacing import Pacing
from aiki.queue.polling import SimplePolling
from aiki.queue.subscriber import Interest, Subscriber
from aiki.worker.claiming import Claiming
from aiki.worker.driver import Driver
from aiki.worker.heartbeat import HeartbeatThread
from aiki.worker.loading import load_whole
from aiki.worker.registry import registry_of
from aiki.worker.reporter import Reporter
from aiki.worker.tasks import Attempts
from aiki.worker.timekeeper import Timekeeper
from aiki.worker.trouble import Trouble
from aiki.workflow.definition import Workflow

if TYPE_CHECKING:
    from aiki.client.client import Client

logger = logging.getLogger("aiki.worker")
_LISTEN_MS = 30_000
_LONG_STARTS_SECONDS = 0.1
SHORTEST_LEASE_MS = 1_000


class Worker:
    """Executes runs of the given workflows until it is cancelled.

    `lease_ms` is how long a claim outlives the last heartbeat, 1 s at least; heartbeats go out
    every third of it unless told otherwise. Parked runs stay in memory, up to
    `max_resident_runs`, so that they go on without replay.
    """

    def __init__(
        self,
        client: Client,
        *,
        workflows: Sequence[Workflow[..., Any]],
        id: str | None = None,
        subscriber: Subscriber | None = None,
        max_concurrent_runs: int = 100,
        max_resident_runs: int = 1_000,
        shards: Sequence[str] = (),
        lease_ms: int = 30_000,
        heartbeat_interval_ms: int | None = None,
        stall_limit_ms: int = 60_000,
        graceful_shutdown_timeout_ms: int = 5_000,
        task_threads: int = 32,
    ) -> None:
        self.name = id or f"{socket.gethostname()}-{os.getpid()}"
        self.incarnation = new_id()
        self.clock: Clock = SYSTEM
        self.timekeeper = Timekeeper(self.clock)
        self.trouble = Trouble(self.clock)
        self.lease_ms = lease_ms
        self.replay_always = os.environ.get("AIKI_REPLAY_ALWAYS") == "1"
        self.stepping: Driver | None = None
        self.claiming: set[str] = set()
        self._client = client
        self._workflows = registry_of(workflows)
        self._subscriber = subscriber or SimplePolling()
        self._limit = max_concurrent_runs
        self._resident_limit = 0 if self.replay_always else max_resident_runs
        self._shards = tuple(shards)
        self._heartbeat_ms = heartbeat_interval_ms or max(lease_ms // 3, 200)
        self._stall_limit_ms = stall_limit_ms
        self._grace_ms = graceful_shutdown_timeout_ms
        self._task_threads = task_threads
        self._active: dict[str, Driver] = {}
        self._resident: OrderedDict[str, Driver] = OrderedDict()
        self._loading: dict[str, int] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._running = False
        self._check()

    def _check(self) -> None:
        if self._limit < 1:
            raise ConfigurationError(f"max_concurrent_runs={self._limit}: at least 1")
        if self.lease_ms < SHORTEST_LEASE_MS:
            raise ConfigurationError(f"lease_ms={self.lease_ms}: at least {SHORTEST_LEASE_MS}")
        if self._heartbeat_ms * 2 > self.lease_ms:
            raise ConfigurationError(
                f"heartbeat_interval_ms={self._heartbeat_ms}: at most half of "
                f"lease_ms={self.lease_ms}, so that one lost heartbeat loses nothing"
            )

    # Life

    async def run(self) -> None:
        """Work until cancelled; then stop claiming, drain, release what is left.

        A second cancellation ends it at once: leases or the next process take up what is left.
        """
        if self._running:
            raise ConfigurationError("this worker runs already; make another one")
        self._running = True
        await self._start()
        loops = [self._claiming.run(), self._listen_loop(), self._starts_loop()]
        running = [asyncio.create_task(loop) for loop in loops]
        try:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            try:
                # In a task of its own: early releases of CPython 3.11 never let a time-out end
                # inside a task that was cancelled before. A second cancellation reaches it.
                await asyncio.get_running_loop().create_task(self._shut_down(running))
            finally:
                self._heartbeats.stop()
                self.attempts.close()
                for driver in [*self._active.values(), *self._resident.values()]:
                    driver.evict()

    async def _start(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.attempts = Attempts(self._task_threads)
        self.freed = asyncio.Event()
        api = await self._client.api()
        self._api = api
        self._reporter = Reporter(api, self.incarnation, self.timekeeper, self.trouble)
        await self._register()
        interest = Interest(self.incarnation, self._client.namespace, self._offers(), self._shards)
        await self._subscriber.open(interest)
        self._claiming = Claiming(self, api, self._subscriber, interest)
        self._heartbeats = HeartbeatThread(
            self, api.fork(), self._heartbeat_ms, self._stall_limit_ms
        )
        self._heartbeats.start()
        logger.info("worker %s offers %s", self.name, ", ".join(map(_title, self._offers())))

    async def _register(self) -> None:
        instant = await self._client.call(
            RegisterWorker(
                incarnation=self.incarnation,
                name=self.name,
                lease_ms=self.lease_ms,
                workflows=tuple(wf.spec() for wf in self._workflows.values()),
                shards=self._shards,
            )
        )
        self.timekeeper.learn(instant, exactly=True)

    def register_again(self) -> None:
        """The server forgot this worker; make it known."""
        self._spawn(self.reintroduce())

    async def reintroduce(self) -> None:
        """The server does not know this worker: register again."""
        try:
            await self._register()
        except ServiceError as error:
            self.trouble.meet("a registration", error)

    def _offers(self) -> tuple[Offer, ...]:
        return tuple(Offer(wf.name, wf.version, wf.fingerprint) for wf in self._workflows.values())

    async def _shut_down(self, running: Sequence[asyncio.Task[None]]) -> None:
        """Stop claiming at once, let runs come to a park or end, then release the rest."""
        self._stopping = True
        await end_all(running)
        self.claiming.clear()
        await self._subscriber.close()
        await self._disclaim()
        try:
            async with asyncio.timeout(self._grace_ms / 1000):
                while self._active or self._loading:
                    self.freed.clear()
                    await self.freed.wait()
        except TimeoutError:
            logger.warning("%d runs are released at the deadline", len(self._active))
        await self._leave()

    async def _disclaim(self) -> None:
        """Withdraw claims whose answers are on their way: unheard of, they are released."""
        held = tuple(Holding(run_id, epoch) for run_id, epoch in self.held().items())
        drain = Heartbeat(incarnation=self.incarnation, held=held, as_of=self.now(), draining=True)
        try:
            async with asyncio.timeout(self._grace_ms / 1000 + 1):
                await self._client.call(drain)
        except (AikiError, TimeoutError) as error:
            logger.warning("the server was not told that this worker stops: %s", error)

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(self._grace_ms / 1000 + 1):
                await self._reporter.drained()
                reports = [d.release() for d in self._active.values() if d.phase == "active"]
                if reports:
                    await self._reporter.post(reports)
                await self._client.call(LeaveWorker(incarnation=self.incarnation))
        except (AikiError, TimeoutError) as error:
            logger.warning("the goodbye was not heard, leases will end: %s", error)

    # What claiming needs

    @property
    def room(self) -> int:
        """For how many more runs there is room; none while a run is executed alone."""
        if any(driver.claim.alone for driver in self._active.values()):
            return 0
        return self._limit - len(self._active) - len(self._loading)

    @property
    def is_idle(self) -> bool:
        """Whether no run is executed."""
        return not self._active and not self._loading

    def adopt(self, claim: ClaimedRun) -> None:
        """A run was granted: go on with what is in memory of it, or begin."""
        earlier = self._active.pop(claim.id, None)
        if earlier is not None:
            earlier.evict()
        driver = self._resident.pop(claim.id, None)
        if driver is not None and driver.matches(claim):
            self._active[claim.id] = driver
            driver.resume(claim)
            return
        if driver is not None:
            driver.evict()
        if claim.memo is None or claim.memo.next_number is not None:
            self._loading[claim.id] = claim.epoch
            self._spawn(self._load(claim))
        else:
            self._begin(claim, claim.memo)

    async def _load(self, claim: ClaimedRun) -> None:
        """Fetch the memo of a run, a page at a time."""
        try:
            loaded, memo = await load_whole(claim, self._client)
            self._begin(loaded, memo)
        except ClaimLost:
            logger.info("run %s went to another worker", claim.id)
            self._subscriber.ended(claim.id)
        except AikiError as error:
            logger.warning("run %s could not be loaded: %s", claim.id, error)
            self._subscriber.ended(claim.id)
        finally:
            self._loading.pop(claim.id, None)
            self.freed.set()

    def _begin(self, claim: ClaimedRun, memo: Memo) -> None:
        if self._stopping:
            return
        definition = self._workflows[claim.workflow, claim.version]
        try:
            driver = Driver(claim, memo, definition, self)
        except Exception as error:
            self._refuse(claim, error)
            return
        self._active[claim.id] = driver
        self.soon(driver.pump)

    def _refuse(self, claim: ClaimedRun, error: Exception) -> None:
        """The workflow's function cannot take this input: the run fails, and nothing else does."""
        logger.error("run %s cannot begin: %s", claim.id, error)
        self._subscriber.ended(claim.id)
        failure = Raised(type(error).__qualname__, str(error))
        self._post(
            RunReport(
                run_id=claim.id,
                epoch=claim.epoch,
                attempt=claim.attempt,
                parent_id=claim.parent_id,
                ending=Failed(failure),
                command_id=new_id(),
            )
        )

    # WorkerNews

    async def _listen_loop(self) -> None:
        """Facts for runs that are executed here, as soon as they are known."""
        cursor = 0
        pacing = Pacing(100, 5_000, spread=0.5)
        while True:
            try:
                news = await self._api.call(
                    Listen(incarnation=self.incarnation, cursor=cursor, wait_ms=_LISTEN_MS)
                )
            except ServiceError as error:
                self.trouble.meet("listening", error)
                await asyncio.sleep(pacing.pause_ms() / 1000)
                pacing.empty()
                continue
            pacing.found()
            cursor = news.cursor
            self.timekeeper.learn(news.now)
            if news.announcing is not None:
                self._subscriber.note_announcing(news.announcing)
            for fact in news.facts:
                driver = self._active.get(fact.run_id)
                if driver is not None:
                    driver.tell(fact)
            if news.now:
                self._compare({held.run_id: held.epoch for held in news.held})

    def _compare(self, known: dict[str, int]) -> None:
        """Drop the runs that the server gave to others."""
        for run_id, driver in list(self._active.items()):
            if known.get(run_id, driver.claim.epoch) > driver.claim.epoch:
                self._drop(driver)

    async def _starts_loop(self) -> None:
        """Tasks that take long are shown as running; a clock that stood still is watched."""
        while True:
            await asyncio.sleep(_LONG_STARTS_SECONDS)
            if self.timekeeper.distrusted:
                await self._ask_the_time()
            if self._active:
                now = self.now()
                for driver in list(self._active.values()):
                    driver.note_long_starts(now)

    async def _ask_the_time(self) -> None:
        """Learn whether the database's clock moves again."""
        try:
            self.timekeeper.learn((await self._api.call(GetServerInfo())).now)
        except ServiceError as error:
            self.trouble.meet("asking the time", error)

    def learn_lost(self, lost: Sequence[Holding]) -> None:
        """The server does not know these claims as ours."""
        for holding in lost:
            driver = self._active.get(holding.run_id)
            if driver is not None and driver.claim.epoch == holding.epoch:
                if driver.phase == "active":
                    self._drop(driver)

    def held(self) -> dict[str, int]:
        """The runs that this worker believes to hold, with their epochs; safe from any thread."""
        held = self._loading.copy()
        held.update({id: driver.claim.epoch for id, driver in self._active.copy().items()})
        return held

    # What drivers need

    def now(self) -> Instant:
        """An instant that the database has reached."""
        return self.timekeeper.now()

    def soon(self, callback: Callable[[], None]) -> None:
        """Call from a plain callback of the worker's loop."""
        self.loop.call_soon(callback)

    def from_thread(self, callback: Callable[[], None]) -> None:
        """Call on the worker's loop, from another thread."""
        self.loop.call_soon_threadsafe(callback)

    def report(self, driver: Driver) -> None:
        """The driver has something to report."""
        self._reporter.mark(driver)

    def parked(self, driver: Driver) -> None:
        """The run is parked; its memory stays while there is room."""
        self._free(driver)
        if self._resident_limit == 0:
            driver.evict()
            return
        self._resident[driver.claim.id] = driver
        while len(self._resident) > self._resident_limit:
            self._resident.popitem(last=False)[1].evict()

    def ended(self, driver: Driver) -> None:
        """The run's claim is over."""
        self._free(driver)
        driver.evict()

    def refused(self, driver: Driver, outcome: ReportOutcome) -> None:
        """A report was refused: what is in memory is not what is on record."""
        if outcome.verdict == "refused":
            kind, _, message = outcome.detail.partition(": ")
            failure = Raised(kind, message)
            self._post(driver.fail(Failed(failure)))
            self._drop(driver)
        elif outcome.verdict == "early":
            self.give_back(driver, outcome.detail)
        else:
            logger.info("run %s: the claim was lost (%s)", driver.claim.id, outcome.detail)
            self._drop(driver)

    def give_back(self, driver: Driver, reason: str) -> None:
        """Release the run without what was not recorded."""
        logger.warning("run %s is released: %s", driver.claim.id, reason)
        self._drop(driver)
        claim = driver.claim
        self._post(
            RunReport(
                run_id=claim.id,
                epoch=claim.epoch,
                attempt=claim.attempt,
                ending=Released(),
                command_id=new_id(),
            )
        )

    def _post(self, report: RunReport) -> None:
        async def post() -> None:
            await self._reporter.post([report])

        self._spawn(post())

    def _drop(self, driver: Driver) -> None:
        self._free(driver)
        driver.evict()

    def _free(self, driver: Driver) -> None:
        if self._active.get(driver.claim.id) is driver:
            del self._active[driver.claim.id]
            self._subscriber.ended(driver.claim.id)
        self.freed.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _title(offer: Offer) -> str:
    return f"{offer.workflow} {offer.version}"
