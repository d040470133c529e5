"""Heartbeats and presence, from a thread that user code cannot block.

A heartbeat proves the work loop, not the process: when the worker's loop has not answered for
longer than the limit, the leases are left to end, and others take over.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from typing import TYPE_CHECKING

from aiki.clock import jitter
from aiki.errors import AikiError, NotFound
from aiki.operations.base import Api
from aiki.operations.work import Heartbeat, Holding

if TYPE_CHECKING:
    from aiki.worker.worker import Worker

logger = logging.getLogger("aiki.worker")
BLOCKED_SECONDS = 2.0
_WATCH_SECONDS = 0.5
_AGAIN_SECONDS = 1.0
"""A heartbeat that failed is repeated after about this."""


class HeartbeatThread:
    """Refreshes the leases of one worker, shows its presence, and watches its loop.

    It owns the `Api` that it is given.
    """

    def __init__(self, worker: Worker, api: Api, interval_ms: int, stall_limit_ms: int) -> None:
        self._worker = worker
        self._api = api
        self._interval = interval_ms / 1000
        self._stall_limit = stall_limit_ms / 1000
        self._loop_thread = threading.get_ident()
        self._stopping: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._ponged = worker.clock.monotonic()
        self._stuck: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name="aiki-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()
        self._started.wait()

    def stop(self) -> None:
        """End; returns when the thread has ended."""
        if self._loop is not None and self._stopping is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(timeout=5)

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._started.set()
        presence = self._api.keep_presence(self._worker.incarnation)
        duties = [asyncio.create_task(duty) for duty in (self._watch(), self._beat(), presence)]
        await self._stopping.wait()
        for duty in duties:
            duty.cancel()
        await asyncio.gather(*duties, return_exceptions=True)
        await self._api.close()

    async def _watch(self) -> None:
        """Look after the worker's loop, for ever, however slowly the server answers."""
        while True:
            try:
                self._ping()
                self._look()
            except Exception:
                logger.exception("the worker's loop could not be looked after; it is done again")
            await asyncio.sleep(_WATCH_SECONDS)

    async def _beat(self) -> None:
        """A heartbeat at each interval, for ever; one that failed is soon followed by another."""
        seconds = self._interval
        while True:
            await asyncio.sleep(seconds)
            seconds = self._interval
            try:
                if not await self._heartbeat():
                    seconds = min(self._interval, _AGAIN_SECONDS * jitter(0.5))
            except Exception:
                logger.exception("a heartbeat failed; the next one follows")

    def _ping(self) -> None:
        """Ask the worker's loop for a sign of life."""
        self._worker.loop.call_soon_threadsafe(self._pong)

    def _pong(self) -> None:
        self._ponged = self._worker.clock.monotonic()

    @property
    def stalled_seconds(self) -> float:
        """For how long the worker's loop has not answered."""
        return self._worker.clock.monotonic() - self._ponged

    def _look(self) -> None:
        """Notice a workflow whose code blocks the loop in one callback."""
        driver = self._worker.stepping
        if driver is None or self.stalled_seconds < BLOCKED_SECONDS:
            self._stuck.clear()
            return
        run_id = driver.claim.id
        if run_id not in self._stuck:
            frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
            frame = frames.get(self._loop_thread)
            stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
            self._stuck[run_id] = stack
            logger.error("WorkflowStuck: run %s blocks its worker's loop\n%s", run_id, stack)

    async def _heartbeat(self) -> bool:
        """Answers whether the next one has time."""
        if self.stalled_seconds > self._stall_limit:
            logger.error(
                "the worker's loop has not answered for %.0f s: its leases are left to end",
                self.stalled_seconds,
            )
            return True
        try:
            await self.beat()
        except NotFound:
            self._worker.from_thread(self._worker.register_again)
        except AikiError as error:
            self._worker.trouble.meet("a heartbeat", error)
            return False
        else:
            self._worker.trouble.end()
        return True

    async def beat(self) -> None:
        """One heartbeat for all runs."""
        worker = self._worker
        as_of = worker.now()
        claiming = tuple(worker.claiming.copy())
        held = tuple(Holding(run_id, epoch) for run_id, epoch in worker.held().items())
        answer = await self._api.call(
            Heartbeat(
                incarnation=worker.incarnation,
                held=held,
                claiming=claiming,
                stuck=tuple(self._stuck),
                as_of=as_of,
            )
        )
        worker.from_thread(lambda: worker.learn_lost(answer.lost))
