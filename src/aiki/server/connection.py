"""A connection: uvicorn's HTTP protocol with limits on heads, and deadlines for slow peers.

The deadlines are watched for all connections together, by one timer, so that a request pays for
none of its own.
"""

from __future__ import annotations

import asyncio
import logging
from email.utils import formatdate
from typing import TYPE_CHECKING

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from aiki.clock import SYSTEM
from aiki.server.cork import Cork
from aiki.server.problems import Answer, Refusal, problem_of
from aiki.server.settings import ServerSettings

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn._types import ASGI3Application

logger = logging.getLogger("aiki.server")
_TICKS_PER_DEADLINE = 4
_LONGEST_TICK_SECONDS = 1.0
_LINGER_SECONDS = 2.0
"""How long a peer that was refused may go on sending before it is cut off."""
_PIPELINED_REQUESTS = 16


class Watch:
    """Looks after the connections of one server: their number, their deadlines, and the date."""

    def __init__(self, config: Config, settings: ServerSettings) -> None:
        self.config = config
        self.settings = settings
        self.state = ServerState()
        self._loop = asyncio.get_running_loop()
        shortest_ms = min(
            settings.header_timeout_ms,
            settings.body_timeout_ms,
            settings.keep_alive_ms,
            settings.write_timeout_ms,
        )
        self._tick_seconds = min(shortest_ms / 1000 / _TICKS_PER_DEADLINE, _LONGEST_TICK_SECONDS)
        self._timer: asyncio.TimerHandle | None = None
        self._fewer = asyncio.Event()
        self.closing = False
        """The server stops: nobody who connects now is served."""

    def connection(self) -> Connection:
        """The protocol for a connection that was accepted."""
        return Connection(self)

    @property
    def connections(self) -> list[Connection]:
        """All that are open."""
        return [each for each in self.state.connections if isinstance(each, Connection)]

    def lost(self) -> None:
        """A connection is closed."""
        self._fewer.set()

    async def drain(self, until: float) -> None:
        """Close all connections as soon as they are answered; at `until`, loop time, the others."""
        self.closing = True
        while self.connections:
            for connection in self.connections:
                connection.shutdown()
            self._fewer.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self._fewer.wait()
            except TimeoutError:
                break
        late: set[asyncio.Task[None]] = set()
        if self.state.tasks:
            # Some go on after their connection is closed, to write down that it is.
            timeout = max(0.0, until - self._loop.time())
            _, late = await asyncio.wait(self.state.tasks, timeout=timeout)
        if late:
            logger.warning("%d requests were not done in time and are cut off", len(late))
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for connection in self.connections:
            connection.transport.abort()

    def start(self) -> None:
        """Begin to watch."""
        self._tick()

    def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        date = formatdate(SYSTEM.wall() // 1000, usegmt=True).encode()
        self.state.default_headers = [(b"date", date)]
        now = self._loop.time()
        for connection in self.connections:
            connection.check(now)
        self._timer = self._loop.call_later(self._tick_seconds, self._tick)


class Connection(HttpToolsProtocol):
    """One client's connection."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch.config, watch.state, {})
        self.access_log = False
        self._watch = watch
        self._settings = watch.settings
        self._phase = "idle"
        """Of what is read: `idle` between requests, then `head`, then `body`."""
        self._since = self.loop.time()
        """When the phase began."""
        self._head_bytes = 0
        self._skipped_bytes = 0
        self._running: RequestResponseCycle | None = None
        """The request that is answered, or was last; others may be queued behind it."""
        self._blocked_since: float | None = None
        self._cut_at: float | None = None

    # What arrives

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._cork = Cork(transport, self.loop)
        if self._watch.closing:
            # It was accepted before the stop, and comes after it.
            transport.abort()
        elif len(self.connections) > self._settings.max_connections:
            self._refuse(503, "this server has as many connections as it takes")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._running is not None and not self._running.response_complete:
            self._leave(self._running)
        self.pipeline.clear()
        self._watch.lost()

    def _leave(self, running: RequestResponseCycle) -> None:
        """Tell the application that nobody waits for its answer."""
        running.disconnected = True
        running.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        cycle.transport = self._cork
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        if self._cut_at is not None:
            return
        self._unset_keepalive_if_required()
        if self._phase != "body":
            self._head_bytes += len(data)
        try:
            if self.parser is not None:
                self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # No other protocol is spoken here; the request is answered as it stands.
            return
        except httptools.HttpParserError as error:
            self._refuse(400, f"this is not HTTP: {error}")
            return
        if self._phase == "head" and self._head_bytes > self._settings.max_header_bytes:
            self._refuse_head()

    def _refuse_head(self) -> None:
        if len(self.url) > self._settings.max_url_bytes:
            limit = self._settings.max_url_bytes
            self._refuse(414, f"the URL has more than {limit} bytes")
        else:
            limit = self._settings.max_header_bytes
            self._refuse(431, f"the headers have more than {limit} bytes")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._enter("head")

    def on_headers_complete(self) -> None:
        settings = self._settings
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if self._cut_at is not None:
            return
        if len(self.url) > settings.max_url_bytes or size > settings.max_header_bytes:
            self._refuse_head()
            return
        if len(self.pipeline) >= _PIPELINED_REQUESTS:
            self._refuse(429, f"at most {_PIPELINED_REQUESTS} requests may wait in one connection")
            return
        self._head_bytes = 0
        self._skipped_bytes = 0
        self._enter("body")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._cut_at is not None:
            return
        super().on_body(body)
        if self.cycle.response_complete:
            self._skipped_bytes += len(body)
            if self._skipped_bytes > self._settings.max_body_bytes:
                self.transport.abort()

    def on_message_complete(self) -> None:
        if self._cut_at is not None:
            return
        self._enter("idle")
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._cork.flush()
        if self._phase == "idle":
            self._since = self.loop.time()
        super().on_response_complete()

    def _enter(self, phase: str) -> None:
        self._phase = phase
        self._since = self.loop.time()

    # What leaves

    def pause_writing(self) -> None:
        self._blocked_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._blocked_since = None
        super().resume_writing()

    def _refuse(self, status: int, detail: str) -> None:
        """Answer in place of the application, unless that answers already, and hang up.

        What the peer still sends is read and dropped for a moment: a reset would destroy the
        answer on its way.
        """
        if self._cut_at is not None:
            return
        self._cork.flush()
        self._cut_at = self.loop.time() + _LINGER_SECONDS
        running = self._running
        if running is not None and not running.response_complete:
            if running.response_started:
                self.transport.abort()
                return
            self._leave(running)
        self.transport.write(_raw(problem_of(Refusal(status, detail), ""), self.server_state))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    # Deadlines

    def check(self, now: float) -> None:
        """Cut the connection off if its peer is too slow."""
        settings = self._settings
        since = self._blocked_since
        if since is not None and _is_over(since, settings.write_timeout_ms, now):
            self.transport.abort()
        elif self._cut_at is not None:
            if now >= self._cut_at:
                self.transport.abort()
        elif self.transport.is_closing():
            self._cut_at = now + settings.write_timeout_ms / 1000
        else:
            self._check_phase(now)

    def _check_phase(self, now: float) -> None:
        settings, since, last = self._settings, self._since, self._running
        if self._phase == "head":
            if _is_over(since, settings.header_timeout_ms, now):
                self._refuse(408, "the headers took too long to arrive")
        elif self._phase == "body":
            if _is_over(since, settings.body_timeout_ms, now):
                self._refuse(408, "the body took too long to arrive")
        elif last is None:
            if _is_over(since, settings.header_timeout_ms, now):
                self.transport.close()
        elif last.response_complete and _is_over(since, settings.keep_alive_ms, now):
            self.transport.close()


def _is_over(since: float, timeout_ms: int, now: float) -> bool:
    return now - since > timeout_ms / 1000


def _raw(answer: Answer, state: ServerState) -> bytes:
    headers = [*state.default_headers, *answer.headers, (b"connection", b"close")]
    lines = [name + b": " + value + b"\r\n" for name, value in headers]
    return b"".join([STATUS_LINE[answer.status], *lines, b"\r\n", answer.body])
