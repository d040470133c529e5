"""Daemons: what must happen although nobody asks. Each is a `run_once`, and safe in any number."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from aiki.clock import jitter
from aiki.engine.batch import Batch
from aiki.engine.circles import UntangleRuns, find_circles
from aiki.engine.upkeep import SUSPECT_MS, DeleteRuns, RecoverRuns, StallRuns, WakeDue
from aiki.errors import AikiError
from aiki.machine import wake_at
from aiki.model.audit import Principal
from aiki.store.protocol import Transaction

if TYPE_CHECKING:
    from aiki.engine.engine import Engine

logger = logging.getLogger("aiki.engine")
SYSTEM_PRINCIPAL = Principal(namespace="", name="daemon")
AT_ONCE = 500
_AFTER_SUSPICION_SECONDS = 0.01
FORGET_AFTER_MS = 24 * 3_600_000
_LONGEST_SLEEP_MS = 60_000
_LONGEST_SLEEP_SHARED_MS = 1_000
"""Where other servers may die with the timers that they slept for."""


async def _send(engine: Engine, operation: Any) -> int:
    answered: int = await engine.session(SYSTEM_PRINCIPAL).call(operation)
    return answered


async def wake_due(engine: Engine) -> int:
    """Let runs go on whose start, timer, retry, deadline or grace is due. Answers how many."""
    total = 0
    while True:

        async def due(tx: Transaction) -> list[str]:
            return await tx.due_runs(await tx.now(), AT_ONCE)

        ids = await engine.store.glance(due)
        woken = await _send(engine, WakeDue(ids=tuple(ids))) if ids else 0
        total += woken
        if not woken:
            return total


async def recover(engine: Engine) -> int:
    """Free the runs of workers that are silent or provably dead. Answers how many."""
    if engine.is_young:
        return 0

    async def lost(tx: Transaction) -> tuple[list[str], list[str], dict[str, int]]:
        now = await tx.now()
        silent = await tx.silent_workers(now, now - SUSPECT_MS)
        return silent, await tx.orphans(AT_ONCE), await tx.alive_workers()

    total = 0
    while True:
        silent, orphans, alive = await engine.store.glance(lost)
        dead = await engine.store.dead(alive)
        gone = sorted({*silent, *dead})
        held = await engine.store.glance(lambda tx, g=gone: tx.held_by_many(g, AT_ONCE))  # type: ignore[misc]
        ids = sorted({*held, *orphans})
        if not ids and not gone:
            return total
        recovered = await _send(engine, RecoverRuns(ids=tuple(ids), dead=tuple(dead)))
        total += recovered
        if recovered:
            logger.warning("recovered %d runs of lost workers %s", recovered, ", ".join(gone))
        if len(ids) < AT_ONCE:
            for incarnation in dead:
                await engine.store.withdraw(incarnation)
            return total


async def republish(engine: Engine) -> int:
    """Offer what is ready to the claims that wait: news that was lost is repeated."""
    waiting = len(engine.claims)
    if waiting:
        await engine.offer()
    return waiting


async def stall(engine: Engine) -> int:
    """Set aside what no worker took for too long. Answers how many."""
    after_ms = engine.settings.stall_after_ms

    async def stale(tx: Transaction) -> tuple[int, list[str]]:
        before = await tx.now() - after_ms
        return before, await tx.stale_outbox(before, AT_ONCE)

    before, ids = await engine.store.read(stale)
    return await _send(engine, StallRuns(ids=tuple(ids), ready_before=before)) if ids else 0


async def untangle(engine: Engine) -> int:
    """End children who wait for a turn that waits for them. Answers how many."""
    total, after = 0, ""
    while True:

        async def look(tx: Transaction) -> tuple[list[str], bool]:
            found = await tx.waiting_in_line(after, AT_ONCE)  # noqa: B023 - awaited in this turn
            return found, bool(await find_circles(found, tx))

        ids, entangled = await engine.store.glance(look)
        total += await _send(engine, UntangleRuns(ids=tuple(ids))) if entangled else 0
        if len(ids) < AT_ONCE:
            return total
        after = ids[-1]


async def retention(engine: Engine) -> int:
    """Delete runs that ended long ago, and workers that left. Answers how many runs."""
    deleted = 0
    while ids := await engine.store.read(lambda tx: _expired(engine, tx)):
        now = await engine.store.read(lambda tx: tx.now())
        gone = await _send(engine, DeleteRuns(ids=tuple(ids), seen_before=now - FORGET_AFTER_MS))
        deleted += gone
        if not gone or len(ids) < AT_ONCE:
            break
    return deleted


async def _expired(engine: Engine, tx: Transaction) -> list[str]:
    """Runs whose time is over, by what is chosen for their namespace."""
    now = await tx.now()
    ids: list[str] = []
    for namespace in await tx.load_namespaces():
        retention_ms = namespace.retention_ms
        if retention_ms is None:
            retention_ms = engine.settings.retention_ms
        if retention_ms and len(ids) < AT_ONCE:
            room = AT_ONCE - len(ids)
            ids += await tx.expired_runs(namespace.name, now - retention_ms, room)
    return ids


async def forget(engine: Engine) -> int:
    """Forget workers that left, and answers to bulk calls, after a day."""
    engine.news.keep(await engine.store.glance(lambda tx: tx.alive_workers()))
    now = await engine.store.glance(lambda tx: tx.now())
    return await _send(engine, DeleteRuns(ids=(), seen_before=now - FORGET_AFTER_MS))


class Daemon(NamedTuple):
    """One duty and how often it is looked after."""

    run_once: Callable[[Engine], Awaitable[int]]
    setting: str
    """Name of the engine's setting that holds the interval."""


DAEMONS: tuple[Daemon, ...] = (
    Daemon(recover, "recovery_interval_ms"),
    Daemon(republish, "republish_interval_ms"),
    Daemon(stall, "upkeep_interval_ms"),
    Daemon(untangle, "upkeep_interval_ms"),
    Daemon(retention, "upkeep_interval_ms"),
    Daemon(forget, "forget_interval_ms"),
)


class Timers:
    """Sleeps until the next due of all runs, and wakes what is due, in batches."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._next: int | None = None
        self._poked = asyncio.Event()

    def note(self, batch: Batch) -> None:
        """Something may be due sooner than what is slept for."""
        for run_id in batch.touched:
            due = wake_at(batch.runs[run_id].state)
            if due is not None and (self._next is None or due < self._next):
                self._poked.set()
                return

    def poke(self) -> None:
        """Look again."""
        self._poked.set()

    async def run(self) -> None:
        """Wake what is due, for ever."""
        while True:
            self._poked.clear()
            await wake_due(self._engine)
            delay_ms = await self._delay_ms()
            try:
                async with asyncio.timeout(delay_ms / 1000):
                    await self._poked.wait()
            except TimeoutError:
                continue

    async def _delay_ms(self) -> int:
        async def ask(tx: Transaction) -> tuple[int, int | None]:
            return await tx.now(), await tx.next_wake()

        now, self._next = await self._engine.store.glance(ask)
        longest = _LONGEST_SLEEP_SHARED_MS if self._engine.store.shared else _LONGEST_SLEEP_MS
        if self._next is None:
            return longest
        return max(1, min(self._next - now, longest))


class Daemons:
    """Starts and stops the daemons of an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.timers = Timers(engine)
        self._tasks: list[asyncio.Task[None]] = []
        self._on_duty = False

    def start(self, *, duties: bool) -> None:
        """Notice what other processes do; with `duties`, also look after what time brings."""
        self._spawn(self._signal)
        if duties:
            self.start_duties()

    def start_duties(self) -> None:
        """Run every daemon until stopped; one that fails tries again."""
        if self._on_duty:
            return
        self._on_duty = True
        for loop in (self.timers.run, *map(self._loop, DAEMONS)):
            self._spawn(loop)

    def _spawn(self, loop: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.create_task(self._guard(loop)))

    def recover_soon(self) -> None:
        """Look after a worker that was suspected just now, as soon as it may be lost."""
        if self._on_duty:
            delay = SUSPECT_MS / 1000 + _AFTER_SUSPICION_SECONDS
            asyncio.get_running_loop().call_later(delay, self._recover)

    def _recover(self) -> None:
        async def once() -> None:
            try:
                await recover(self._engine)
            except AikiError as error:
                logger.warning("a suspected worker could not be looked after: %s", error)

        task = asyncio.get_running_loop().create_task(once())
        self._tasks.append(task)
        task.add_done_callback(self._tasks.remove)

    @property
    def running(self) -> bool:
        """Whether all that were started run."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    async def stop(self) -> None:
        """Stop all."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def note(self, batch: Batch) -> None:
        """A batch was committed."""
        self.timers.note(batch)

    def _loop(self, daemon: Daemon) -> Callable[[], Awaitable[None]]:
        async def loop() -> None:
            while True:
                await daemon.run_once(self._engine)
                await asyncio.sleep(
                    getattr(self._engine.settings, daemon.setting) / 1000 * jitter(0.1)
                )

        return loop

    async def _guard(self, loop: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await loop()
            except AikiError as error:
                logger.warning("a daemon failed and goes on: %s", error)
            except Exception:
                logger.exception("a daemon failed and goes on")
            await asyncio.sleep(1.0)

    async def _signal(self) -> None:
        """Notice what other processes commit."""
        engine = self._engine
        while True:
            news = await engine.store.wait_for_news(lambda: engine.waiting)
            await engine.refresh(news)
