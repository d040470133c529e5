"""A thread for an embedded engine, which user code cannot block; it may be called from any loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Any, TypeVar

from aiki.engine.engine import Engine, EngineSettings
from aiki.errors import Closed
from aiki.model.audit import Principal
from aiki.operations.base import Api, Operation
from aiki.store.protocol import Store

R = TypeVar("R")
_Loop = asyncio.AbstractEventLoop
_Call = tuple[Operation[Any], Principal, _Loop, "asyncio.Future[Any]"]
_Answer = tuple["asyncio.Future[Any]", Any, BaseException | None]


class EngineHost:
    """Runs an engine on a thread of its own.

    Calls and answers cross between threads in bundles: one wake-up of a loop carries all that
    came together.
    """

    def __init__(self, store: Store, settings: EngineSettings | None = None) -> None:
        self.engine: Engine | None = None
        self._store = store
        self._settings = settings
        self._loop: _Loop | None = None
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._stop: asyncio.Event | None = None
        self._calls: deque[_Call] = deque()
        self._signalled = False
        self._answers: dict[_Loop, list[_Answer]] = {}
        self._thread = threading.Thread(target=self._run, name="aiki-engine", daemon=True)

    def start(self) -> None:
        """Start the thread; returns when the engine answers, or raises why it cannot."""
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error

    def stop(self) -> None:
        """Stop the engine; what was submitted before is answered."""
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None and self._thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
            self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.engine = Engine(self._store, self._settings)
        await self.engine.start()
        self._ready.set()
        await self._stop.wait()
        self._drain()
        await self.engine.stop()
        self._drain()
        self._flush()

    def submit(
        self, operation: Operation[Any], principal: Principal, future: asyncio.Future[Any]
    ) -> None:
        """From any thread: answer the operation into this future of the caller's loop."""
        loop = self._loop
        if loop is None or not self._thread.is_alive():
            raise Closed
        self._calls.append((operation, principal, future.get_loop(), future))
        if not self._signalled:
            self._signalled = True
            try:
                loop.call_soon_threadsafe(self._drain)
            except RuntimeError as error:
                raise Closed from error

    def _drain(self) -> None:
        self._signalled = False
        assert self.engine is not None
        while self._calls:
            operation, principal, loop, future = self._calls.popleft()

            def reply(
                result: Any,
                error: BaseException | None,
                loop: _Loop = loop,
                future: asyncio.Future[Any] = future,
            ) -> None:
                self._reply(loop, (future, result, error))

            self.engine.dispatch(operation, principal, reply)

    def _reply(self, loop: _Loop, answer: _Answer) -> None:
        if not self._answers:
            asyncio.get_running_loop().call_soon(self._flush)
        self._answers.setdefault(loop, []).append(answer)

    def _flush(self) -> None:
        answers, self._answers = self._answers, {}
        for loop, bundle in answers.items():
            try:
                loop.call_soon_threadsafe(_deliver, bundle)
            except RuntimeError:
                # The caller's loop is closed: nobody waits for these answers any more.
                continue


def _deliver(bundle: list[_Answer]) -> None:
    for future, result, error in bundle:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


class EmbeddedApi:
    """An `Api` over an engine on another thread of this process."""

    def __init__(self, host: EngineHost, principal: Principal) -> None:
        self._host = host
        self._principal = principal

    async def call(self, operation: Operation[R]) -> R:
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._host.submit(operation, self._principal, future)
        return await future

    def fork(self) -> Api:
        return self

    async def keep_presence(self, incarnation: str) -> None:
        """Wait: a lock proves that this process lives."""
        await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """Nothing to let go of: the host belongs to whoever started it."""
