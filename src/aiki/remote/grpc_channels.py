"""Channels: one event loop's connections over gRPC, and the server that a call goes to."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import grpc
import grpc.aio

from aiki.errors import (
    Closed,
    ConfigurationError,
    ServerBusy,
    ServerUnreachable,
    ServiceError,
)
from aiki.remote.grpc_errors import restored
from aiki.remote.servers import Server, Servers

Metadata = tuple[tuple[str, str], ...]
StreamCall = grpc.aio.StreamStreamCall[bytes, bytes]
DEFAULT_PORT = 7070
_SERVICE = "/aiki.v1.Aiki/"
_SCHEMES = re.compile(r"\s*(grpcs?)://.*")


class GrpcClientSettings(NamedTuple):
    """What may be chosen; times in seconds unless the name says otherwise."""

    answer_seconds: float = 10.0
    """A call is answered within this; one that waits at the server has this on top of its wait."""
    max_message_bytes: int = 16 * 1024 * 1024
    """Of a request; what is larger is refused before it is sent."""
    keepalive_interval_ms: int = 10_000
    """How often a connection that is still is asked for a sign of life."""
    keepalive_timeout_ms: int = 5_000
    """After how long without that sign it is taken for broken."""


def servers_of(urls: Sequence[str]) -> Servers:
    """The servers that `grpc://` and `grpcs://` URLs name, several in one separated by commas.

    Raises `ConfigurationError` for other URLs.
    """
    for url in urls:
        if not all(_SCHEMES.fullmatch(part) for part in url.split(",") if "://" in part):
            raise ConfigurationError(f"{url!r}: every URL begins with grpc:// or grpcs:// here")
    try:
        servers = Servers([re.sub(r"grpc(s?)://", r"http\1://", url) for url in urls])
    except ConfigurationError as error:
        raise ConfigurationError(error.message.replace("http", "grpc")) from None
    for server in servers.all:
        server.url = server.url.replace("http", "grpc", 1)
    return servers


class Channels:
    """Opens a channel for each server when it is first needed; belongs to one event loop."""

    def __init__(self, servers: Servers, metadata: Metadata, settings: GrpcClientSettings) -> None:
        self.settings = settings
        self._servers = servers
        self._metadata = metadata
        self._open: dict[Server, grpc.aio.Channel] = {}
        self._waiting: set[grpc.aio.UnaryUnaryCall[bytes, bytes]] = set()
        self._closed = False

    async def call(self, name: str, data: bytes, wait_ms: int = 0) -> bytes:
        """The answer of the first server that gives one: every operation is safe to repeat.

        `wait_ms` is how long the server may wait. Raises the error that the server told of, or
        `ServerUnreachable`.
        """
        failures: list[ServiceError] = []
        for server in self._servers.candidates():
            try:
                answer = await self._ask(server, name, data, wait_ms)
            except ServiceError as error:
                server.failed(error.retry_after_seconds)
                failures.append(error)
            else:
                self._servers.use(server)
                return answer
        raise _summary(failures)

    async def _ask(self, server: Server, name: str, data: bytes, wait_ms: int) -> bytes:
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel(server).unary_unary(
            _SERVICE + name
        )
        timeout = self.settings.answer_seconds + wait_ms / 1000
        call = method(data, timeout=timeout, metadata=self._metadata)
        if wait_ms:
            self._waiting.add(call)
        try:
            return await call
        except grpc.aio.AioRpcError as failure:
            raise restored(failure, server.url) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                raise Closed("the client was closed") from None
            raise
        finally:
            self._waiting.discard(call)

    def stream(self) -> tuple[Server, StreamCall]:
        """A session's stream to the server that is in use, or that is next to be tried."""
        server = next(self._servers.candidates())
        method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self._channel(
            server
        ).stream_stream(_SERVICE + "Session")
        return server, method(metadata=self._metadata)

    def use(self, server: Server) -> None:
        """This server works: the next calls go there too."""
        self._servers.use(server)

    def _channel(self, server: Server) -> grpc.aio.Channel:
        if self._closed:
            raise Closed("the client is closed; connect again")
        channel = self._open.get(server)
        if channel is None:
            channel = self._open[server] = self._connect(server)
        return channel

    def _connect(self, server: Server) -> grpc.aio.Channel:
        parts = urlsplit(server.url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        target = f"{host}:{parts.port or DEFAULT_PORT}"
        options = _options(self.settings)
        if parts.scheme == "grpc":
            return grpc.aio.insecure_channel(target, options=options)
        credentials = grpc.ssl_channel_credentials()
        return grpc.aio.secure_channel(target, credentials, options=options)

    def shut(self) -> None:
        """Take no more calls; those that wait at the server are told `Closed`."""
        self._closed = True
        for call in list(self._waiting):
            call.cancel()

    async def close(self) -> None:
        """Let what is under way be answered, and close every connection."""
        channels, self._open = list(self._open.values()), {}
        grace = self.settings.answer_seconds
        await asyncio.gather(*(channel.close(grace) for channel in channels))


def _summary(failures: Sequence[ServiceError]) -> ServiceError:
    """One error for those of all servers: one that is only busy is worth waiting for."""
    if len(failures) == 1:
        return failures[0]
    for failure in failures:
        if isinstance(failure, ServerBusy):
            return failure
    reasons = "; ".join(failure.message for failure in failures)
    return ServerUnreachable(f"no server answers: {reasons}")


def _options(settings: GrpcClientSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_receive_message_length", -1),
        ("grpc.keepalive_time_ms", settings.keepalive_interval_ms),
        ("grpc.keepalive_timeout_ms", settings.keepalive_timeout_ms),
        # The keepalive time-out alone does not end a connection: that of its ping does.
        ("grpc.http2.ping_timeout_ms", settings.keepalive_timeout_ms),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 3_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.max_metadata_size", 16 * 1024),
        ("grpc.use_local_subchannel_pool", 1),
    ]
