"""The connection over gRPC: a call for each operation, and a session for each worker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import msgspec

from aiki import __version__
from aiki.errors import AikiError, ConfigurationError
from aiki.operations.base import Api, Operation
from aiki.operations.catalog import PROTOCOL
from aiki.operations.work import (
    ClaimRuns,
    Heartbeat,
    LeaveWorker,
    Listen,
    RegisterWorker,
    Report,
    Reported,
)
from aiki.remote.grpc_channels import Channels, GrpcClientSettings, Metadata, servers_of
from aiki.remote.grpc_link import LinkLost
from aiki.remote.grpc_session import WorkerSession
from aiki.remote.servers import Servers
from aiki.wire.proto.convert import encode, parse_answer

R = TypeVar("R")
_OVER_SESSION = (ClaimRuns, Report, Heartbeat, Listen, LeaveWorker)


class GrpcConnection:
    """Servers elsewhere; nothing is contacted before the first call."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        namespace: str,
        token: str | None = None,
        settings: GrpcClientSettings | None = None,
    ) -> None:
        self._servers = servers_of(urls)
        self._metadata = _metadata(namespace, token)
        self._settings = settings or GrpcClientSettings()

    async def open(self) -> Api:
        """The waist; its channels open as they are needed."""
        return GrpcApi(self._servers, self._metadata, self._settings)

    async def close(self) -> None:
        """Nothing is held beside what the waist holds."""


def _metadata(namespace: str, token: str | None) -> Metadata:
    said = (
        ("aiki-namespace", namespace),
        ("aiki-protocol", str(PROTOCOL)),
        ("aiki-version", __version__),
    )
    if not namespace.isascii() or not namespace.isprintable():
        raise ConfigurationError(f"namespace {namespace!r}: gRPC carries only printable ASCII")
    if token is None:
        return said
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError("the token is empty, or holds blanks or other odd characters")
    return (*said, ("authorization", f"Bearer {token}"))


class GrpcApi:
    """The waist over gRPC, for one event loop."""

    def __init__(self, servers: Servers, metadata: Metadata, settings: GrpcClientSettings) -> None:
        self._servers = servers
        self._metadata = metadata
        self._settings = settings
        self._channels = Channels(servers, metadata, settings)
        self._sessions: dict[str, WorkerSession] = {}

    async def call(self, operation: Operation[R]) -> R:
        """Answer the operation, or raise one of `aiki.errors`."""
        answer: Any
        if isinstance(operation, RegisterWorker):
            answer = await self._register(operation)
        elif isinstance(operation, _OVER_SESSION):
            answer = await self._work(operation)
        else:
            answer = await self._send(operation)
        return cast("R", answer)

    async def _register(self, operation: RegisterWorker) -> Any:
        """Open a session, whose hello registers; where none can be had, register by a call."""
        await self._part(operation.incarnation)
        session = WorkerSession(self._channels, operation)
        self._sessions[operation.incarnation] = session
        try:
            return await session.begin()
        except AikiError:
            try:
                return await self._send(operation)
            except BaseException:
                await self._part(operation.incarnation)
                raise

    async def _work(self, operation: Any) -> Any:
        """Over the worker's session, or while there is none by a call of its own."""
        answer = await self._over_session(operation)
        if isinstance(operation, LeaveWorker):
            await self._part(operation.incarnation)
        return answer

    async def _over_session(self, operation: Any) -> Any:
        session = self._sessions.get(operation.incarnation)
        if session is not None:
            try:
                return await session.call(operation)
            except LinkLost:
                pass
        return await self._send(operation)

    async def _part(self, incarnation: str) -> None:
        session = self._sessions.pop(incarnation, None)
        if session is not None:
            await session.end()

    async def _send(self, operation: Operation[Any]) -> Any:
        data = encode(operation).SerializeToString()
        if isinstance(operation, Report) and len(data) > self._settings.max_message_bytes:
            if len(operation.reports) > 1:
                return await self._send_in_parts(operation)
        kind: type[Operation[Any]] = type(operation)
        wait_ms = getattr(operation, "wait_ms", 0)
        return parse_answer(kind, await self._channels.call(kind.__name__, data, wait_ms))

    async def _send_in_parts(self, report: Report) -> Any:
        """Each run's report stands for itself: what is too large together goes in two."""
        half = len(report.reports) // 2
        parts = report.reports[:half], report.reports[half:]
        answers = [await self._send(msgspec.structs.replace(report, reports=p)) for p in parts]
        outcomes = tuple(outcome for answer in answers for outcome in answer.outcomes)
        return Reported(outcomes, answers[-1].now)

    def fork(self) -> Api:
        """The same servers, with channels of its own; its calls go over no session."""
        return GrpcApi(self._servers, self._metadata, self._settings)

    async def keep_presence(self, incarnation: str) -> None:
        """Wait: the worker's session shows its presence."""
        await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """Let short calls be answered; those that wait at the server are told `Closed`."""
        self._channels.shut()
        for incarnation in list(self._sessions):
            await self._part(incarnation)
        await self._channels.close()
