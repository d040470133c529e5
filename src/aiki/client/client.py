"""The client: it speaks operations, and does not know where the server is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import msgspec

from aiki.client.handle import RunHandle
from aiki.clock import SYSTEM, Clock, jitter
from aiki.errors import Closed, ServiceError
from aiki.ids import new_id
from aiki.model import limits
from aiki.model.run import RunView
from aiki.operations.base import Api, Operation
from aiki.operations.catalog import SetRetention
from aiki.operations.runs import (
    ListRuns,
    PauseRun,
    RedeliverRun,
    ResumeRun,
    RetryDiverged,
    RunQuery,
    StartRun,
    StartRuns,
    WaiveEntries,
)

if TYPE_CHECKING:
    from types import TracebackType

    from aiki.workflow.definition import Workflow

R = TypeVar("R")
DEFAULT_TIMEOUT = timedelta(seconds=30)
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0
_COMMANDS = (PauseRun, ResumeRun, RedeliverRun, WaiveEntries, RetryDiverged, SetRetention)


def _signed(operation: Operation[R]) -> Operation[R]:
    """With an id where nothing else tells a repetition from a second command."""
    command: Operation[Any] = operation
    if isinstance(command, _COMMANDS) and command.command_id is None:
        return msgspec.structs.replace(operation, command_id=new_id())
    return operation


class Connection(Protocol):
    """How to reach a server: opened once, closed once."""

    async def open(self) -> Api:
        """The server's waist."""
        ...

    async def close(self) -> None:
        """Let go of what `open` took."""
        ...


class Client:
    """Starts runs and follows them; `async with aiki.connect(url) as client`."""

    def __init__(
        self,
        connection: Connection,
        *,
        namespace: str = "default",
        timeout: timedelta | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self.namespace = namespace
        self._patience = DEFAULT_TIMEOUT if timeout is None else timeout
        self._clock = clock
        self._connection = connection
        self._api: Api | None = None
        self._closed = False
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self.api()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def api(self) -> Api:
        """The waist itself, opened at the first use; raises `Closed` afterwards."""
        if self._closed:
            raise Closed("the client is closed; connect again")
        async with self._opening:
            if self._api is None:
                self._api = await self._connection.open()
        return self._api

    async def close(self) -> None:
        """Close the client, and the server if it is in this process."""
        self._closed = True
        api, self._api = self._api, None
        if api is not None:
            await api.close()
            await self._connection.close()

    async def call(self, operation: Operation[R]) -> R:
        """Send an operation; while the service cannot do it, it is repeated for a time.

        Every operation is safe to repeat. The pauses grow, with jitter, and are no shorter than the
        server asks for; the last error is raised. What the call itself waits for does not count.
        """
        api = await self.api()
        operation = _signed(operation)
        patience = self._patience.total_seconds() + getattr(operation, "wait_ms", 0) / 1000
        end = self._clock.monotonic() + patience
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return await api.call(operation)
            except Closed:
                raise
            except ServiceError as error:
                seconds = max(pause * jitter(0.5), error.retry_after_seconds)
                if self._clock.monotonic() + seconds > end:
                    raise
                await asyncio.sleep(seconds)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def start(
        self, workflow: Workflow[..., R], starts: Sequence[StartRun], /
    ) -> list[RunHandle[R]]:
        """Start runs, each batch of them in one request; answers handles in the same order."""
        handles: list[RunHandle[R]] = []
        for begin in range(0, len(starts), limits.BULK_ITEMS):
            batch = tuple(starts[begin : begin + limits.BULK_ITEMS])
            answers = await self.call(StartRuns(starts=batch))
            handles.extend(RunHandle(self, started.id, workflow) for started in answers)
        return handles

    def run(self, id: str, workflow: Workflow[..., R]) -> RunHandle[R]:
        """The handle of a run that was started earlier."""
        return RunHandle(self, id, workflow)

    async def runs(
        self, query: RunQuery | None = None, *, page: int = 100
    ) -> AsyncIterator[RunView]:
        """Runs that match, newest first, page after page."""
        cursor: str | None = None
        while True:
            found: Any = await self.call(
                ListRuns(query=query or RunQuery(), limit=page, cursor=cursor)
            )
            for run in found.runs:
                yield run
            cursor = found.next_cursor
            if cursor is None:
                return
