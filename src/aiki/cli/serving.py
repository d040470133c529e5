"""Serving: an engine with its front ends in this process, until it is asked to drain."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from ssl import SSLContext

import msgspec

from aiki.cli.ports import Ports
from aiki.cli.session import engine_settings
from aiki.cli.signals import draining
from aiki.compose import Node, publisher_for
from aiki.configuration import Settings
from aiki.errors import ServiceError
from aiki.server.grpc.settings import GrpcSettings
from aiki.server.serving import loop_factory
from aiki.server.settings import ServerSettings
from aiki.store.protocol import Store

logger = logging.getLogger("aiki.cli")
_BEYOND_DRAIN_SECONDS = 5.0
"""What the engine may take to commit what was accepted."""

_GRACE_MS = 3_000
"""Workers outlive their server: they are given time to find it again before they count as lost."""


def serve(
    settings: Settings,
    ports: Ports,
    node: Node,
    *,
    on_ready: Callable[[], None],
    on_stop: Callable[[], None],
    lifeline: int | None = None,
) -> int:
    """Answer until the first signal, or until the lifeline's other end is gone; then drain."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        work = _serve(settings, ports, node, on_ready=on_ready, on_stop=on_stop, lifeline=lifeline)
        return runner.run(work)


async def _serve(
    settings: Settings,
    ports: Ports,
    node: Node,
    *,
    on_ready: Callable[[], None],
    on_stop: Callable[[], None],
    lifeline: int | None,
) -> int:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def stop() -> None:
        if not stopping.is_set():
            stopping.set()
            on_stop()

    def follow_parent(descriptor: int) -> None:
        loop.remove_reader(descriptor)
        logger.warning("the parent is gone; draining")
        stop()

    if lifeline is not None:
        loop.add_reader(lifeline, follow_parent, lifeline)
    with draining(stop):
        if await _unless(stopping, node.start(ports.http)):
            on_ready()
            await stopping.wait()
        await _drain(node, settings.graceful_shutdown_timeout_ms)
    return 0


async def _unless(stopping: asyncio.Event, start: Awaitable[None]) -> bool:
    """Whether it started; a database that does not answer must not hold up a stop."""
    starting = asyncio.ensure_future(start)
    stopped = asyncio.ensure_future(stopping.wait())
    await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if starting.done():
        starting.result()
        return True
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    return False


async def _drain(node: Node, grace_ms: int) -> None:
    limit_seconds = grace_ms / 1000 + _BEYOND_DRAIN_SECONDS
    try:
        async with asyncio.timeout(limit_seconds):
            await node.stop(grace_ms)
    except TimeoutError:
        raise ServiceError(
            f"the server did not stop within {limit_seconds:g} s; what was answered is recorded"
        ) from None


def node_of(settings: Settings, store: Store, ports: Ports, tls: SSLContext | None) -> Node:
    """The server that the settings ask for; the database is not touched yet."""
    return Node(
        store,
        msgspec.structs.replace(
            engine_settings(settings, daemons=settings.daemons), recovery_grace_ms=_GRACE_MS
        ),
        _server_settings(settings),
        _grpc_settings(settings, ports),
        tls=tls,
        publisher=publisher_for(settings.queue) if settings.queue else None,
    )


def _server_settings(settings: Settings) -> ServerSettings:
    return ServerSettings(
        host=settings.host,
        port=settings.port,
        tokens=settings.token,
        max_body_bytes=settings.max_body_bytes,
        max_connections=settings.max_connections,
        max_requests=settings.max_requests,
        max_waiting=settings.max_waiting,
        max_streams=settings.max_streams,
        max_presences=settings.max_presences,
    )


def _grpc_settings(settings: Settings, ports: Ports) -> GrpcSettings | None:
    if ports.grpc is None:
        return None
    host, port = ports.grpc.getsockname()[:2]
    return GrpcSettings(
        host=f"[{host}]" if ":" in host else host,
        port=port,
        tokens=settings.token,
        certificate_file=settings.tls_certificate_file,
        key_file=settings.tls_key_file,
        max_message_bytes=settings.max_body_bytes,
        max_calls=settings.max_requests,
        max_waiting=settings.max_waiting,
        max_sessions=settings.max_presences,
    )
