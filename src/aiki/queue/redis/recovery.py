"""Recovery from dead workers: what they took and left alone is taken over, the oldest first."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from aiki.clock import Clock
from aiki.queue.pacing import divide
from aiki.queue.redis.command import Refusal
from aiki.queue.redis.connection import Connection
from aiki.queue.redis.options import RedisOptions
from aiki.queue.redis.stream import Entry, Pending, Stream, entries, pending_of

logger = logging.getLogger("aiki.queue")


class Recovery:
    """Looks for messages that a live worker would have refreshed or settled.

    The server decides about their runs as about any others: whoever is merely slow keeps its run.
    """

    def __init__(self, connection: Connection, options: RedisOptions, clock: Clock) -> None:
        self._connection = connection
        self._options = options
        self._clock = clock
        self._looked_at: float | None = None

    def look_soon(self) -> None:
        """Something was given back that whoever has room may take."""
        self._looked_at = None

    async def take(
        self, consumer: str, streams: Sequence[Stream], room: int
    ) -> list[tuple[Stream, Entry]]:
        """Up to so many messages, now this consumer's; none unless it is time to look."""
        now = self._clock.monotonic()
        pause = self._options.claim_interval_ms / 1000
        if not streams or (self._looked_at is not None and now - self._looked_at < pause):
            return []
        self._looked_at = now
        idle_ms = self._options.claim_min_idle_time_ms
        answers = await self._connection.each_answered(
            [stream.pending(idle_ms, room + 1) for stream in streams]
        )
        left = {
            stream: found
            for stream, answer in zip(streams, answers, strict=True)
            if (found := _left_by_others(answer, consumer))
        }
        taken = await self._claim(consumer, left, room) if left else []
        await self._bury(consumer, streams)
        return taken

    async def _claim(
        self, consumer: str, left: dict[Stream, list[Pending]], room: int
    ) -> list[tuple[Stream, Entry]]:
        idle_ms = self._options.claim_min_idle_time_ms
        chosen = [(stream, left[stream][:count]) for stream, count in divide(room, list(left))]
        answers = await self._connection.each_answered(
            [stream.claim(consumer, idle_ms, [each.id for each in some]) for stream, some in chosen]
        )
        taken: list[tuple[Stream, Entry]] = []
        for (stream, some), answer in zip(chosen, answers, strict=True):
            if isinstance(answer, Refusal):
                continue
            found = entries(answer)
            taken.extend((stream, entry) for entry in found)
            _tell(stream, some, {entry.id for entry in found})
        return taken

    async def _bury(self, consumer: str, streams: Sequence[Stream]) -> None:
        """Forget the dead whose messages are all taken; one script looks and removes."""
        idle_ms = self._options.claim_min_idle_time_ms
        answers = await self._connection.each_answered(
            [stream.bury(consumer, idle_ms) for stream in streams]
        )
        buried = sum(answer for answer in answers if isinstance(answer, int))
        if buried:
            logger.info("%d consumers that were dead and held nothing are removed", buried)


def _left_by_others(answer: object, consumer: str) -> list[Pending]:
    """Those of other consumers, the longest alone first."""
    if isinstance(answer, Refusal):
        return []
    others = [each for each in pending_of(answer) if each.consumer != consumer]
    return sorted(others, key=lambda each: -each.idle_ms)


def _tell(stream: Stream, asked: Sequence[Pending], taken: set[str]) -> None:
    for each in asked:
        if each.id in taken:
            logger.info(
                "message %s of %s is taken over from %s, which left it alone for %d ms "
                "(%d deliveries)",
                each.id,
                stream.key,
                each.consumer,
                each.idle_ms,
                each.deliveries,
            )
