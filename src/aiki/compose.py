"""Who is who: the only module that names concrete stores, engines and connections.

Each is loaded when a URL asks for it: a worker of a server elsewhere loads no engine and no driver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from socket import socket
from ssl import SSLContext
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from aiki.client.client import Client, Connection
from aiki.errors import ConfigurationError
from aiki.model.audit import Principal
from aiki.operations.base import Api
from aiki.queue.polling import AdaptivePolling, SimplePolling
from aiki.queue.tuning import polling, tuned
from aiki.redaction import without_password

if TYPE_CHECKING:
    from aiki.engine.engine import Engine, EngineSettings
    from aiki.queue.publisher import Publisher
    from aiki.queue.subscriber import Subscriber
    from aiki.server.grpc.server import GrpcServer
    from aiki.server.grpc.settings import GrpcSettings
    from aiki.server.serving import Server
    from aiki.server.settings import ServerSettings
    from aiki.store.laws import Finding
    from aiki.store.protocol import Store

DEFAULT_URL = "sqlite:///aiki.db"
POSTGRES = frozenset({"postgresql", "postgres"})
MYSQL = frozenset({"mysql", "mariadb"})
HTTP = frozenset({"http", "https"})
GRPC = frozenset({"grpc", "grpcs"})
REDIS = frozenset(
    f"{scheme}{kind}" for scheme in ("redis", "rediss") for kind in ("", "+cluster", "+sentinel")
)
RABBITMQ = frozenset({"amqp", "amqps"})
POLLING = "polling"
_POLLING: dict[str, type[Subscriber]] = {"simple": SimplePolling, "adaptive": AdaptivePolling}
_EXTRAS = {
    "asyncpg": "postgres",
    "asyncmy": "mysql",
    "grpc": "grpc",
    "redis": "redis",
    "aiormq": "rabbitmq",
}


def connect(
    url: str | Sequence[str] = DEFAULT_URL,
    *,
    namespace: str = "default",
    settings: EngineSettings | None = None,
    token: str | None = None,
    timeout: timedelta | None = None,
    ssl_context: SSLContext | None = None,
) -> Client:
    """Open a client by URL. Nothing is contacted before the first use.

    `sqlite:///file`, `postgresql://...` and `mysql://...` run the server in this process;
    `http(s)://...` and `grpc(s)://...` call one elsewhere, with `token` if it asks for one. Several
    servers, as a list or as `http://a:8080,b:8080`, stand in for each other. `timeout` is for how
    long a call is repeated while no server answers (30 s). `ssl_context` replaces the system's
    certificates for `https://`. `settings` are an embedded server's.

    Raises `ConfigurationError` for a URL that names none of these.
    """
    urls = [url] if isinstance(url, str) else list(url)
    if not urls:
        raise ConfigurationError(f"no URL is given; for example {DEFAULT_URL}")
    scheme = urlsplit(urls[0]).scheme
    if ssl_context is not None and scheme != "https":
        raise ConfigurationError(f"an SSL context is for https://, not for {scheme}://")
    connection: Connection
    if scheme in HTTP | GRPC:
        connection = _remote(urls, scheme, namespace, token, ssl_context)
    elif len(urls) > 1:
        raise ConfigurationError(f"several URLs are for servers elsewhere, not for {scheme}://")
    else:
        connection = EmbeddedConnection(store_for(urls[0]), namespace, settings)
    return Client(connection, namespace=namespace, timeout=timeout)


def _remote(
    urls: list[str],
    scheme: str,
    namespace: str,
    token: str | None,
    ssl_context: SSLContext | None,
) -> Connection:
    if scheme in HTTP:
        from aiki.remote.http import HttpConnection
        from aiki.remote.settings import HttpSettings

        http = HttpSettings(ssl_context=ssl_context)
        return HttpConnection(urls, namespace=namespace, token=token, settings=http)
    try:
        from aiki.remote.grpc import GrpcConnection
    except ModuleNotFoundError as error:
        raise _missing(error) from None

    return GrpcConnection(urls, namespace=namespace, token=token)


def is_remote(url: str) -> bool:
    """Whether the server is elsewhere."""
    return urlsplit(url).scheme in HTTP | GRPC


def names_a_server(url: str) -> bool:
    """Whether a server, of Aiki or of a database, has to answer; otherwise it is a file."""
    return urlsplit(url).scheme in HTTP | GRPC | POSTGRES | MYSQL


def store_for(
    url: str,
    *,
    read_url: str | None = None,
    listen_url: str | None = None,
    pool_size: int = 10,
    migrate: bool = True,
) -> Store:
    """The store that a URL names, its driver loaded; it is opened at the first use.

    `read_url` is a replica that may answer lists, `listen_url` leads past a pooler: both are of
    PostgreSQL only. `pool_size` is how many connections to a database server read. Without
    `migrate` an older schema is refused instead of being brought up to date.
    """
    scheme = urlsplit(url).scheme
    try:
        if scheme in POSTGRES:
            from aiki.store.postgres.store import PostgresStore

            return PostgresStore(
                url,
                read_url=read_url,
                listen_url=listen_url,
                pool_size=pool_size,
                migrate=migrate,
            )
        if read_url is not None or listen_url is not None:
            name = "listen_url" if read_url is None else "read_url"
            raise ConfigurationError(f"{name} is for PostgreSQL, not for {scheme}://")
        if scheme in MYSQL:
            from aiki.store.mysql.store import MySqlStore

            return MySqlStore(url, migrate=migrate)
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    from aiki.store.sqlite.store import SqliteStore

    return SqliteStore(sqlite_path(url))


async def inspect(url: str) -> list[Finding]:
    """The laws of `aiki.store.laws` that do not hold in the database that a URL names.

    Raises `ConfigurationError` for what is no database of this version of Aiki, and
    `StoreUnavailable`.
    """
    scheme = urlsplit(url).scheme
    if scheme in HTTP | GRPC:
        raise ConfigurationError(
            f"{without_password(url)!r} is a server: examine its database, by its own URL"
        )
    try:
        if scheme in POSTGRES:
            from aiki.store.postgres import inspection as postgres

            return await postgres.inspect(url)
        if scheme in MYSQL:
            from aiki.store.mysql import inspection as mysql

            return await mysql.inspect(url)
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    from aiki.store.sqlite import inspection

    return await inspection.inspect(sqlite_path(url))


def publisher_for(url: str) -> Publisher:
    """What announces ready runs at the broker that a URL names; nothing is contacted yet."""
    try:
        if _broker(url) in REDIS:
            from aiki.queue.redis.publisher import RedisPublisher
            from aiki.queue.redis.subscriber import RedisStreams

            return tuned(url, RedisPublisher, RedisStreams)
        from aiki.queue.rabbitmq.publisher import RabbitPublisher
        from aiki.queue.rabbitmq.subscriber import RabbitMQ

        return tuned(url, RabbitPublisher, RabbitMQ)
    except ModuleNotFoundError as error:
        raise _missing(error) from None


def subscriber_for(url: str) -> Subscriber:
    """How a worker listens at the broker that a URL names; nothing is contacted yet.

    `polling:simple` and `polling:adaptive` name no broker.
    """
    if is_polling(url):
        return polling(url, _POLLING)
    try:
        if _broker(url) in REDIS:
            from aiki.queue.redis.publisher import RedisPublisher
            from aiki.queue.redis.subscriber import RedisStreams

            return tuned(url, RedisStreams, RedisPublisher)
        from aiki.queue.rabbitmq.publisher import RabbitPublisher
        from aiki.queue.rabbitmq.subscriber import RabbitMQ

        return tuned(url, RabbitMQ, RabbitPublisher)
    except ModuleNotFoundError as error:
        raise _missing(error) from None


def is_polling(url: str) -> bool:
    """Whether this says how a worker polls, and names no broker."""
    return urlsplit(url).scheme == POLLING


def _broker(url: str) -> str:
    scheme = urlsplit(url).scheme
    if is_polling(url):
        raise ConfigurationError(f"{url!r} is how a worker polls: a server needs a broker, or none")
    if scheme not in REDIS | RABBITMQ:
        raise ConfigurationError(
            f"{without_password(url)!r} names no broker that Aiki knows: redis(s)://, "
            "redis(s)+cluster://, redis(s)+sentinel:// or amqp(s)://"
        )
    return scheme


def _missing(error: ModuleNotFoundError) -> ConfigurationError:
    extra = _EXTRAS.get((error.name or "").partition(".")[0])
    if extra is None:
        raise error
    return ConfigurationError(f"{error.name} is not installed: pip install 'aiki[{extra}]'")


def sqlite_path(url: str) -> Path:
    """The file that `sqlite:///relative` or `sqlite:////absolute` names."""
    parts = urlsplit(url)
    if parts.scheme in HTTP | GRPC:
        raise ConfigurationError(
            f"{without_password(url)!r} names a server elsewhere; here a database is needed"
        )
    if parts.scheme != "sqlite":
        raise ConfigurationError(
            f"{without_password(url)!r} is no URL that Aiki knows: sqlite:///file, "
            f"postgresql://, mysql://, http(s):// or grpc(s)://; for example {DEFAULT_URL}"
        )
    if parts.netloc:
        raise ConfigurationError(
            f"{url!r} names a host {parts.netloc!r}; a file takes three slashes: "
            f"sqlite:///{parts.netloc}{parts.path}"
        )
    if parts.query or parts.fragment:
        raise ConfigurationError(f"{url!r}: a file's URL takes no options")
    name = unquote(parts.path.removeprefix("/"))
    if not name or name == ":memory:":
        raise ConfigurationError("a database in memory would not survive: name a file")
    path = Path(name)
    if path.is_dir():
        raise ConfigurationError(f"{path} is a folder; name a file in it: {url}/aiki.db")
    if not path.absolute().parent.is_dir():
        raise ConfigurationError(
            f"the folder {path.absolute().parent} does not exist; make it first"
        )
    return path


class EmbeddedConnection:
    """A server in this process, on a thread of its own."""

    def __init__(
        self, store: Store, namespace: str, settings: EngineSettings | None = None
    ) -> None:
        from aiki.engine.host import EngineHost

        self.host = EngineHost(store, settings)
        self._principal = Principal(namespace=namespace)

    async def open(self) -> Api:
        """Start the server's thread; returns when it answers."""
        from aiki.engine.host import EmbeddedApi

        await asyncio.to_thread(self.host.start)
        return EmbeddedApi(self.host, self._principal)

    async def close(self) -> None:
        """Stop the server; what was submitted is committed first."""
        await asyncio.to_thread(self.host.stop)


class Node:
    """A server: an engine on this event loop, and its front ends, HTTP and, if wanted, gRPC."""

    def __init__(
        self,
        store: Store,
        settings: EngineSettings,
        http: ServerSettings,
        grpc: GrpcSettings | None = None,
        *,
        tls: SSLContext | None = None,
        publisher: Publisher | None = None,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._settings = settings
        self._http = http
        self._grpc = grpc
        self._tls = tls
        self._engine: Engine | None = None
        self._server: Server | None = None

    async def start(self, listening: socket | None = None) -> None:
        """Open the store and answer, on a socket that listens already or on a new one."""
        from aiki.engine.engine import Engine
        from aiki.server.serving import Server

        engine = Engine(self._store, self._settings, self._publisher)
        await engine.start()
        self._engine = engine
        listeners: list[GrpcServer] = []
        if self._grpc is not None:
            from aiki.server.grpc.server import GrpcServer

            listeners.append(GrpcServer(engine, self._grpc))
        self._server = Server(engine, self._http, listeners=listeners, tls=self._tls)
        await self._server.start(listening)

    async def stop(self, grace_ms: int) -> None:
        """Let the front ends drain for so long at most; what was accepted is committed."""
        server, self._server = self._server, None
        engine, self._engine = self._engine, None
        if server is not None:
            await server.stop(grace_ms)
        if engine is not None:
            await engine.stop()
