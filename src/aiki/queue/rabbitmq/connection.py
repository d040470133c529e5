"""The connection to RabbitMQ: opened when it is needed, and given up at the first trouble."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import TYPE_CHECKING, Any

import aiormq
from aiormq.connection import TransportFactory
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from aiki.errors import QueueUnavailable
from aiki.queue.rabbitmq.address import Address

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel, AbstractConnection
    from yarl import URL

_FAREWELL_SECONDS = 1.0
"""How long a broker has to answer a goodbye."""
_PATIENCE = 0.75
"""Share of a call's time after which the silence of one queue is laid to it, or to the broker."""
_ALWAYS_THERE = "amq.direct"
"""An exchange that every broker has."""
FAILURES = (AMQPError, ChannelInvalidStateError, OSError, EOFError, TimeoutError)
"""What the client library raises where a broker refuses, is lost, or does not answer."""


class Link:
    """One connection; what was delivered over its channels is void after it.

    The broker closes the channel on which it refuses something, with all that goes on over it: what
    may be refused is asked on a channel of its own.
    """

    def __init__(self, address: Address, name: str, ssl_context: SSLContext | None) -> None:
        self._transport = _Transport(ssl_context)
        self._connection: AbstractConnection = aiormq.Connection(
            address.client_url(name), transport_factory=self._transport
        )

    async def open(self) -> None:
        """Connect; whatever this raises, `abandon` has to follow."""
        await self._connection.connect()

    async def channel(self, *, confirming: bool = False) -> AbstractChannel:
        """Another channel; `confirming`: the broker says what it has taken."""
        try:
            return await self._connection.channel(publisher_confirms=confirming)
        except RuntimeError as error:
            if not self.is_lost:
                raise
            raise ConnectionError("the connection was lost") from error

    @asynccontextmanager
    async def question(self, *, confirming: bool = False) -> AsyncGenerator[AbstractChannel]:
        """A channel for what may be refused, closed at the end."""
        channel = await self.channel(confirming=confirming)
        yield channel
        await channel.close()

    async def ping(self) -> None:
        """Return when the broker answers."""
        async with self.question() as channel:
            await channel.exchange_declare(_ALWAYS_THERE, passive=True)

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be sent over it any more."""
        return self._connection.is_closed

    async def lost(self) -> None:
        """Return when it is lost."""
        closing: asyncio.Future[Any] = self._connection.closing  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        try:
            await asyncio.wait([closing])
        finally:
            # The library keeps an observer for as long as it waits.
            closing.cancel()

    async def leave(self) -> None:
        """End it in order, so that the broker has heard all that was said before."""
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self._connection.close()
        except FAILURES:
            await self.abandon()

    async def abandon(self) -> None:
        """End it at once."""
        self._transport.abort()
        await self._connection.close()


class Links:
    """At most one link at a time, opened by the first call that needs it, and none once closed."""

    def __init__(self, address: Address, *, name: str, timeout_ms: int) -> None:
        self.address = address
        self._name = name
        self._ssl_context = address.ssl_context()
        self._timeout_seconds = timeout_ms / 1000
        self.patience_seconds = _PATIENCE * self._timeout_seconds
        self._link: Link | None = None
        self._fresh: Link | None = None
        self._opening = asyncio.Lock()
        self._closed = False
        self._endings: set[asyncio.Task[None]] = set()

    @property
    def current(self) -> Link | None:
        """The link that is in use, if it is not lost."""
        if self._link is not None and self._link.is_lost:
            self._drop(self._link)
        return self._link

    @asynccontextmanager
    async def in_time(self) -> AsyncGenerator[Link]:
        """A link for calls that have to end in time. Trouble ends it.

        Raises `QueueUnavailable` for whatever the broker refuses or does not answer.
        """
        link: Link | None = None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                link = await self._opened()
                yield link
        except FAILURES as error:
            self._drop(link)
            raise self.unavailable(self._describe(error)) from error
        except Exception as error:
            if type(error) is not Exception:
                raise
            # The library has no better word for what a closed connection cuts off.
            self._drop(link)
            raise self.unavailable("the connection was lost") from error
        except asyncio.CancelledError as error:
            # A call that is cut off in the middle leaves its channel unusable.
            self._drop(link)
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # The library cancels whoever waits for a connection that ends.
            raise self.unavailable("the connection was lost") from error

    def _describe(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"no answer within {self._timeout_seconds:g} s"
        return repr(error)

    def unavailable(self, reason: str) -> QueueUnavailable:
        """What to raise."""
        return QueueUnavailable(f"{self.address.label} cannot be used: {reason}")

    async def close(self) -> None:
        """End the link in order; an opening that is under way comes to nothing."""
        self._closed = True
        if self._fresh is not None:
            self._end(self._fresh)
        async with self._opening:
            link, self._link = self._link, None
        if link is not None:
            await link.leave()
        await asyncio.gather(*self._endings, return_exceptions=True)

    async def _opened(self) -> Link:
        async with self._opening:
            if self.current is None:
                self._link = await self._open()
            assert self._link is not None
            return self._link

    async def _open(self) -> Link:
        self._refuse_if_closed()
        link = self._fresh = Link(self.address, self._name, self._ssl_context)
        try:
            await link.open()
            self._refuse_if_closed()
        except BaseException:
            self._end(link)
            raise
        finally:
            self._fresh = None
        return link

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise self.unavailable("it was closed here")

    def _drop(self, link: Link | None) -> None:
        if link is not None and link is self._link:
            self._link = None
            self._end(link)

    def _end(self, link: Link) -> None:
        ending = asyncio.create_task(link.abandon())
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)


class _Transport(TransportFactory):
    """The socket, which can be cut whatever the library waits for."""

    def __init__(self, ssl_context: SSLContext | None) -> None:
        self._ssl_context = ssl_context
        self._writer: asyncio.StreamWriter | None = None

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, self._writer = await asyncio.open_connection(
            url.host,
            url.port,
            ssl=self._ssl_context,
            ssl_shutdown_timeout=_FAREWELL_SECONDS if self._ssl_context else None,
        )
        return reader, self._writer

    def abort(self) -> None:
        """Cut it."""
        if self._writer is not None:
            self._writer.transport.abort()
