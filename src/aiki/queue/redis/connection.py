"""The connection to Redis: typed commands over redis-py, whose errors become ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, MutableMapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from redis.asyncio import Redis, RedisCluster, Sentinel, SentinelConnectionPool
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError, ResponseError

from aiki.errors import QueueUnavailable
from aiki.queue.redis.address import CLUSTER, SENTINEL, Address

T = TypeVar("T")
Word = str | bytes | int
_FAILURES = (RedisError, OSError, TimeoutError, asyncio.IncompleteReadError)
_WITHOUT_RETRIES = 0
_AS_SENT = ("XREADGROUP", "XRANGE", "XCLAIM", "XPENDING", "INFO")
"""Commands whose answers the library shall leave as they came."""


class Command(NamedTuple):
    """A command of Redis, and the key that it is about."""

    key: str
    words: tuple[Word, ...]


class _Client(Protocol):
    """What redis-py's clients have in common, as far as it is used here."""

    response_callbacks: MutableMapping[str, Any]

    def execute_command(self, *words: Word, **options: Any) -> Awaitable[Any]: ...

    def aclose(self) -> Awaitable[None]: ...


class Refusal(NamedTuple):
    """What came of one command instead of a result."""

    code: str
    """The first word of what Redis said; or the class of an error without such a word."""
    text: str

    @classmethod
    def of(cls, error: Exception) -> Refusal:
        """From an error of the library, which strips the codes that it knows."""
        text = str(error) or repr(error)
        word = text.partition(" ")[0]
        return cls(word if word.isupper() else type(error).__name__, text)


Answer = Any | Refusal


class Connection:
    """A pool of connections for commands that answer at once, and one for those that wait.

    A command is tried once: whoever calls knows whether to repeat it. `max_connections` limits each
    of the pools; a command that finds none free counts as not answered.
    """

    def __init__(self, address: Address, *, timeout_ms: int, max_connections: int) -> None:
        self.address = address
        address.check_certificate()
        self._timeout_seconds = timeout_ms / 1000
        self._max_connections = max_connections
        self._prompt: _Client | None = None
        self._patient: _Client | None = None
        self._sentinels: list[_Client] = []

    @property
    def is_cluster(self) -> bool:
        """Whether keys live on different servers, so that a command may name one only."""
        return self.address.kind == CLUSTER

    async def each(self, commands: Sequence[Command]) -> list[Answer]:
        """Run all of these; refusals stand among the answers, unless all are refused.

        They travel together where one server has all keys. Raises `QueueUnavailable` when all are
        refused, or when nothing is known of any.
        """
        answers = await self.each_answered(commands)
        if answers and all(isinstance(answer, Refusal) for answer in answers):
            raise self.unavailable(answers[0].text)
        return answers

    async def each_answered(self, commands: Sequence[Command]) -> list[Answer]:
        """As `each`, where refusals of all are answers, too."""
        if not commands:
            return []
        client = self._prompt = self._prompt or self._opened(patient=False)
        return await self._in_time(self._each(client, commands), self._timeout_seconds)

    async def one(self, command: Command) -> Any:
        """Run this; raises `QueueUnavailable` if it is refused, too."""
        (answer,) = await self.each([command])
        if isinstance(answer, Refusal):
            raise self.unavailable(answer.text)
        return answer

    async def wait(self, command: Command, wait_ms: int) -> Answer:
        """Run a command that itself waits so long, on a connection of its own."""
        client = self._patient = self._patient or self._opened(patient=True)
        run = _at_its_node if isinstance(client, RedisCluster) else _alone
        return await self._in_time(run(client, command), wait_ms / 1000 + self._timeout_seconds)

    def unavailable(self, reason: str) -> QueueUnavailable:
        """What to raise."""
        return QueueUnavailable(f"{self.address.label} cannot be used: {reason}")

    async def close(self) -> None:
        """End all connections."""
        for client in (self._prompt, self._patient, *self._sentinels):
            if client is not None:
                await client.aclose()
            if isinstance(client, RedisCluster):
                # The library leaves them open where it was about to learn the nodes anew.
                await client.nodes_manager.aclose()
                await client.nodes_manager.aclose("startup_nodes")
        self._prompt = self._patient = None
        self._sentinels.clear()

    async def _in_time(self, running: Coroutine[Any, Any, T], seconds: float) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await running
        except TimeoutError as error:
            raise self.unavailable(f"no answer within {seconds:g} s") from error
        except _FAILURES as error:
            raise self.unavailable(str(error) or repr(error)) from error

    async def _each(self, client: _Client, commands: Sequence[Command]) -> list[Answer]:
        if isinstance(client, RedisCluster):
            return list(await asyncio.gather(*(_at_its_node(client, each) for each in commands)))
        if len(commands) == 1:
            return [await _alone(client, commands[0])]
        pipeline = cast("Redis", client).pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command.words)  # pyright: ignore[reportUnknownMemberType]
        found: list[Any] = await pipeline.execute(raise_on_error=False)
        return [_answer(each) for each in found]

    def _opened(self, *, patient: bool) -> _Client:
        client = self._make(patient=patient)
        for name in _AS_SENT:
            client.response_callbacks.pop(name, None)
        return client

    def _make(self, *, patient: bool) -> _Client:
        address = self.address
        options: dict[str, Any] = {
            "username": address.user,
            "password": address.password,
            # What blocks is limited by our own time-out: the library's would end it too early.
            "socket_timeout": None if patient else self._timeout_seconds,
            "socket_connect_timeout": self._timeout_seconds,
            "socket_keepalive": True,
            "protocol": 2,
        }
        if address.encrypted:
            options |= {
                "ssl": True,
                "ssl_ca_certs": address.ssl_ca,
                "ssl_cert_reqs": "none" if address.ssl == "unverified" else "required",
                "ssl_check_hostname": address.ssl != "unverified",
            }
        if address.kind == CLUSTER:
            return self._cluster(options)
        options |= {
            "db": address.database,
            "retry": Retry(NoBackoff(), _WITHOUT_RETRIES),
            "max_connections": self._max_connections,
        }
        if address.kind == SENTINEL:
            return self._watched(options)
        host, port = address.hosts[0]
        return cast("_Client", Redis(host=host, port=port, **options))

    def _cluster(self, options: dict[str, Any]) -> _Client:
        return cast(
            "_Client",
            RedisCluster(
                startup_nodes=[ClusterNode(host, port) for host, port in self.address.hosts],
                # A slot without a server holds up the streams in it, and no others.
                require_full_coverage=False,
                # Once more after a redirection or a fail-over, with the nodes learned anew.
                retry=Retry(NoBackoff(), 1),
                max_connections=self._max_connections,
                **options,
            ),
        )

    def _watched(self, options: dict[str, Any]) -> _Client:
        sentinels = Sentinel(  # type: ignore[no-untyped-call]
            list(self.address.hosts),
            sentinel_kwargs={
                "socket_timeout": self._timeout_seconds,
                "socket_connect_timeout": self._timeout_seconds,
                "retry": Retry(NoBackoff(), _WITHOUT_RETRIES),
            },
            **options,
        )
        # The client that they lead to does not close the connections to them.
        self._sentinels.extend(cast("Any", sentinels).sentinels)
        found: Any = sentinels.master_for(  # pyright: ignore[reportUnknownMemberType]
            self.address.service, connection_pool_class=SentinelConnectionPool
        )
        return cast("_Client", found)


async def _alone(client: Any, command: Command) -> Answer:
    try:
        return await client.execute_command(*command.words)
    except ResponseError as error:
        return Refusal.of(error)


async def _at_its_node(client: Any, command: Command) -> Answer:
    """Trouble with one node is no trouble with the others."""
    try:
        await client.initialize()
        # Where the key stands in a command is known here, and need not be asked.
        node = client.get_node_from_key(command.key)
        return await client.execute_command(*command.words, target_nodes=node)
    except (*_FAILURES, RedisClusterException) as error:
        return Refusal.of(error)


def _answer(found: Any) -> Answer:
    if isinstance(found, ResponseError):
        return Refusal.of(found)
    if isinstance(found, Exception):
        raise found
    return found
