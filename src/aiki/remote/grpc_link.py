"""A link: one open stream of a worker's session.

Requests are numbered, and answered in any order. Of the news the last ones are kept: each says all
that is known. A link that is broken stays broken; what it did not answer may be asked elsewhere.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio

from aiki.errors import AikiError, ServerUnreachable, ServiceError
from aiki.operations.base import Operation
from aiki.operations.work import ClaimRuns, Listen, WorkerNews
from aiki.remote.grpc_channels import GrpcClientSettings, StreamCall
from aiki.remote.grpc_errors import restored
from aiki.wire.calls import error_named
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

_FAREWELL_SECONDS = 2.0


class LinkLost(Exception):
    """The link cannot carry this; the call may be sent in another way."""

    def __init__(self, error: AikiError) -> None:
        super().__init__(error.message)
        self.error = error


class Link:
    """One stream to one server."""

    def __init__(self, call: StreamCall, url: str, settings: GrpcClientSettings) -> None:
        self.usable = True
        """Requests may be sent."""
        self._call = call
        self._url = url
        self._settings = settings
        self._writing = asyncio.Lock()
        self._number = 0
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._news: WorkerNews | None = None
        self._rang = asyncio.Event()
        self._over = asyncio.Event()
        self._error: AikiError = ServerUnreachable(f"{url} ended the session")
        self._reading = asyncio.get_running_loop().create_task(self._read())

    async def greet(self, hello: Hello) -> Welcome:
        """Open the session. Raises `LinkLost`, or the error with which the server refused."""
        welcome: Welcome = await self._ask(hello)
        return welcome

    async def ended(self) -> AikiError:
        """Wait until the link is broken, or the server asks to go elsewhere; answers why."""
        await self._over.wait()
        return self._error

    async def finish(self) -> None:
        """Let what was asked be answered for a moment, then end the stream."""
        self.usable = False
        if self._asked:
            await asyncio.wait(list(self._asked.values()), timeout=_FAREWELL_SECONDS)
        if not self._reading.done():
            # The server ends the stream when it has read that nothing follows.
            await self._call.done_writing()
            await asyncio.wait([self._reading], timeout=_FAREWELL_SECONDS)
        await self.cut()

    async def cut(self) -> None:
        """End the stream at once."""
        self._call.cancel()
        self._reading.cancel()
        await asyncio.wait([self._reading])

    # Requests

    async def call(self, operation: Operation[Any]) -> Any:
        """The answer to a worker's operation. Raises `LinkLost` where the stream gives none."""
        if isinstance(operation, Listen):
            return await self._listen(operation)
        if not isinstance(operation, ClaimRuns):
            answer = await self._ask(operation)
            return answer.now if isinstance(answer, Left) else answer
        room = Credits(
            claim_id=operation.claim_id,
            limit=operation.limit,
            offers=operation.offers,
            shards=operation.shards,
            wait_ms=operation.wait_ms,
            idle=operation.idle,
            hints=operation.hints,
        )
        return await self._ask(room, operation.wait_ms)

    async def _ask(self, request: Any, wait_ms: int = 0) -> Any:
        self._number += 1
        data = encode(SessionRequest(self._number, request)).SerializeToString()
        if len(data) > self._settings.max_message_bytes:
            # It would end the stream; sent by itself it fails alone.
            raise LinkLost(ServiceError("too large for the session"))
        if self._reading.done():
            raise LinkLost(self._error)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[number := self._number] = answer
        try:
            async with asyncio.timeout(self._settings.answer_seconds + wait_ms / 1000):
                await self._write(data)
                return await answer
        except TimeoutError:
            self._call.cancel()
            raise LinkLost(ServerUnreachable(f"{self._url} does not answer")) from None
        finally:
            answer.cancel()
            self._asked.pop(number, None)

    async def _write(self, data: bytes) -> None:
        """Where the stream is broken, whoever reads it finds out, and tells those who asked."""
        async with self._writing:
            try:
                await self._call.write(data)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await asyncio.wait([self._reading])

    async def _listen(self, operation: Listen) -> WorkerNews:
        if operation.wait_ms <= 0:
            raise LinkLost(ServiceError("a look without a wait is a call of its own"))
        try:
            async with asyncio.timeout(operation.wait_ms / 1000):
                while self._news is None or self._news.cursor == operation.cursor:
                    self._rang.clear()
                    await self._rang.wait()
                    if self._over.is_set():
                        break
        except TimeoutError:
            pass
        news = self._news
        return news if news is not None else WorkerNews(cursor=operation.cursor)

    # What comes

    async def _read(self) -> None:
        try:
            while isinstance(data := await self._call.read(), bytes):
                self._take(parse(SessionResponse, data))
        except grpc.aio.AioRpcError as failure:
            self._error = restored(failure, self._url)
        except AikiError as error:
            self._error = ServiceError(f"the session of {self._url} cannot be read: {error}")
        finally:
            self._end()
            for answer in self._asked.values():
                if not answer.done():
                    answer.set_exception(LinkLost(self._error))

    def _end(self) -> None:
        self.usable = False
        self._over.set()
        self._rang.set()

    def _take(self, told: SessionResponse) -> None:
        match told.response:
            case WorkerNews() as news:
                self._news = news
                self._rang.set()
            case Drain():
                self._error = ServerUnreachable(f"{self._url}: the server is stopping")
                self._end()
            case response:
                answer = self._asked.get(told.number)
                if answer is None or answer.done():
                    return
                if isinstance(response, Refusal):
                    answer.set_exception(error_named(response.error, response.message))
                else:
                    answer.set_result(response)
