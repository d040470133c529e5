"""The service: what all endpoints of one server share, and how they have operations answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

from aiki.engine.engine import Engine
from aiki.errors import AikiError
from aiki.model.audit import Principal
from aiki.operations.base import Operation
from aiki.operations.work import LeaveWorker
from aiki.server.access import Access
from aiki.server.bundle import Bundle, waits, with_waits
from aiki.server.exchange import Exchange, Gone, first_of
from aiki.server.rooms import Rooms
from aiki.server.settings import ServerSettings
from aiki.wire.calls import Answer

R = TypeVar("R")


class Service:
    """An engine behind a front end that has limits, and that can be stopped."""

    def __init__(self, engine: Engine, settings: ServerSettings, access: Access) -> None:
        self.engine = engine
        self.settings = settings
        self.access = access
        self.rooms = Rooms(settings)
        self.closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done as soon as the server stops."""
        self.abandoned = 0
        """Requests whose clients left before they were answered."""
        self._farewells: dict[tuple[str, str], set[asyncio.Future[None]]] = {}

    @property
    def stopping(self) -> bool:
        """Whether the server stops: it waits for nothing any more."""
        return self.closing.done()

    def close(self) -> None:
        """Let everybody who waits be answered."""
        if not self.closing.done():
            self.closing.set_result(None)

    async def settle(
        self,
        exchange: Exchange,
        operations: Sequence[Operation[Any] | AikiError],
        principal: Principal,
    ) -> list[Answer]:
        """The answers to operations that are carried out together; raises `Gone`."""
        if any(map(waits, operations)):
            operations = with_waits(operations, self.settings.max_wait_ms)
            exchange.enter(self.rooms.waiting)
        bundle = Bundle(self.engine, principal, operations)
        for operation in operations:
            if type(operation) is LeaveWorker:
                self._part(principal.namespace, operation.incarnation)
        bundle.dispatch()
        if not bundle.waits:
            return await bundle.done
        return await self._await_waiting(exchange, bundle)

    async def _await_waiting(self, exchange: Exchange, bundle: Bundle) -> list[Answer]:
        """A client that leaves frees its place; a server that stops answers early."""
        gone = asyncio.get_running_loop().create_task(exchange.gone())
        try:
            await first_of(bundle.done, gone, self.closing)
            if not bundle.done.done():
                if gone.done():
                    self.abandoned += 1
                    bundle.withdraw()
                    raise Gone
                await bundle.hurry()
            return bundle.done.result()
        finally:
            gone.cancel()

    async def call(self, exchange: Exchange, operation: Operation[R], principal: Principal) -> R:
        """The answer to one operation; raises its error, or `Gone`."""
        ((result, error),) = await self.settle(exchange, [operation], principal)
        if error is not None:
            raise error
        answered: R = result
        return answered

    # Goodbyes

    def farewell(self, principal: Principal, incarnation: str) -> asyncio.Future[None]:
        """Done when this worker says goodbye at this server; to be dropped by `forget`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._farewells.setdefault((principal.namespace, incarnation), set()).add(future)
        return future

    def forget(
        self, principal: Principal, incarnation: str, farewell: asyncio.Future[None]
    ) -> None:
        """Nobody waits for this goodbye any more."""
        key = (principal.namespace, incarnation)
        waiting = self._farewells.get(key, set())
        waiting.discard(farewell)
        if not waiting:
            self._farewells.pop(key, None)

    def _part(self, namespace: str, incarnation: str) -> None:
        for future in self._farewells.get((namespace, incarnation), ()):
            if not future.done():
                future.set_result(None)
