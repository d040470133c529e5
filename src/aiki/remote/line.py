"""A line to one server: pooled connections that belong to one event loop, and deadlines on them."""

from __future__ import annotations

import io
import os
import socket
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from aiki.errors import LimitExceeded, ServerUnreachable, ServiceError
from aiki.operations.base import Operation
from aiki.remote.refusal import refusal
from aiki.remote.settings import HttpSettings
from aiki.wire.calls import MEDIA_TYPE, PATH, Answer, decode_answers

_OK = 200
_REFUSAL_BYTES = 64 * 1024
_LARGE_BYTES = 256 * 1024
"""From here on a message is written in parts, so that writing it does not block the loop."""
_KEEP_ALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 20_000}
"""Seconds, seconds, probes and milliseconds: a host that is gone is noticed within 30 s."""

_Broken = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientPayloadError)
_Unconnected = (aiohttp.ClientConnectorError, aiohttp.ClientProxyConnectionError)


class Line:
    """Sends messages to one server; may be made anywhere, and is used on one event loop."""

    def __init__(self, url: str, headers: Mapping[str, str], settings: HttpSettings) -> None:
        self.url = url
        self._headers = dict(headers)
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._users: Counter[aiohttp.ClientSession] = Counter()

    async def ask(
        self, operations: Sequence[Operation[Any]], message: bytes, wait_seconds: float
    ) -> list[Answer]:
        """The answers to one message.

        Raises `ServiceError` when there is none, and a `UsageError` when it is refused as a whole.
        """
        limit = wait_seconds + self._settings.answer_seconds
        try:
            body = await self._post(message, limit)
        except _Broken as error:
            if isinstance(error, _Unconnected):
                raise self._unreachable(error) from None
            # The server may have closed an idle connection just when it was used: once more.
            body = await self._post_again(message, limit)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error, limit) from None
        try:
            return decode_answers(body, operations)
        except ServiceError as error:
            raise ServerUnreachable(f"{self.url}: {error.message}") from None

    async def _post_again(self, message: bytes, limit: float) -> bytes:
        try:
            return await self._post(message, limit)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error, limit) from None

    async def _post(self, message: bytes, limit: float) -> bytes:
        timeout = aiohttp.ClientTimeout(total=limit, sock_connect=self._settings.connect_seconds)
        async with self._borrowed() as session:
            request = session.post(
                self.url + PATH,
                data=io.BytesIO(message) if len(message) > _LARGE_BYTES else message,
                headers={"Content-Type": MEDIA_TYPE},
                timeout=timeout,
                allow_redirects=False,
            )
            async with request as response:
                if response.status != _OK or response.content_type != MEDIA_TYPE:
                    body = await response.content.read(_REFUSAL_BYTES)
                    raise refusal(self.url, response.status, response.headers, body)
                return await self._read(response)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        limit = self._settings.answer_bytes
        length = response.content_length
        if length is not None and length <= limit:
            return await response.read()
        chunks = bytearray()
        async for chunk in response.content.iter_any():
            chunks += chunk
            if len(chunks) > limit:
                raise LimitExceeded(f"{self.url}: the answer is longer than {limit:,} bytes")
        return bytes(chunks)

    async def hold(self, path: str) -> None:
        """Keep a streaming request open; returns, or raises `AikiError`, when it has ended.

        Nothing but its end is of interest, so there is no deadline for what it brings. It is sent
        once: whoever sends it again gives it another name.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._settings.connect_seconds)
        try:
            async with (
                self._borrowed() as session,
                session.get(
                    self.url + path,
                    timeout=timeout,
                    allow_redirects=False,
                    middlewares=(_send_once,),
                ) as response,
            ):
                if response.status != _OK:
                    body = await response.content.read(_REFUSAL_BYTES)
                    raise refusal(self.url, response.status, response.headers, body)
                async for _ in response.content.iter_any():
                    continue
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from None

    async def close(self) -> None:
        """Close every connection, whatever goes on over it."""
        self._session = None
        for session in list(self._users):
            await session.close()

    @asynccontextmanager
    async def _borrowed(self) -> AsyncGenerator[aiohttp.ClientSession]:
        """The session; one that was retired meanwhile is closed by its last user."""
        session = self._session
        if session is None:
            session = self._session = self._connect()
        self._users[session] += 1
        try:
            yield session
        except TimeoutError:
            # Its idle connections may lead nowhere too: later requests make new ones.
            if self._session is session:
                self._session = None
            raise
        finally:
            self._users[session] -= 1
            if session is not self._session and not self._users[session]:
                del self._users[session]
                await session.close()

    def _connect(self) -> aiohttp.ClientSession:
        settings = self._settings
        connector = aiohttp.TCPConnector(
            limit=0,  # those who send have limits of their own
            ssl=True if settings.ssl_context is None else settings.ssl_context,
            socket_factory=_socket,
        )
        return aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=settings.use_environment_proxies,
        )

    def _unreachable(self, error: BaseException, limit: float = 0.0) -> ServerUnreachable:
        return ServerUnreachable(f"{self.url}: {_reason(error, limit)}")


async def _send_once(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Name a broken connection by an error after which aiohttp does not repeat a GET by itself."""
    try:
        return await send(request)
    except _Unconnected:
        raise
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        raise aiohttp.ClientConnectionError(str(error)) from error


def _reason(error: BaseException, limit: float) -> str:
    match error:
        case aiohttp.ConnectionTimeoutError():
            return "no connection in time"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return f"no secure connection: {error}"
        case aiohttp.ClientConnectorError():
            return f"cannot connect: {_cause(error.os_error)}"
        case TimeoutError():
            return f"no answer within {limit:g} s"
        case aiohttp.ClientResponseError():
            return f"what answers is no HTTP: {error.message}"
        case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError():
            return "the connection broke before the answer was complete"
        case _:
            return f"{type(error).__name__}: {error}"


def _cause(error: OSError) -> str:
    """The system's words; asyncio puts its own in their place."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)


def _socket(address: Sequence[Any]) -> socket.socket:
    """A socket that notices when the other host is gone, where the system can tell."""
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        option = getattr(socket, name, None)
        if option is not None:
            made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made
