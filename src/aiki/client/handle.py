"""A run's handle: follow it, talk to it, take its result."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from aiki.clock import SYSTEM
from aiki.errors import RunCancelled, RunDeadLettered, RunError, RunFailed, RunTimedOut, WaitTimeout
from aiki.ids import new_id
from aiki.model.failure import Cancelled, DeadLettered, Failure, TimedOut
from aiki.model.run import PublicStatus, RunResult, RunView
from aiki.operations.runs import (
    CancelRun,
    GetHistory,
    GetRun,
    History,
    PauseRun,
    ResumeRun,
    SendEvent,
    TerminateRun,
)

if TYPE_CHECKING:
    from aiki.client.client import Client
    from aiki.workflow.definition import Workflow
    from aiki.workflow.event import Event

R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
_WAIT_MS = 30_000


class RunHandle(Generic[R_co]):
    """One run, as the application sees it."""

    def __init__(self, client: Client, id: str, workflow: Workflow[..., R_co]) -> None:
        self.id = id
        self._client = client
        self._workflow = workflow

    def __repr__(self) -> str:
        return f"<run {self.id} of {self._workflow.name}>"

    async def result(self, *, timeout: timedelta | None = None) -> R_co:
        """What the workflow returned, as soon as it did.

        Raises `RunFailed`, `RunCancelled`, `RunTimedOut` or `RunDeadLettered`, each with its
        `failure`; `WaitTimeout` if the run has not ended within `timeout`, and goes on.
        """
        ended = await self._ended(timeout)
        if ended.failure is not None or ended.run.status != "completed":
            raise error_for(ended)
        value: R_co = self._workflow.signature.returns.decode(ended.output or b"null")
        return value

    async def _ended(self, timeout: timedelta | None) -> RunResult:
        clock = SYSTEM
        deadline = None if timeout is None else clock.monotonic() + timeout.total_seconds()
        while True:
            wait_ms = _WAIT_MS
            if deadline is not None:
                wait_ms = max(0, min(_WAIT_MS, round((deadline - clock.monotonic()) * 1000)))
            result = await self._client.call(GetRun(id=self.id, wait_ms=wait_ms))
            if result.ended:
                return result
            if deadline is not None and clock.monotonic() >= deadline:
                raise WaitTimeout(f"run {self.id} has not ended within {timeout}: it goes on")

    async def view(self) -> RunView:
        """The run as it is now."""
        return (await self._client.call(GetRun(id=self.id))).run

    async def history(self) -> History:
        """Everything that is recorded of the run: transitions, entries, task attempts, waits."""
        return await self._client.call(GetHistory(id=self.id))

    async def status(self) -> PublicStatus:
        """The run's status now."""
        return (await self.view()).status

    async def watch(self) -> AsyncIterator[RunView]:
        """The run now, after each transition that is noticed, and at its end."""
        revision: int | None = None
        while True:
            wait_ms = _WAIT_MS if revision is not None else 0
            got = await self._client.call(
                GetRun(id=self.id, wait_ms=wait_ms, after_revision=revision)
            )
            if revision is None or got.run.revision > revision:
                yield got.run
                revision = got.run.revision
            if got.ended:
                return

    async def watch_status(self) -> AsyncIterator[PublicStatus]:
        """The statuses that `watch` sees, each once in a row."""
        last: PublicStatus | None = None
        async for run in self.watch():
            if run.status != last:
                yield run.status
                last = run.status

    @overload
    async def send(self, ev: Event[None], /, *, key: str | None = None) -> None: ...
    @overload
    async def send(self, ev: Event[T], /, data: T, *, key: str | None = None) -> None: ...
    async def send(self, ev: Event[Any], /, data: Any = None, *, key: str | None = None) -> None:
        """Send the run an event; it is kept until a wait takes it.

        With a `key`, sending again changes nothing; `Conflict` if the payload differs.
        """
        await self._client.call(
            SendEvent(
                id=new_id(), run_id=self.id, name=ev.name, value=ev.codec.encode(data), key=key
            )
        )

    async def cancel(self, reason: str = "") -> None:
        """Ask the run to stop; it may clean up. A second request ends it at once."""
        await self._client.call(CancelRun(id=self.id, command_id=new_id(), reason=reason))

    async def terminate(self, reason: str = "") -> None:
        """End the run now, without clean-up."""
        await self._client.call(TerminateRun(id=self.id, command_id=new_id(), reason=reason))

    async def pause(self) -> None:
        """Hold the run at its next park."""
        await self._client.call(PauseRun(id=self.id))

    async def resume(self) -> None:
        """Let the paused run go on."""
        await self._client.call(ResumeRun(id=self.id))


def error_for(result: RunResult) -> RunError:
    """The exception for a run that did not complete."""
    failure: Failure = result.failure or Cancelled()
    match failure:
        case TimedOut():
            return RunTimedOut(failure)
        case DeadLettered():
            return RunDeadLettered(failure)
        case Cancelled():
            return RunCancelled(failure)
        case _:
            return RunFailed(failure)
