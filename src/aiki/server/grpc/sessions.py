"""Sessions: the streams of the workers that are connected here, one for each incarnation.

A session that ends makes its worker suspect, unless the worker said goodbye, a later session of it
is open, or the server itself stops.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from aiki.clock import SYSTEM, Instant
from aiki.engine.engine import Engine
from aiki.engine.workers import SeeWorker, SuspectWorker
from aiki.errors import AikiError, InvalidRequest, InvalidTransition
from aiki.model.audit import Principal
from aiki.server.grpc.admission import Admission
from aiki.server.grpc.refusals import Context, abort
from aiki.server.grpc.session import End, Session
from aiki.server.grpc.settings import GrpcSettings
from aiki.wire.proto.convert import parse
from aiki.wire.proto.session import Hello, SessionRequest

logger = logging.getLogger("aiki.server")


class Sessions:
    """Every open session of one server, by namespace and incarnation."""

    def __init__(self, engine: Engine, admission: Admission, settings: GrpcSettings) -> None:
        self._engine = engine
        self._admission = admission
        self._settings = settings
        self._open: dict[tuple[str, str], Session] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def serve(self, context: Context) -> None:
        """One worker's stream, from its hello to its end."""
        try:
            principal = self._admission.admit(context, SeeWorker.role).principal
            with self._admission.sessions.place():
                session, number, now = await self._welcome(context, principal)
                await self._carry(session, number, now)
        except asyncio.CancelledError:
            # The worker has gone. gRPC would log the cancellation as an error.
            return
        except Exception as error:
            await abort(context, error)

    async def _welcome(
        self, context: Context, principal: Principal
    ) -> tuple[Session, int, Instant]:
        number, hello = await _read_hello(context)
        incarnation = hello.registration.incarnation
        presence = hello.presence or SYSTEM.wall()
        earlier = self._open.get((principal.namespace, incarnation))
        if earlier is not None and earlier.presence > presence:
            raise InvalidTransition(f"worker {incarnation} has a later session here")
        session = Session(
            context,
            self._engine,
            hello,
            principal=principal,
            presence=presence,
            settings=self._settings,
        )
        api = self._engine.session(principal)
        now = await api.call(hello.registration)
        await api.call(SeeWorker(incarnation=incarnation, presence=presence))
        self._replace(session)
        return session, number, now

    def _replace(self, session: Session) -> None:
        """From now on this is the worker's session here; an earlier one ends."""
        earlier, self._open[session.worker] = self._open.get(session.worker), session
        if earlier is not None:
            earlier.end(End.REPLACED)

    async def _carry(self, session: Session, number: int, now: Instant) -> None:
        if self._stopping:
            session.drain()
        try:
            await session.run(number, now)
        finally:
            is_last = self._open.get(session.worker) is session
            if is_last:
                del self._open[session.worker]
            suspect = is_last and session.ended is End.BROKEN and not self._stopping
            self._spawn(self._tidy(session, suspect=suspect))
        if session.ended is End.REPLACED:
            raise InvalidTransition(f"worker {session.incarnation} opened a later session")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """In a task of its own: the call of the stream is over."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tidy(self, session: Session, *, suspect: bool) -> None:
        await session.withdraw()
        if not suspect:
            return
        operation = SuspectWorker(incarnation=session.incarnation, presence=session.presence)
        try:
            await self._engine.session(session.principal).call(operation)
        except AikiError as error:
            logger.warning(
                "worker %s may be lost, its lease will tell: %s", session.incarnation, error
            )

    def part(self, namespace: str, incarnation: str) -> None:
        """The worker said goodbye by a call of its own."""
        session = self._open.get((namespace, incarnation))
        if session is not None:
            session.end(End.LEFT)

    def drain(self) -> None:
        """The server stops: tell every worker, and answer what waits."""
        self._stopping = True
        for session in list(self._open.values()):
            session.drain()

    async def settle(self) -> None:
        """Wait until what was begun here is written down."""
        await asyncio.gather(*self._tasks)


async def _read_hello(context: Context) -> tuple[int, Hello]:
    data = await context.read()
    if not isinstance(data, bytes):
        raise InvalidRequest("the session ended before its hello")
    first = parse(SessionRequest, data)
    if not isinstance(first.request, Hello):
        raise InvalidRequest("a session begins with a hello")
    return first.number, first.request
