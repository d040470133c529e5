"""A lane: calls that are made together, or while enough requests are under way, leave together.

No call is held back by a timer: as long as a request may leave, it leaves at the end of the loop's
turn, with all that was called in that turn.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from aiki.clock import SYSTEM
from aiki.errors import AikiError, Closed, InvalidRequest, LimitExceeded, ServerUnreachable
from aiki.operations.base import Operation
from aiki.wire.calls import CALLS_IN_ONE, Answer, encode_calls

R = TypeVar("R")
Deliver = Callable[[Sequence[Operation[Any]], bytes], Awaitable[list[Answer]]]
_Unencodable = (UnicodeEncodeError, OverflowError, TypeError, ValueError, RecursionError)


class _Call:
    """One call, from being made to its answer."""

    __slots__ = ("bundle", "future", "operation", "since")

    def __init__(self, operation: Operation[Any]) -> None:
        self.operation = operation
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.since = SYSTEM.monotonic()
        self.bundle: _Bundle | None = None

    def answer(self, result: Any, error: BaseException | None) -> None:
        """Answer it, unless nobody waits any more."""
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class _Bundle:
    """The calls of one request."""

    def __init__(self, calls: list[_Call], message: bytes) -> None:
        self.calls = calls
        self.message = message
        self.sending: asyncio.Task[None] | None = None
        for call in calls:
            call.bundle = self

    def leave(self) -> None:
        """A caller gave up: when nobody waits, nothing is sent or waited for."""
        if self.sending is not None and all(call.future.done() for call in self.calls):
            self.sending.cancel()

    def fail(self, error: BaseException) -> None:
        """Every call gets an error of its own: each is raised somewhere else."""
        for call in self.calls:
            call.answer(None, copy.copy(error) if isinstance(error, AikiError) else error)


class Lane:
    """Sends calls in requests of which a few are under way at once."""

    def __init__(
        self,
        deliver: Deliver,
        *,
        requests: int,
        message_bytes: int,
        patience_seconds: float,
        calls_in_one: int = CALLS_IN_ONE,
    ) -> None:
        self._deliver = deliver
        self._requests = requests
        self._message_bytes = message_bytes
        self._patience_seconds = patience_seconds
        self._calls_in_one = calls_in_one
        self._queue: deque[_Call] = deque()
        self._scheduled = False
        self._closed = False
        self._sending: set[asyncio.Task[None]] = set()

    @property
    def room(self) -> int:
        """How many more calls may leave in requests of their own."""
        return self._requests - len(self._sending) - len(self._queue)

    async def call(self, operation: Operation[R]) -> R:
        """The answer to one call."""
        if self._closed:
            raise _closed()
        call = _Call(operation)
        self._queue.append(call)
        self._schedule()
        try:
            answer: R = await call.future
        except asyncio.CancelledError:
            if call.bundle is not None:
                call.bundle.leave()
            raise
        return answer

    def shut(self) -> None:
        """Take no more calls."""
        self._closed = True

    async def drain(self) -> None:
        """Return when all that was called is answered."""
        while self._queue or self._sending:
            if self._sending:
                await asyncio.wait(self._sending)
            else:
                await asyncio.sleep(0)

    async def abort(self) -> None:
        """Answer all that was called with `Closed`."""
        while self._queue:
            self._queue.popleft().answer(None, _closed())
        for task in self._sending:
            task.cancel()
        if self._sending:
            await asyncio.wait(self._sending)

    def _schedule(self) -> None:
        if self._queue and not self._scheduled and len(self._sending) < self._requests:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._depart)

    def _depart(self) -> None:
        self._scheduled = False
        bundle = self._next_bundle()
        if bundle is not None:
            bundle.sending = asyncio.get_running_loop().create_task(self._send(bundle))
            self._sending.add(bundle.sending)
            bundle.sending.add_done_callback(self._sent)
        self._schedule()

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._schedule()

    def _next_bundle(self) -> _Bundle | None:
        calls: list[_Call] = []
        oldest = SYSTEM.monotonic() - self._patience_seconds
        while self._queue and len(calls) < self._calls_in_one:
            call = self._queue.popleft()
            if call.since < oldest:
                seconds = f"{self._patience_seconds:g} s"
                call.answer(
                    None, ServerUnreachable(f"no room for the request within {seconds}: not sent")
                )
            elif not call.future.done():
                calls.append(call)
        return self._encoded(calls)

    def _encoded(self, calls: list[_Call]) -> _Bundle | None:
        """As many of the calls as make a message of a good size; the others go back."""
        while calls:
            try:
                message = encode_calls([call.operation for call in calls])
            except _Unencodable:
                calls = [call for call in calls if _encodable(call)]
                continue
            if len(message) <= self._message_bytes or len(calls) == 1:
                return _Bundle(calls, message)
            half = len(calls) // 2
            self._queue.extendleft(reversed(calls[half:]))
            calls = calls[:half]
        return None

    async def _send(self, bundle: _Bundle) -> None:
        try:
            answers = await self._deliver([call.operation for call in bundle.calls], bundle.message)
        except LimitExceeded as error:
            await self._send_halves(bundle, error)
        except asyncio.CancelledError:
            bundle.fail(_closed())
            raise
        except Exception as error:
            bundle.fail(error)
        else:
            for call, answer in zip(bundle.calls, answers, strict=True):
                call.answer(*answer)

    async def _send_halves(self, bundle: _Bundle, error: LimitExceeded) -> None:
        """One call among them is too large, or all together: find out which."""
        calls = bundle.calls
        if len(calls) == 1:
            return bundle.fail(error)
        for half in (calls[: len(calls) // 2], calls[len(calls) // 2 :]):
            part = _Bundle(half, encode_calls([call.operation for call in half]))
            part.sending = bundle.sending
            await self._send(part)


def _encodable(call: _Call) -> bool:
    """Whether the call can be put into a message; one that cannot is answered."""
    try:
        encode_calls([call.operation])
    except _Unencodable as error:
        name = type(call.operation).__name__
        call.answer(None, InvalidRequest(f"{name} cannot be sent: {error}"))
        return False
    return True


def _closed() -> Closed:
    return Closed("the client is closed; connect again")
