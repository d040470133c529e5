"""The relay: gives a message to one server after another until one of them has answered it all."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping, Sequence
from typing import Any

from aiki.errors import (
    AikiError,
    Closed,
    ServerBusy,
    ServerUnreachable,
    ServiceError,
    StoreUnavailable,
)
from aiki.operations.base import Operation
from aiki.remote.line import Line
from aiki.remote.servers import Server, Servers
from aiki.remote.settings import HttpSettings
from aiki.wire.calls import Answer, encode_calls

_Useless = (Closed, StoreUnavailable)
"""What a server answers that stops, or that has lost its database: another may have one."""


class Relay:
    """The lines of one event loop to all servers."""

    def __init__(
        self, servers: Servers, headers: Mapping[str, str], settings: HttpSettings
    ) -> None:
        self._servers = servers
        self._lines = {server: Line(server.url, headers, settings) for server in servers.all}

    async def deliver(
        self, operations: Sequence[Operation[Any]], message: bytes, wait_seconds: float = 0.0
    ) -> list[Answer]:
        """The answers; what no server answered has the error of that.

        Whatever was lost on its way is sent again: every operation is safe to repeat. Raises a
        `UsageError` for a message that is refused as a whole.
        """
        answers: list[Answer] = [(None, None)] * len(operations)
        pending = list(range(len(operations)))
        failures: list[ServiceError] = []
        for server in self._servers.candidates():
            asked = [operations[place] for place in pending]
            try:
                got = await self._lines[server].ask(asked, message, wait_seconds)
            except ServiceError as error:
                failures.append(error)
                server.failed(error.retry_after_seconds)
                continue
            for place, answer in zip(pending, got, strict=True):
                answers[place] = answer
            pending = [place for place in pending if isinstance(answers[place][1], _Useless)]
            if not pending:
                self._servers.use(server)
                return answers
            failures.append(_trouble(server, answers[pending[0]][1]))
            server.failed()
            message = encode_calls([operations[place] for place in pending])
        summary = _summary(failures)
        for place in pending:
            answers[place] = (None, copy.copy(summary))
        return answers

    async def hold(self, path: str) -> None:
        """Keep a streaming request open at the first server that takes it, until it ends.

        Raises the error of the last server when none takes it. What happens to it says nothing
        about how calls fare: a proxy may be in the way of streams only.
        """
        failure: AikiError | None = None
        for server in self._servers.candidates():
            try:
                return await self._lines[server].hold(path)
            except AikiError as error:
                failure = error
        if failure is not None:
            raise failure

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(*(line.close() for line in self._lines.values()))


def _trouble(server: Server, error: BaseException | None) -> ServiceError:
    """A server that stops says `Closed`, which here means that this client was closed."""
    if isinstance(error, StoreUnavailable):
        return error
    return ServerUnreachable(f"{server.url}: the server is stopping")


def _summary(failures: Sequence[ServiceError]) -> ServiceError:
    """One error for those of all servers: one that is only busy is worth waiting for."""
    if len(failures) == 1:
        return failures[0]
    for kind in (ServerBusy, StoreUnavailable):
        found = [failure for failure in failures if isinstance(failure, kind)]
        if found:
            return found[-1]
    return ServerUnreachable(
        "no server answers: " + "; ".join(failure.message for failure in failures)
    )
