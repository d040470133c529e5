"""Working: a worker on a server, embedded or elsewhere, until a signal asks it to drain."""

from __future__ import annotations

import asyncio
import logging
import os
import signal

from aiki.cli.application import Application, Workflows
from aiki.cli.logs import configure_logging
from aiki.cli.notify import READY, STOPPING, notify
from aiki.cli.output import Output
from aiki.cli.session import client_of
from aiki.cli.signals import draining
from aiki.client.client import Client
from aiki.clock import jitter
from aiki.compose import is_polling, is_remote, subscriber_for
from aiki.configuration import Settings
from aiki.errors import ConfigurationError, ServiceError
from aiki.operations.catalog import GetServerInfo, ListWorkers
from aiki.redaction import without_password
from aiki.worker import Worker

logger = logging.getLogger("aiki.cli")
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 2.0
_READY_POLL_SECONDS = 0.02
_PARENT_POLL_SECONDS = 1.0


def work(app: Application, settings: Settings, output: Output, parent: int | None) -> int:
    """Load the workflows and execute their runs until a signal; answers the exit code."""
    configure_logging(settings)
    return asyncio.run(_work(app.load(), settings, output, parent))


async def _work(
    workflows: Workflows, settings: Settings, output: Output, parent: int | None
) -> int:
    client = client_of(settings, daemons=None, migrate=settings.migrate, patient=True)
    async with client:
        worker = _worker(client, workflows, settings)
        task = asyncio.create_task(_run(client, worker, settings))
        helpers = [asyncio.create_task(_announce(client, worker, workflows, settings, output))]
        if parent is not None:
            helpers.append(asyncio.create_task(_outlive_not(parent)))

        def stop() -> None:
            notify(STOPPING)
            task.cancel()

        with draining(stop):
            try:
                await task
            except asyncio.CancelledError:
                pass
            finally:
                for helper in helpers:
                    helper.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)
    return 0


async def _run(client: Client, worker: Worker, settings: Settings) -> None:
    """Work; a server elsewhere may come later than its workers."""
    if is_remote(settings.url):
        await _until_answered(client)
    await worker.run()


async def _until_answered(client: Client) -> None:
    api = await client.api()
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            await api.call(GetServerInfo())
            return
        except ServiceError as error:
            if pause == _FIRST_PAUSE_SECONDS:
                logger.warning("no server answers, this worker waits for one: %s", error)
            await asyncio.sleep(pause * jitter(0.5))
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


def _worker(client: Client, workflows: Workflows, settings: Settings) -> Worker:
    if settings.queue and not is_polling(settings.queue) and not is_remote(settings.url):
        raise ConfigurationError(
            "queue is for a server elsewhere: give its http(s):// or grpc(s):// URL by --url, or "
            "leave the queue out"
        )
    return Worker(
        client,
        workflows=workflows,
        subscriber=subscriber_for(settings.queue) if settings.queue else None,
        max_concurrent_runs=settings.max_concurrent_runs,
        max_resident_runs=settings.max_resident_runs,
        lease_ms=settings.lease_ms,
        heartbeat_interval_ms=settings.heartbeat_interval_ms,
        stall_limit_ms=settings.stall_limit_ms,
        graceful_shutdown_timeout_ms=settings.graceful_shutdown_timeout_ms,
        shards=settings.shards,
        task_threads=settings.task_threads,
    )


async def _announce(
    client: Client, worker: Worker, workflows: Workflows, settings: Settings, output: Output
) -> None:
    """Say that the worker is ready once the server knows it."""
    while not await _is_known(client, worker):  # noqa: ASYNC110  (the server knows, not we)
        await asyncio.sleep(_READY_POLL_SECONDS)
    names = [f"{each.name} {each.version}" for each in workflows]
    url = without_password(settings.url)
    if output.as_json:
        output.json_line({"ready": True, "url": url, "workflows": names, "pid": os.getpid()})
    else:
        output.line("ready", url, ", ".join(names))
    notify(READY)


async def _is_known(client: Client, worker: Worker) -> bool:
    try:
        known = await client.call(ListWorkers())
    except ServiceError:
        # The worker says that no server answers, and goes on asking; so does this.
        return False
    return any(each.incarnation == worker.incarnation for each in known)


async def _outlive_not(parent: int) -> None:
    """The process that restarts this one is gone: drain as if it had asked."""
    while os.getppid() == parent:  # noqa: ASYNC110  (a process of its own)
        await asyncio.sleep(_PARENT_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
