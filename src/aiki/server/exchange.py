"""An exchange: one request and its response, as the parts of the server see it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from aiki.server.problems import Answer, Headers
from aiki.server.rooms import Room

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Gone(Exception):
    """The client closed the connection: nobody waits for the answer."""


class Exchange:
    """Gives access to a request, and sends its response once."""

    __slots__ = ("_receive", "_room", "_send", "headers", "method", "path", "scope", "started")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.started = False
        self._receive = receive
        self._send = send
        self._room: Room | None = None

    def enter(self, room: Room) -> None:
        """From now on the request is counted in this room alone; `Refusal` when it is full."""
        room.enter()
        self.leave()
        self._room = room

    def leave(self) -> None:
        """Free the place that the request takes."""
        if self._room is not None:
            self._room.leave()
            self._room = None

    async def receive(self) -> Message:
        """The next part of the request, or `http.disconnect`."""
        return await self._receive()

    async def gone(self) -> None:
        """Return when the client has closed the connection."""
        while (await self._receive())["type"] != "http.disconnect":
            continue

    async def respond(self, answer: Answer) -> None:
        """Send a whole response."""
        await self.begin(answer.status, answer.headers)
        await self._send({"type": "http.response.body", "body": answer.body})

    async def begin(self, status: int, headers: Headers) -> None:
        """Send status and headers; parts follow by `write`, and `end`."""
        self.started = True
        await self._send(
            {"type": "http.response.start", "status": status, "headers": list(headers)}
        )

    async def write(self, part: bytes) -> None:
        """Send a part of the body; waits while the peer's buffers are full."""
        await self._send({"type": "http.response.body", "body": part, "more_body": True})

    async def end(self) -> None:
        """The body is complete."""
        await self._send({"type": "http.response.body", "body": b""})


async def first_of(
    *tasks: asyncio.Future[Any], timeout_ms: int | None = None
) -> set[asyncio.Future[Any]]:
    """Those that are done when the first of them is, or when the time is over."""
    timeout = None if timeout_ms is None else timeout_ms / 1000
    done, _ = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    return done


def cancel_all(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Let go of what is not waited for any more."""
    for task in tasks:
        task.cancel()
