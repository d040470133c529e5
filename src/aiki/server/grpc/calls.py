"""Unary calls: each operation's request parsed, carried out by the engine, and answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import msgspec

from aiki.engine.engine import Engine
from aiki.model.audit import Principal
from aiki.operations.base import OPERATIONS, Operation
from aiki.operations.work import ClaimRuns, LeaveWorker
from aiki.server.bundle import Bundle, waits
from aiki.server.grpc.admission import Admission
from aiki.server.grpc.completion import completed
from aiki.server.grpc.refusals import Context, abort
from aiki.server.grpc.sessions import Sessions
from aiki.wire.proto.convert import encode_answer, parse

Behaviour = Callable[[bytes, Context], Awaitable[bytes]]
_MARGIN_SECONDS = 0.1
"""An answer leaves this long before the caller's deadline, or in its last tenth."""


class Calls:
    """Answers the calls of one server."""

    def __init__(self, engine: Engine, admission: Admission, sessions: Sessions) -> None:
        self._engine = engine
        self._admission = admission
        self._sessions = sessions
        self._closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._withdrawals: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Answer early whatever waits, and let nothing wait from now on."""
        if not self._closing.done():
            self._closing.set_result(None)

    async def settle(self) -> None:
        """Wait until the claims of those who left are withdrawn."""
        await asyncio.gather(*self._withdrawals)

    def behaviours(self) -> dict[str, Behaviour]:
        """How each operation is answered, by its name."""
        return {name: self._behaviour(kind) for name, kind in OPERATIONS.items()}

    def _behaviour(self, kind: type[Operation[Any]]) -> Behaviour:
        async def answer(data: bytes, context: Context) -> bytes:
            try:
                return await self._answer(kind, data, context)
            except asyncio.CancelledError:
                # The caller has gone. gRPC would log the cancellation as an error.
                return b""
            except Exception as error:
                await abort(context, error)

        return answer

    async def _answer(self, kind: type[Operation[Any]], data: bytes, context: Context) -> bytes:
        caller = self._admission.admit(context, kind.role)
        parsed = parse(kind, data)
        namespace = caller.principal.namespace
        operation = completed(parsed, namespace, caller.idempotency_key)
        if waits(operation):
            operation = self._bounded(operation, context.time_remaining())
        with ExitStack() as places:
            if waits(operation):
                places.enter_context(self._admission.waiting.place())
            elif not kind.urgent:
                places.enter_context(self._admission.calls.place())
            answer = await self._carry_out(operation, caller.principal)
        if isinstance(operation, LeaveWorker):
            self._sessions.part(namespace, operation.incarnation)
        return encode_answer(kind, answer).SerializeToString()

    def _bounded(
        self, operation: Operation[Any], remaining_seconds: float | None
    ) -> Operation[Any]:
        """The operation, waiting no longer than its caller does."""
        if self._closing.done():
            return msgspec.structs.replace(operation, wait_ms=0)
        if remaining_seconds is None:
            return operation
        margin = min(_MARGIN_SECONDS, remaining_seconds / 10)
        wait_ms = max(0, int((remaining_seconds - margin) * 1000))
        return msgspec.structs.replace(
            operation, wait_ms=min(wait_ms, getattr(operation, "wait_ms", 0))
        )

    async def _carry_out(self, operation: Operation[Any], principal: Principal) -> Any:
        bundle = Bundle(self._engine, principal, [operation])
        bundle.dispatch()
        if bundle.waits:
            try:
                either = (bundle.done, self._closing)
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                if isinstance(operation, ClaimRuns):
                    self._withdraw(bundle)
                raise
            if not bundle.done.done():
                await bundle.hurry()
        ((answer, error),) = await bundle.done
        if error is not None:
            raise error
        return answer

    def _withdraw(self, bundle: Bundle) -> None:
        """The caller has gone: its claim must not be granted anything any more."""
        task = asyncio.get_running_loop().create_task(bundle.hurry())
        self._withdrawals.add(task)
        task.add_done_callback(self._withdrawals.discard)
