"""A session: what one worker's stream brings is carried out, and what happens is pushed to it.

Everything goes through the operations that unary calls send too. Both directions are bounded: the
peer's requests are read only while there is room for them, and what is pushed waits for the peer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from enum import Enum, auto
from typing import Any

import msgspec

from aiki.clock import Instant
from aiki.engine.engine import Engine
from aiki.errors import InvalidRequest, LimitExceeded, ServiceError
from aiki.ids import new_id
from aiki.model.audit import Principal
from aiki.operations.base import Api, Operation
from aiki.operations.work import (
    ClaimRuns,
    Claims,
    Heartbeat,
    LeaveWorker,
    Listen,
    Offer,
    Report,
)
from aiki.server.grpc.refusals import Context, refused
from aiki.server.grpc.settings import GrpcSettings
from aiki.wire.proto.convert import encode, parse
from aiki.wire.proto.session import (
    Credits,
    Drain,
    Hello,
    Left,
    Refusal,
    SessionRequest,
    SessionResponse,
    Welcome,
)

logger = logging.getLogger("aiki.server")
_LONGEST_WAIT_MS = 60_000
_AGAIN_SECONDS = 0.05
"""A claim that is being looked after can be withdrawn only when it waits again."""
_LISTEN_AGAIN_SECONDS = 1.0


class End(Enum):
    """How a session ended."""

    LEFT = auto()
    """The worker said goodbye."""
    REPLACED = auto()
    """The worker opened a later session."""
    BROKEN = auto()
    """The stream ended, and nobody knows why."""


class Session:
    """One worker's stream after its hello."""

    def __init__(
        self,
        context: Context,
        engine: Engine,
        hello: Hello,
        *,
        principal: Principal,
        presence: int,
        settings: GrpcSettings,
    ) -> None:
        self.principal = principal
        self.presence = presence
        self.incarnation = hello.registration.incarnation
        self._context = context
        self._engine = engine
        self._api: Api = engine.session(principal)
        self._offers = tuple(
            Offer(spec.name, spec.version, spec.fingerprint)
            for spec in hello.registration.workflows
        )
        self._shards = hello.registration.shards
        self._settings = settings
        self._room = asyncio.Semaphore(settings.session_requests)
        self._queue: asyncio.Queue[SessionResponse] = asyncio.Queue(settings.session_queue)
        self._claims: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._over: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._claiming_ended = False

    @property
    def worker(self) -> tuple[str, str]:
        """Namespace and incarnation."""
        return self.principal.namespace, self.incarnation

    # Life

    async def run(self, number: int, now: Instant) -> None:
        """Welcome the worker, and carry the stream until it ends."""
        try:
            await self._push(number, Welcome(now, self.presence))
            writing = self._spawn(self._write())
            self._spawn(self._read())
            self._spawn(self._listen())
            if await self._over is End.LEFT:
                await self._written(writing)
        finally:
            self.end(End.BROKEN)
            for task in self._tasks:
                task.cancel()
            while not self._queue.empty():
                # Nobody reads it any more; whoever waits to put something in may go on.
                self._queue.get_nowait()

    def end(self, how: End) -> None:
        """End the stream; the first reason counts."""
        if not self._over.done():
            self._over.set_result(how)

    @property
    def ended(self) -> End:
        """How the session ended, after `run`."""
        return self._over.result()

    async def _written(self, writing: asyncio.Task[None]) -> None:
        """Wait until the peer was given everything, or is gone."""
        flushed = asyncio.ensure_future(self._queue.join())
        await asyncio.wait((flushed, writing), return_when=asyncio.FIRST_COMPLETED)
        flushed.cancel()

    def drain(self) -> None:
        """The server stops: say so, and answer the credits, so that nothing is granted unheard."""
        self._spawn(self._push(0, Drain()))
        self._spawn(self.withdraw())

    async def withdraw(self) -> None:
        """End the waiting of all credits: what is granted to nobody's ear helps nobody.

        Returns when they are answered.
        """
        self._claiming_ended = True
        while self._claims:
            self._engine.claims.withdraw(self.incarnation, self.principal.namespace)
            await asyncio.wait(self._claims, timeout=_AGAIN_SECONDS)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # From the server to the worker

    async def _push(self, number: int, response: Any) -> None:
        """Queue a response; waits while the peer reads nothing."""
        await self._queue.put(SessionResponse(number, response))

    async def _write(self) -> None:
        try:
            while True:
                response = await self._queue.get()
                await self._context.write(encode(response).SerializeToString())
                self._queue.task_done()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            logger.info("worker %s: its stream broke: %r", self.incarnation, error)
            self.end(End.BROKEN)

    async def _listen(self) -> None:
        """Push news about the worker's runs; what comes while the peer is slow comes together."""
        cursor = 0
        while True:
            listen = Listen(incarnation=self.incarnation, cursor=cursor, wait_ms=_LONGEST_WAIT_MS)
            try:
                news = await self._api.call(listen)
            except ServiceError as error:
                logger.warning("worker %s: news cannot be read: %s", self.incarnation, error)
                await asyncio.sleep(_LISTEN_AGAIN_SECONDS)
                continue
            if news.cursor != cursor:
                cursor = news.cursor
                await self._push(0, news)

    # From the worker to the server

    async def _read(self) -> None:
        try:
            while isinstance(data := await self._context.read(), bytes):
                await self._take(parse(SessionRequest, data))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            logger.info("worker %s: its stream cannot be read: %r", self.incarnation, error)
        self.end(End.BROKEN)

    async def _take(self, request: SessionRequest) -> None:
        """Begin to carry out a request; waits while too many are under way."""
        match request.request:
            case Credits() as room if len(self._claims) < self._settings.session_credits:
                claim = asyncio.get_running_loop().create_task(
                    self._answer(request.number, self._claim(room))
                )
                self._claims.add(claim)
                claim.add_done_callback(self._claims.discard)
            case Report() | Heartbeat() | LeaveWorker() as operation:
                await self._room.acquire()
                call = self._spawn(self._answer(request.number, self._call(operation)))
                call.add_done_callback(lambda _: self._room.release())
            case Credits():
                most = self._settings.session_credits
                refusal = LimitExceeded(f"{most} requests for runs are open, as many as may be")
                await self._push(request.number, _refusal(refusal))
            case Hello():
                await self._push(request.number, _refusal(InvalidRequest("one hello is enough")))

    async def _answer(self, number: int, work: Coroutine[Any, Any, Any]) -> None:
        try:
            answer = await work
        except Exception as error:
            answer = _refusal(error)
        if not self._over.done():
            await self._push(number, answer)
        if isinstance(answer, Left):
            self.end(End.LEFT)

    async def _call(self, operation: Operation[Any]) -> Any:
        given: str = getattr(operation, "incarnation", "")
        if given not in ("", self.incarnation):
            raise InvalidRequest(f"this session is of worker {self.incarnation}, not of {given}")
        whole = msgspec.structs.replace(operation, incarnation=self.incarnation)
        if isinstance(operation, LeaveWorker) or getattr(operation, "draining", False):
            self._claiming_ended = True
        answer = await self._api.call(whole)
        return Left(answer) if isinstance(operation, LeaveWorker) else answer

    async def _claim(self, room: Credits) -> Claims:
        """Wait for runs; credits without an end stand until they are used."""
        wait_ms = _LONGEST_WAIT_MS if room.wait_ms is None else room.wait_ms
        operation = ClaimRuns(
            claim_id=room.claim_id or new_id(),
            incarnation=self.incarnation,
            offers=room.offers or self._offers,
            limit=room.limit,
            shards=room.shards or self._shards,
            wait_ms=wait_ms,
            idle=room.idle,
            hints=room.hints,
        )
        claims = Claims()
        while not self._claiming_ended:
            claims = await self._api.call(operation)
            if claims.runs or claims.alone_waiting or room.wait_ms is not None:
                break
        return claims


def _refusal(error: Exception) -> Refusal:
    told = refused(error)
    return Refusal(told.name, told.message)
