"""Serving: an engine behind a port, from its first request to a stop that loses none."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from uvicorn import Config

from aiki.engine.engine import Engine
from aiki.server.access import Access
from aiki.server.application import Application
from aiki.server.connection import Watch
from aiki.server.listening import listening_socket, watch_peers
from aiki.server.routes import Routes
from aiki.server.service import Service
from aiki.server.settings import ServerSettings

DEFAULT_GRACE_MS = 5_000
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_ACCEPTING_TURNS = 2
"""Of the loop, from the acceptance of a connection until its protocol knows of it."""


class Listener(Protocol):
    """Another front end of the same engine, which starts and stops with the server."""

    async def start(self) -> None:
        """Begin to listen."""
        ...

    async def stop(self, grace_ms: int) -> None:
        """Stop in time; waiting calls are answered early."""
        ...


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Makes the event loops that suit a server best: uvloop's where it is installed."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


class Server:
    """Serves an engine over HTTP; starting and stopping the engine is the caller's business.

    It lives on the engine's event loop. `listeners` start and stop with it; `access` decides who
    is let in, by the settings' tokens unless told otherwise; `tls` makes it HTTPS.
    """

    def __init__(
        self,
        engine: Engine,
        settings: ServerSettings | None = None,
        *,
        listeners: Sequence[Listener] = (),
        access: Access | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.settings = settings or ServerSettings()
        self._engine = engine
        self._listeners = list(listeners)
        self._access = access or Access(self.settings.tokens)
        self._tls = tls
        self._address: tuple[str, int] | None = None
        self._service: Service | None = None
        self._watch: Watch | None = None
        self._accepting: asyncio.Server | None = None

    @property
    def service(self) -> Service:
        """What the endpoints share; there is none before the start."""
        assert self._service is not None, "the server was not started"
        return self._service

    @property
    def url(self) -> str:
        """Where it answers."""
        assert self._address is not None, "the server was not started"
        host, port = self._address
        host = _WILDCARDS.get(host, host)
        scheme = "https" if self._tls else "http"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    async def start(self, listening: socket.socket | None = None) -> None:
        """Answer requests from now on, on a socket that listens already, or on a new one.

        Raises `OSError` where the address cannot be taken.
        """
        settings = self.settings
        listening = listening or listening_socket(settings)
        watch_peers(listening, settings)
        self._address = listening.getsockname()[:2]
        self._service = Service(self._engine, settings, self._access)
        application: Any = Application(self._service, Routes(self._service))
        config = Config(
            application,
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=-(-settings.keep_alive_ms // 1000),
        )
        config.load()
        self._watch = Watch(config, settings)
        self._watch.start()
        handshake = settings.header_timeout_ms / 1000 if self._tls else None
        self._accepting = await asyncio.get_running_loop().create_server(
            self._watch.connection,
            sock=listening,
            backlog=settings.backlog,
            ssl=self._tls,
            ssl_handshake_timeout=handshake,
        )
        for listener in self._listeners:
            await listener.start()

    async def stop(self, grace_ms: int = DEFAULT_GRACE_MS) -> None:
        """Stop accepting, answer those that wait as if their time were over, let others finish.

        Whoever is not done when the grace is over is cut off. Nobody is suspected.
        """
        if self._watch is None or self._accepting is None:
            return
        await _close(self._accepting)
        self.service.close()
        await asyncio.gather(
            self._watch.drain(asyncio.get_running_loop().time() + grace_ms / 1000),
            *(listener.stop(grace_ms) for listener in self._listeners),
        )
        self._watch.stop()
        self._watch = None


async def _close(accepting: asyncio.Server) -> None:
    """Stop listening, once whoever is being accepted has a connection that can be closed.

    Before CPython 3.12, what is accepted when the listener closes is forgotten, and stays open
    (python/cpython#109564).
    """
    loop = asyncio.get_running_loop()
    for listening in accepting.sockets:
        loop.remove_reader(listening)
    for _ in range(_ACCEPTING_TURNS):
        await asyncio.sleep(0)
    accepting.close()


__all__ = ["Listener", "Server", "ServerSettings", "loop_factory"]
