"""Serving: a worker on an embedded server, until a signal asks it to drain."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from aiki.cli.application import Application, Workflows
from aiki.cli.output import Output, clean
from aiki.client.client import Client
from aiki.compose import connect
from aiki.configuration import Settings
from aiki.engine.engine import EngineSettings
from aiki.operations.catalog import ListWorkers
from aiki.worker import Worker

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_READY_POLL_SECONDS = 0.02
_PARENT_POLL_SECONDS = 1.0
_ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def serve(app: Application, settings: Settings, output: Output, parent: int | None) -> int:
    """Load the workflows and execute their runs until a signal; answers the exit code."""
    _configure_logging(settings)
    return asyncio.run(_serve(app.load(), settings, output, parent))


async def _serve(
    workflows: Workflows, settings: Settings, output: Output, parent: int | None
) -> int:
    client = connect(settings.url, namespace=settings.namespace, settings=engine_settings(settings))
    async with client:
        worker = _worker(client, workflows, settings)
        work = asyncio.create_task(worker.run())
        helpers = [asyncio.create_task(_announce(client, worker, workflows, settings, output))]
        if parent is not None:
            helpers.append(asyncio.create_task(_outlive_not(parent)))
        with _draining(work):
            try:
                await work
            except asyncio.CancelledError:
                pass
            finally:
                for helper in helpers:
                    helper.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)
    return 0


def engine_settings(settings: Settings) -> EngineSettings:
    """The part of the settings that the engine takes."""
    return EngineSettings(
        recovery_interval_ms=settings.recovery_interval_ms,
        stall_after_ms=settings.stall_after_ms,
        retention_ms=settings.retention_ms,
        upkeep_interval_ms=settings.upkeep_interval_ms,
    )


def _worker(client: Client, workflows: Workflows, settings: Settings) -> Worker:
    return Worker(
        client,
        workflows=workflows,
        max_concurrent_runs=settings.max_concurrent_runs,
        max_resident_runs=settings.max_resident_runs,
        lease_ms=settings.lease_ms,
        heartbeat_interval_ms=settings.heartbeat_interval_ms,
        stall_limit_ms=settings.stall_limit_ms,
        graceful_shutdown_timeout_ms=settings.graceful_shutdown_timeout_ms,
        task_threads=settings.task_threads,
    )


async def _announce(
    client: Client, worker: Worker, workflows: Workflows, settings: Settings, output: Output
) -> None:
    """Say that the worker is ready once the server knows it."""
    while not await _is_known(client, worker):  # noqa: ASYNC110  (the server knows, not we)
        await asyncio.sleep(_READY_POLL_SECONDS)
    names = [f"{each.name} {each.version}" for each in workflows]
    if output.as_json:
        output.json_line(
            {"ready": True, "url": settings.url, "workflows": names, "pid": os.getpid()}
        )
    else:
        output.line("ready", settings.url, ", ".join(names))


async def _is_known(client: Client, worker: Worker) -> bool:
    known = await client.call(ListWorkers())
    return any(each.incarnation == worker.incarnation for each in known)


async def _outlive_not(parent: int) -> None:
    """The process that restarts this one is gone: drain as if it had asked."""
    while os.getppid() == parent:  # noqa: ASYNC110  (a process of its own)
        await asyncio.sleep(_PARENT_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _draining(work: asyncio.Task[None]) -> Generator[None, None, None]:
    """The first signal cancels the work, which drains; the second ends the process.

    The handler does not wait for the loop's turn: user code that blocks it must not keep the
    second signal from ending the process.
    """
    loop = asyncio.get_running_loop()
    asked: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if asked:
            os._exit(128 + number)
        asked.append(number)
        loop.call_soon_threadsafe(_stop, work)

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(work: asyncio.Task[None]) -> None:
    logging.getLogger("aiki.cli").info("draining; a second signal ends it at once")
    work.cancel()


class OneLine(logging.Formatter):
    """One line for each record: an exception is its type, its message and its place."""

    def formatException(self, ei: Any) -> str:  # noqa: N802  (the base class names it)
        info: _ExceptionInfo = ei
        if os.environ.get("AIKI_DEBUG") == "1":
            return super().formatException(ei)
        frames = traceback.extract_tb(info[2])
        place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
        return clean(f"{info[0].__name__}: {info[1]}{place}")


def _configure_logging(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
