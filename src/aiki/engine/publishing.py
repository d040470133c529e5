"""Publishing: ready runs announced at a broker, and announced again where the message is gone.

The outbox in the database is the truth. What a transaction made ready is announced right after its
commit by the server that committed it, and where it went is noted later, many at a time: a crash in
between costs a second message, which is harmless. What was never noted, because a server died or
the broker was away, is found in the outbox, by one server of all: a backlog is never multiplied.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import msgspec

from aiki import failpoints
from aiki.clock import SYSTEM
from aiki.ending import end_all
from aiki.engine.batch import Batch
from aiki.engine.duty import Duty
from aiki.engine.publications import ForgetPublications, NotePublished
from aiki.errors import AikiError, QueueUnavailable, ServiceError
from aiki.model.audit import Principal
from aiki.queue.breaker import CircuitBreaker
from aiki.queue.message import Message, Queue
from aiki.queue.publisher import NOWHERE, Publication, Published, Publisher
from aiki.store.protocol import Transaction, Work
from aiki.store.records import Announcement, Place

if TYPE_CHECKING:
    from aiki.engine.engine import Engine

logger = logging.getLogger("aiki.engine")
T = TypeVar("T")
RunOnce: TypeAlias = Callable[[], Awaitable[object]]
Found: TypeAlias = tuple[list[T], str]
"""What a look has found, and the run after which the next one begins."""
AT_ONCE = 500
EXAMINED = 5_000
"""Rows of the outbox that one look for what was not announced may cost."""
_NOTE_SECONDS = 0.2
_BURST_SECONDS = 0.05
_REPAIR_AFTER_MS = 2_000
"""Whoever made a run ready has so long to announce it, and to note that."""
_DIRECT_SECONDS = 1.0
"""What waited for longer is left to the repair, which may not know soon enough that it is told."""
_VERIFY_AFTER_MS = 5_000
_LONGEST_BACKLOG = 10_000
"""Announcements kept in memory; the outbox knows the others."""


class PublishingCounts(msgspec.Struct):
    """What happened so far in this process."""

    published: int = 0
    repaired: int = 0
    """Ready runs of which no broker was known to have been told."""
    republished: int = 0
    """Whose message was provably gone."""
    swept: int = 0
    """Messages removed because their runs were neither ready nor executed."""


class Publishing:
    """Announces what is ready, for as long as the engine runs."""

    def __init__(self, engine: Engine, publisher: Publisher) -> None:
        self.counts = PublishingCounts()
        self.breaker = CircuitBreaker()
        self._engine = engine
        self._publisher = publisher
        self._duty = Duty(engine.store, "publishing")
        self._ready: deque[tuple[float, Announcement]] = deque(maxlen=_LONGEST_BACKLOG)
        """What was committed here just now, and since when it waits."""
        self._some_ready = asyncio.Event()
        self._noted: deque[tuple[Announcement, Place]] = deque(maxlen=_LONGEST_BACKLOG)
        self._noting = asyncio.Lock()
        self._trying = asyncio.Lock()
        self._refused: set[Queue] = set()
        """Queues that the broker does not keep, although it keeps others."""
        self._known = True
        """What workers know of `announcing`."""
        self._repaired_to = ""
        self._verified_to = ""
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def name(self) -> str:
        """Of the broker's kind."""
        return self._publisher.name

    @property
    def announcing(self) -> bool:
        """Whether what becomes ready is announced at once; while it is not, workers poll."""
        return not (self.breaker.is_open or self._refused)

    async def start(self) -> None:
        """Begin; a broker that is away is waited for."""
        try:
            await self._publisher.open()
        except QueueUnavailable as error:
            self._fail(error)
        settings = self._engine.settings
        loops: tuple[tuple[RunOnce, float], ...] = (
            (self._publish_ready, 0.0),
            (self._note, _NOTE_SECONDS),
            (self._tried(self._repair_all), settings.republish_interval_ms / 5 / 1000),
            (self._tried(self.verify), settings.republish_interval_ms / 1000),
            (self._tried(self.sweep), settings.sweep_interval_ms / 1000),
        )
        for run_once, pause in loops:
            self._tasks.append(asyncio.create_task(self._loop(run_once, pause)))

    async def stop(self) -> None:
        """Announce nothing more; what is not announced is found in the outbox by others."""
        await end_all(self._tasks)
        with suppress(ServiceError):
            await self._duty.leave()
        await self._publisher.close()

    def tell(self, batch: Batch) -> None:
        """A batch was committed: announce what it left ready, unless the broker is away."""
        found = batch.announcements()
        if found and not self.breaker.is_open:
            now = SYSTEM.monotonic()
            self._ready.extend((now, announcement) for announcement in found)
            self._some_ready.set()

    # Trouble

    async def _loop(self, run_once: RunOnce, pause: float) -> None:
        while True:
            if pause:
                await asyncio.sleep(pause)
            try:
                await run_once()
            except QueueUnavailable as error:
                self._fail(error)
            except AikiError as error:
                logger.warning("publishing failed and goes on: %s", error)
                await asyncio.sleep(1.0)
            except Exception:
                logger.exception("publishing failed and goes on")
                await asyncio.sleep(1.0)

    def _tried(self, run_once: RunOnce) -> RunOnce:
        """The same, but of all that ask a broker that was away, one at a time tries it."""

        async def try_once() -> None:
            if self.breaker.is_open:
                async with self._trying:
                    if self.breaker.is_open:
                        await asyncio.sleep(self.breaker.remaining_ms() / 1000)
                        await self._publisher.ping()
                        await run_once()
                        self._succeed()
                        return
            await run_once()

        return try_once

    def _fail(self, error: QueueUnavailable) -> None:
        if not self.breaker.is_open:
            logger.warning("the broker is away; workers poll, the outbox keeps the rest: %s", error)
        self.breaker.failed()
        self._let_know()

    def _succeed(self) -> None:
        if self.breaker.is_open:
            logger.warning("the broker is back")
        self.breaker.succeeded()
        self._let_know()

    def _let_know(self) -> None:
        """Tell the workers, who may reach the broker all the while and hear nothing there."""
        if self._known is not self.announcing:
            self._known = self.announcing
            self._engine.news.refresh()

    # Announcing

    async def _publish_ready(self) -> None:
        """Announce what was committed here; what cannot be announced now is left to the repair."""
        await self._some_ready.wait()
        self._some_ready.clear()
        try:
            while self._ready:
                if some := self._next_ready():
                    failpoints.hit("after_commit_before_publish")
                    await self._publish(some)
        finally:
            self._ready.clear()

    def _next_ready(self) -> list[Announcement]:
        """Of the next page, what is not yet the repair's."""
        since = SYSTEM.monotonic() - _DIRECT_SECONDS
        some = [self._ready.popleft() for _ in range(min(AT_ONCE, len(self._ready)))]
        return [announcement for told_at, announcement in some if told_at >= since]

    async def _publish(self, announcements: Sequence[Announcement]) -> None:
        messages = [_message(each) for each in announcements]
        places = await self._publisher.publish(messages)
        for message, place in zip(messages, places, strict=True):
            (self._refused.add if place == NOWHERE else self._refused.discard)(message.queue)
        self._succeed()
        failpoints.hit("after_publish_before_note")
        self.counts.published += len(announcements)
        self._noted.extend(
            (announcement, Place(place.entry, place.incarnation))
            for announcement, place in zip(announcements, places, strict=True)
        )

    async def _note(self) -> None:
        """Note where messages went, unless their runs were claimed meanwhile."""
        async with self._noting:
            while self._noted:
                some = [self._noted.popleft() for _ in range(min(AT_ONCE, len(self._noted)))]
                try:
                    await self._engine.session(_PUBLISHER).call(NotePublished(noted=tuple(some)))
                except (ServiceError, asyncio.CancelledError):
                    # What is forgotten here is announced twice.
                    self._noted.extendleft(reversed(some))
                    raise

    # Duties: of all servers, one repairs, verifies and sweeps

    async def _repair_all(self) -> None:
        """After an outage there are many: not all at once, but not one look a second either."""
        found = await self.repair()
        while found and self._repaired_to:
            await asyncio.sleep(_BURST_SECONDS)
            found = await self.repair()

    async def repair(self) -> int:
        """Announce what nobody is known to have announced. Answers how many.

        Each call looks at the next part of the outbox, so that none costs more where more waits.
        """
        after = self._repaired_to

        async def look(tx: Transaction) -> Found[Announcement]:
            before = await tx.now() - _REPAIR_AFTER_MS
            found, last = await tx.unpublished(after, before, EXAMINED)
            return found, last or ""

        found, last = await self._look(look)
        for start in range(0, len(found), AT_ONCE):
            if start:
                await asyncio.sleep(_BURST_SECONDS)
                if not await self._duty.keep():
                    return start
            some = found[start : start + AT_ONCE]
            await self._publish(some)
            await self._note()
            self.counts.repaired += len(some)
        self._repaired_to = last
        return len(found)

    async def verify(self) -> int:
        """Announce again what is provably gone. Answers how many.

        Each call looks at the next part of what was announced, so that a long queue costs no more
        than a short one; where anything is gone, at all that follows.
        """
        again = examined = 0
        while again or examined < EXAMINED or not self._publisher.one_look_proves:

            async def look(tx: Transaction) -> Found[tuple[Announcement, Place]]:
                before = await tx.now() - _VERIFY_AFTER_MS
                found = await tx.published(self._verified_to, before, AT_ONCE)
                return found, found[-1][0].run_id if len(found) == AT_ONCE else ""

            found, self._verified_to = await self._look(look)
            gone = await self._verify(found) if found else 0
            again += gone
            examined += len(found)
            if not self._verified_to or not await self._duty.keep():
                break
            if gone:
                await asyncio.sleep(_BURST_SECONDS)
        return again

    async def _look(self, look: Work[Found[T]]) -> Found[T]:
        """What there is to do, if it is this server that does it."""
        await self._note()
        found, last = await self._engine.store.glance(look)
        if not found or self._duty.is_held:
            return found, last
        # Whoever had the duty until now may have done it since.
        return await self._engine.store.glance(look) if await self._duty.take() else ([], "")

    async def _verify(self, found: Sequence[tuple[Announcement, Place]]) -> int:
        known = {announcement.run_id: announcement for announcement, _ in found}
        published = [
            Published(_message(a), Publication(place.entry, place.incarnation))
            for a, place in found
        ]
        gone = await self._publisher.missing(published)
        if gone:
            await self._publish([known[message.run_id] for message in gone])
            await self._note()
            self.counts.republished += len(gone)
        return len(gone)

    async def sweep(self) -> int:
        """Remove messages of runs that are neither ready nor executed. Answers how many."""
        # Whether these are still refused is found out by the next message.
        self._refused.clear()
        if not await self._duty.take():
            return 0

        async def live(ids: Sequence[str]) -> set[str]:
            return set(await self._engine.store.glance(lambda tx: tx.live_runs(ids)))

        swept = found = await self._publisher.sweep(live)
        while found >= EXAMINED and await self._duty.keep():
            # Where so many were found, there may be as many again.
            await asyncio.sleep(_BURST_SECONDS)
            found = await self._publisher.sweep(live)
            swept += found
        self.counts.swept += swept
        await self._engine.session(_PUBLISHER).call(ForgetPublications())
        return swept


_PUBLISHER = Principal(namespace="", name="publisher")


def _message(announcement: Announcement) -> Message:
    queue = Queue(announcement.namespace, announcement.workflow, announcement.shard)
    return Message(queue, announcement.version, announcement.run_id)
