"""The connection over HTTP: operations go out in bundles, to whichever server answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from aiki import __version__
from aiki.errors import ConfigurationError
from aiki.operations.base import Api, Operation
from aiki.operations.catalog import PROTOCOL
from aiki.remote.lane import Lane
from aiki.remote.presence import keep_presence
from aiki.remote.relay import Relay
from aiki.remote.servers import Servers
from aiki.remote.settings import HttpSettings
from aiki.remote.waits import Waits, wait_of
from aiki.wire.calls import (
    MEDIA_TYPE,
    NAMESPACE_HEADER,
    PROTOCOL_HEADER,
    VERSION_HEADER,
    Answer,
)

R = TypeVar("R")


class HttpConnection:
    """Servers elsewhere; nothing is contacted before the first call."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        namespace: str,
        token: str | None = None,
        settings: HttpSettings | None = None,
    ) -> None:
        self._servers = Servers(urls)
        self._headers = _headers(namespace, token)
        self._settings = settings or HttpSettings()

    async def open(self) -> Api:
        """The waist; its connections open as they are needed."""
        return HttpApi(self._servers, self._headers, self._settings)

    async def close(self) -> None:
        """Nothing is held beside what the waist holds."""


def _headers(namespace: str, token: str | None) -> dict[str, str]:
    headers = {
        "Accept": f"{MEDIA_TYPE}, application/problem+json",
        "Accept-Encoding": "identity",
        "User-Agent": f"aiki/{__version__}",
        PROTOCOL_HEADER: str(PROTOCOL),
        VERSION_HEADER: __version__,
        NAMESPACE_HEADER: namespace,
    }
    if token is not None:
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise ConfigurationError("the token is empty, or holds blanks or other odd characters")
        headers["Authorization"] = f"Bearer {token}"
    return headers


class HttpApi:
    """The waist over HTTP, for one event loop."""

    def __init__(
        self, servers: Servers, headers: Mapping[str, str], settings: HttpSettings
    ) -> None:
        self._servers = servers
        self._headers = headers
        self._settings = settings
        self._relay = Relay(servers, headers, settings)
        self._calls, self._urgent = self._short_lane(), self._short_lane()
        self._waiting, self._working = self._waiting_lane(), self._waiting_lane()
        longest = settings.longest_wait_ms
        self._waits = Waits(self._waiting, self._calls, longest)
        self._worker_waits = Waits(self._working, self._urgent, longest)

    def _short_lane(self) -> Lane:
        return Lane(
            self._relay.deliver,
            requests=self._settings.short_requests,
            message_bytes=self._settings.message_bytes,
            patience_seconds=self._settings.answer_seconds,
        )

    def _waiting_lane(self) -> Lane:
        return Lane(
            self._deliver_waiting,
            requests=self._settings.waiting_requests,
            message_bytes=self._settings.message_bytes,
            patience_seconds=self._settings.answer_seconds,
            calls_in_one=1,
        )

    async def _deliver_waiting(
        self, operations: Sequence[Operation[Any]], message: bytes
    ) -> list[Answer]:
        wait_seconds = max(map(wait_of, operations)) / 1000
        return await self._relay.deliver(operations, message, wait_seconds)

    async def call(self, operation: Operation[R]) -> R:
        """Answer the operation, or raise one of `aiki.errors`."""
        wait_ms = wait_of(operation)
        if wait_ms > 0:
            waits = self._worker_waits if operation.role == "worker" else self._waits
            return await waits.call(operation, wait_ms)
        return await (self._urgent if operation.urgent else self._calls).call(operation)

    def fork(self) -> Api:
        """The same servers, with connections of its own."""
        return HttpApi(self._servers, self._headers, self._settings)

    async def keep_presence(self, incarnation: str) -> None:
        """Keep a streaming request open, whose end tells the server that the worker may be gone."""
        await keep_presence(self._relay, incarnation)

    async def close(self) -> None:
        """Let short calls be answered; those that wait at the server are told `Closed`."""
        short, waiting = (self._calls, self._urgent), (self._waiting, self._working)
        for lane in (*short, *waiting):
            lane.shut()
        for waits in (self._waits, self._worker_waits):
            waits.close()
        for lane in waiting:
            await lane.abort()
        for lane in short:
            await lane.drain()
        await self._relay.close()
