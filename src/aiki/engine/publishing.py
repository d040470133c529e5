"""Publishing: ready runs announced at a broker, and announced again where the message is gone.

The outbox in the database is the truth. What a transaction made ready is announced right after its
commit, and where it went is noted later, many at a time: a crash in between costs a second message,
which is harmless. What was never noted, because a server died or the broker was away, is found in
the outbox.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import msgspec

from aiki.engine.batch import Batch
from aiki.errors import AikiError, QueueUnavailable
from aiki.model.audit import Principal
from aiki.operations.base import Operation, Role
from aiki.queue.breaker import CircuitBreaker
from aiki.queue.message import Message, Queue
from aiki.queue.publisher import Publication, Published, Publisher
from aiki.store.protocol import Announcement, Place, Transaction

if TYPE_CHECKING:
    from aiki.engine.engine import Engine

logger = logging.getLogger("aiki.engine")
AT_ONCE = 500
EXAMINED = 5_000
"""Rows of the outbox that one look for what was not announced may cost."""
_NOTE_SECONDS = 0.2
_BURST_SECONDS = 0.05
_REPAIR_AFTER_MS = 2_000
"""Whoever made a run ready has so long to announce it."""
_VERIFY_AFTER_MS = 5_000
_LONGEST_BACKLOG = 10_000
"""Announcements kept in memory; the outbox knows the others."""


class NotePublished(Operation[int], frozen=True, kw_only=True):
    """Keep where ready runs were announced. Sent by the publishing alone."""

    role: ClassVar[Role] = "admin"
    route: ClassVar[str] = ""
    mutates: ClassVar[bool] = True

    noted: tuple[tuple[Announcement, Place], ...]


async def prepare_note(operation: NotePublished, principal: Principal, batch: Batch) -> None:
    """Keep them; whatever is not ready any more is left out."""
    await batch.tx.note_published(operation.noted, await batch.tx.now())


def apply_note(operation: NotePublished, principal: Principal, batch: Batch) -> int:
    """Done before."""
    return len(operation.noted)


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
        self.announcing = True
        """Whether the broker took all that it was last told; workers poll until it does."""
        self._engine = engine
        self._publisher = publisher
        self._ready: deque[Announcement] = deque(maxlen=_LONGEST_BACKLOG)
        self._some_ready = asyncio.Event()
        self._noted: list[tuple[Announcement, Place]] = []
        self._repaired_to = ""
        self._verified_to = ""
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def name(self) -> str:
        """Of the broker's kind."""
        return self._publisher.name

    async def start(self) -> None:
        """Begin; a broker that is away is waited for."""
        try:
            await self._publisher.open()
        except QueueUnavailable as error:
            self._fail(error)
        settings = self._engine.settings
        loops: tuple[tuple[Callable[[], Awaitable[object]], float], ...] = (
            (self._publish_waiting, 0.0),
            (self._note, _NOTE_SECONDS),
            (self._repair_all, settings.republish_interval_ms / 5 / 1000),
            (self.verify, settings.republish_interval_ms / 1000),
            (self.sweep, settings.sweep_interval_ms / 1000),
        )
        for run_once, pause in loops:
            self._tasks.append(asyncio.create_task(self._loop(run_once, pause)))

    async def stop(self) -> None:
        """Announce nothing more; what is not announced is found in the outbox by others."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._publisher.close()

    def tell(self, batch: Batch) -> None:
        """A batch was committed: announce what it left ready."""
        for announcement in batch.announcements():
            self._ready.append(announcement)
        if self._ready:
            self._some_ready.set()

    async def _loop(self, run_once: Callable[[], Awaitable[object]], pause: float) -> None:
        while True:
            if pause:
                await asyncio.sleep(pause)
            try:
                if not self.breaker.allows():
                    await asyncio.sleep(self.breaker.remaining_ms() / 1000)
                await run_once()
            except QueueUnavailable as error:
                self._fail(error)
            except AikiError as error:
                logger.warning("publishing failed and goes on: %s", error)
                await asyncio.sleep(1.0)
            except Exception:
                logger.exception("publishing failed and goes on")
                await asyncio.sleep(1.0)

    def _fail(self, error: QueueUnavailable) -> None:
        if not self.breaker.is_open:
            logger.warning("the broker is away; workers poll, the outbox keeps the rest: %s", error)
        self.breaker.failed()

    def _succeed(self) -> None:
        if self.breaker.is_open:
            logger.warning("the broker is back")
            self._repaired_to = ""
        self.breaker.succeeded()

    async def _publish_waiting(self) -> None:
        await self._some_ready.wait()
        self._some_ready.clear()
        while self._ready:
            some = [self._ready.popleft() for _ in range(min(AT_ONCE, len(self._ready)))]
            await self._publish(some)

    async def _publish(self, announcements: Sequence[Announcement]) -> None:
        messages = [_message(each) for each in announcements]
        try:
            places = await self._publisher.publish(messages)
        except QueueUnavailable:
            self._let_know(announcing=False)
            raise
        self._let_know(announcing=True)
        self._succeed()
        self.counts.published += len(announcements)
        self._noted.extend(
            (announcement, Place(place.entry, place.incarnation))
            for announcement, place in zip(announcements, places, strict=True)
        )

    def _let_know(self, *, announcing: bool) -> None:
        """Tell the workers, who may reach the broker all the while and hear nothing there."""
        if self.announcing is not announcing:
            self.announcing = announcing
            self._engine.news.refresh()

    async def _note(self) -> None:
        """Note where messages went, unless their runs were claimed meanwhile."""
        noted, self._noted = self._noted, []
        for start in range(0, len(noted), AT_ONCE):
            operation = NotePublished(noted=tuple(noted[start : start + AT_ONCE]))
            await self._engine.session(_PUBLISHER).call(operation)

    async def _repair_all(self) -> None:
        """After an outage there are many: not all at once, but not one page a second either."""
        found = await self.repair()
        while found and self._repaired_to:
            await asyncio.sleep(_BURST_SECONDS)
            found = await self.repair()

    async def repair(self) -> int:
        """Announce what nobody is known to have announced. Answers how many.

        Each call looks at the next part of the outbox, so that none costs more where more waits.
        """
        await self._note()
        after = self._repaired_to

        async def look(tx: Transaction) -> tuple[list[Announcement], str | None]:
            return await tx.unpublished(after, await tx.now() - _REPAIR_AFTER_MS, EXAMINED)

        found, last = await self._engine.store.glance(look)
        for start in range(0, len(found), AT_ONCE):
            if start:
                await asyncio.sleep(_BURST_SECONDS)
            some = found[start : start + AT_ONCE]
            await self._publish(some)
            await self._note()
            self.counts.repaired += len(some)
        self._repaired_to = last or ""
        return len(found)

    async def verify(self) -> int:
        """Announce again what is provably gone. Answers how many.

        Each call looks at the next part of what was announced, so that a long queue costs no more
        than a short one; where anything is gone, at all that follows.
        """
        again = examined = 0
        while again or examined < EXAMINED or not self._publisher.one_look_proves:

            async def look(tx: Transaction) -> list[tuple[Announcement, Place]]:
                before = await tx.now() - _VERIFY_AFTER_MS
                return await tx.published(self._verified_to, before, AT_ONCE)

            found = await self._engine.store.glance(look)
            again += await self._verify(found) if found else 0
            examined += len(found)
            self._verified_to = found[-1][0].run_id if len(found) == AT_ONCE else ""
            if not self._verified_to:
                break
        return again

    async def _verify(self, found: Sequence[tuple[Announcement, Place]]) -> int:
        known = {announcement.run_id: announcement for announcement, _ in found}
        published = [
            Published(_message(a), Publication(place.entry, place.incarnation))
            for a, place in found
        ]
        gone = await self._publisher.missing(published)
        self._succeed()
        if gone:
            await self._publish([known[message.run_id] for message in gone])
            await self._note()
            self.counts.republished += len(gone)
        return len(gone)

    async def sweep(self) -> int:
        """Remove messages of runs that are neither ready nor executed. Answers how many."""

        async def live(ids: Sequence[str]) -> set[str]:
            return set(await self._engine.store.glance(lambda tx: tx.live_runs(ids)))

        swept = await self._publisher.sweep(live)
        self._succeed()
        self.counts.swept += swept
        await self._engine.session(_PUBLISHER).call(ForgetPublications())
        return swept


class ForgetPublications(Operation[int], frozen=True, kw_only=True):
    """Drop notes on runs that are not ready any more. Sent by the publishing alone."""

    role: ClassVar[Role] = "admin"
    route: ClassVar[str] = ""
    mutates: ClassVar[bool] = True


async def prepare_forget(operation: ForgetPublications, principal: Principal, batch: Batch) -> None:
    """Drop them."""
    await batch.tx.forget_publications()


def apply_forget(operation: ForgetPublications, principal: Principal, batch: Batch) -> int:
    """Done before."""
    return 0


_PUBLISHER = Principal(namespace="", name="publisher")


def _message(announcement: Announcement) -> Message:
    queue = Queue(announcement.namespace, announcement.workflow, announcement.shard)
    return Message(queue, announcement.version, announcement.run_id)
