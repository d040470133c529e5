"""The library's clients, as an address asks for them."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis, RedisCluster, Sentinel, SentinelConnectionPool
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from aiki.queue.redis.address import CLUSTER, SENTINEL, SINGLE, Address
from aiki.queue.redis.cluster import Cluster
from aiki.queue.redis.server import Server

_AS_SENT = ("XREADGROUP", "XRANGE", "XCLAIM", "XPENDING", "INFO")
"""Commands whose answers the library shall leave as they came."""


class Clients:
    """Makes clients that try a command once."""

    def __init__(self, address: Address, *, timeout_seconds: float, max_connections: int) -> None:
        self._address = address
        self._timeout_seconds = timeout_seconds
        self._max_connections = max_connections

    def open(self, *, patient: bool) -> Server | Cluster:
        """One with connections of its own; `patient`: its commands may wait at the server."""
        options: dict[str, Any] = {
            "username": self._address.user,
            "password": self._address.password,
            "max_connections": self._max_connections,
            "socket_keepalive": True,
            **self._common(),
        }
        if patient or self._address.kind == SINGLE:
            # Our own time-out is enough: the library's ends too early what waits, and may forget a
            # cancellation. (It is there for those of several servers that do not answer.)
            options["socket_timeout"] = None
        if self._address.kind == CLUSTER:
            return self._cluster(options)
        options["db"] = self._address.database
        if self._address.kind == SENTINEL:
            return self._watched(options)
        host, port = self._address.hosts[0]
        return Server(_plain(Redis(host=host, port=port, **options)), self._timeout_seconds)

    def _common(self) -> dict[str, Any]:
        """How every server is spoken to, a Sentinel, too."""
        address = self._address
        options: dict[str, Any] = {
            "socket_timeout": self._timeout_seconds,
            "socket_connect_timeout": self._timeout_seconds,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }
        if address.encrypted:
            options |= {
                "ssl": True,
                "ssl_ca_certs": address.ssl_ca,
                "ssl_cert_reqs": "none" if address.ssl == "unverified" else "required",
                "ssl_check_hostname": address.ssl != "unverified",
            }
        return options

    def _cluster(self, options: dict[str, Any]) -> Cluster:
        client = RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in self._address.hosts],
            # A slot without a server holds up the streams in it, and no others.
            require_full_coverage=False,
            **options,
        )
        return Cluster(_plain(client), self._timeout_seconds)

    def _watched(self, options: dict[str, Any]) -> Server:
        address = self._address
        login = {"username": address.sentinel_user, "password": address.sentinel_password}
        watching: Any = Sentinel(  # type: ignore[no-untyped-call]
            list(address.hosts), sentinel_kwargs=login | self._common(), **options
        )
        client: Redis = watching.master_for(
            address.service, connection_pool_class=SentinelConnectionPool
        )
        return Server(_plain(client), self._timeout_seconds, watching.sentinels)


def _plain(client: Any) -> Any:
    for name in _AS_SENT:
        client.response_callbacks.pop(name, None)
    return client
