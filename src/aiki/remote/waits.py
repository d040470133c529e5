"""Waits: calls that the server may hold, each in a request of its own while there is room.

Calls beyond that ask again and again without waiting, all of them together in bundles, with pauses
that grow while nothing happens; as soon as there is room, the next one waits at the server.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, TypeVar, cast

import msgspec

from aiki.clock import SYSTEM
from aiki.model.run import RunResult
from aiki.operations.base import Operation
from aiki.operations.catalog import Changes, GetChanges
from aiki.operations.runs import GetRun
from aiki.operations.work import ClaimRuns, Claims, Listen, WorkerNews
from aiki.queue.pacing import Pacing
from aiki.remote.lane import Lane

R = TypeVar("R")
_SHORTEST_PAUSE_MS = 20
_LONGEST_PAUSE_MS = 1_000
_REST = 3
"""At most one part in this and one of the time is spent on asking."""


class Waits:
    """The calls of one kind that wait."""

    def __init__(self, waiting: Lane, asking: Lane, longest_wait_ms: int) -> None:
        self._waiting = waiting
        self._asking = asking
        self._longest_wait_ms = longest_wait_ms
        self._pacing = Pacing(_SHORTEST_PAUSE_MS, _LONGEST_PAUSE_MS)
        self._paused: deque[asyncio.Future[None]] = deque()
        self._round: asyncio.TimerHandle | None = None
        self._found = False
        self._took_seconds = 0.0

    async def call(self, operation: Operation[R], wait_ms: int) -> R:
        """Answer as soon as there is what the call waits for, or after a time that it allows."""
        end = SYSTEM.monotonic() + wait_ms / 1000
        while True:
            remaining_ms = round((end - SYSTEM.monotonic()) * 1000)
            if self._waiting.room > 0 and remaining_ms > 0:
                return await self._wait(operation, min(remaining_ms, self._longest_wait_ms))
            answer = await self._ask(operation)
            if _is_it(operation, answer):
                self._found = True
                return answer
            if SYSTEM.monotonic() >= end:
                return answer
            await self._pause(end)

    async def _wait(self, operation: Operation[R], wait_ms: int) -> R:
        try:
            return await self._waiting.call(_waiting_for(operation, wait_ms))
        finally:
            self._wake_one()

    async def _ask(self, operation: Operation[R]) -> R:
        begun = SYSTEM.monotonic()
        try:
            return await self._asking.call(_waiting_for(operation, 0))
        finally:
            self._took_seconds = SYSTEM.monotonic() - begun

    async def _pause(self, end: float) -> None:
        """Until the next round, or until there is room at the server."""
        loop = asyncio.get_running_loop()
        if self._round is None:
            if self._found:
                self._pacing.found()
            else:
                self._pacing.empty()
            self._found = False
            seconds = max(self._pacing.pause_ms() / 1000, self._took_seconds * _REST)
            seconds = min(seconds, max(0.0, end - SYSTEM.monotonic()))
            self._round = loop.call_later(seconds, self._wake_all)
        woken = loop.create_future()
        self._paused.append(woken)
        await woken

    def _wake_all(self) -> None:
        self._round = None
        while self._paused:
            self._wake_one()

    def _wake_one(self) -> None:
        while self._paused:
            woken = self._paused.popleft()
            if not woken.done():
                return woken.set_result(None)

    def close(self) -> None:
        """Nobody pauses any more."""
        if self._round is not None:
            self._round.cancel()
        self._wake_all()


def wait_of(operation: Operation[Any]) -> int:
    """For how many milliseconds the server may hold the call."""
    wait_ms: int = getattr(operation, "wait_ms", 0)
    return wait_ms


def _waiting_for(operation: Operation[R], wait_ms: int) -> Operation[R]:
    return msgspec.structs.replace(operation, wait_ms=wait_ms)


def _is_it(operation: Operation[Any], answer: object) -> bool:
    """Whether the answer is what the call waits for."""
    match operation:
        case GetRun(after_revision=None):
            return cast("RunResult", answer).ended
        case GetRun(after_revision=int(revision)):
            result = cast("RunResult", answer)
            return result.ended or result.run.revision > revision
        case ClaimRuns():
            claims = cast("Claims", answer)
            return bool(claims.runs) or claims.alone_waiting
        case Listen(cursor=cursor):
            return cast("WorkerNews", answer).cursor != cursor
        case GetChanges(cursor=since):
            return any(change.at > (since or 0) for change in cast("Changes", answer).changes)
        case _:
            return True
