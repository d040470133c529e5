"""A worker's session: a link to some server, opened anew whenever it ends, until the goodbye."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiki.clock import SYSTEM, Instant
from aiki.errors import AikiError
from aiki.operations.base import Operation
from aiki.operations.work import LeaveWorker, RegisterWorker
from aiki.queue.pacing import Pacing
from aiki.remote.grpc_channels import Channels
from aiki.remote.grpc_link import Link, LinkLost
from aiki.wire.proto.session import Hello

logger = logging.getLogger("aiki.remote")
_SHORTEST_PAUSE_MS = 50
_LONGEST_PAUSE_MS = 5_000
_FAREWELL_SECONDS = 2.0


class WorkerSession:
    """Keeps one incarnation connected."""

    def __init__(self, channels: Channels, registration: RegisterWorker) -> None:
        self._channels = channels
        self._registration = registration
        self._presence = 0
        self._left = False
        self._link: Link | None = None
        self._registered: asyncio.Future[Instant] = asyncio.get_running_loop().create_future()
        self._keeping: asyncio.Task[None] | None = None

    async def begin(self) -> Instant:
        """Register the worker; answers the database's instant, or raises why the try failed.

        Whatever became of the first try, the session is tried again until `end`.
        """
        self._keeping = asyncio.get_running_loop().create_task(self._keep())
        return await self._registered

    async def call(self, operation: Operation[Any]) -> Any:
        """The answer over the session. Raises `LinkLost` while there is none."""
        link = self._link
        if link is None or not link.usable:
            raise LinkLost(AikiError("no session is open"))
        answer = await link.call(operation)
        if isinstance(operation, LeaveWorker):
            self._left = True
        return answer

    async def end(self) -> None:
        """Open no other stream. After a goodbye the server ends the open one, else it is cut."""
        if self._keeping is None:
            return
        if self._left:
            await asyncio.wait([self._keeping], timeout=_FAREWELL_SECONDS)
        self._keeping.cancel()
        await asyncio.wait([self._keeping])

    async def _keep(self) -> None:
        pacing = Pacing(_SHORTEST_PAUSE_MS, _LONGEST_PAUSE_MS, spread=0.5)
        while True:
            try:
                error = await self._carry(pacing)
            except AikiError as refused:
                error = refused
            if self._left:
                return
            if not self._registered.done():
                self._registered.set_exception(error)
            logger.info("the session of %s: %s", self._registration.name, error)
            await asyncio.sleep(pacing.pause_ms() / 1000)
            pacing.empty()

    async def _carry(self, pacing: Pacing) -> AikiError:
        """One link from its hello to its end; answers why it ended."""
        server, call = self._channels.stream()
        link = Link(call, server.url, self._channels.settings)
        self._presence = max(self._presence + 1, SYSTEM.wall())
        hello = Hello(registration=self._registration, presence=self._presence)
        try:
            welcome = await link.greet(hello)
            self._channels.use(server)
            self._link = link
            pacing.found()
            if not self._registered.done():
                self._registered.set_result(welcome.now)
            error = await link.ended()
            await link.finish()
        except LinkLost as lost:
            error = lost.error
        finally:
            self._link = None
            await link.cut()
        if not self._left:
            server.failed()
        return error
