"""The broker and the database of a cell: its own, so that they can be harmed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import asyncpg

from tests.ha.supervised import _supervised
from tests.queue.brokers import Broker, _children
from tests.services import mysql, postgres, rabbitmq, redis
from tests.services.server import private, server_pid

BROKERS = ("redis", "redis-cluster", "rabbitmq")
_BACK_SECONDS = 60


class SupervisedBroker(Broker):
    """A broker that is started again whenever it dies."""

    def kill(self) -> None:
        """SIGKILL to all that belongs to it, what stands deepest first."""
        for each in reversed(_children(server_pid(self.server.data))):
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)

    def await_answer(self) -> None:
        """Return when it answers again."""
        deadline = time.monotonic() + _BACK_SECONDS
        while True:
            try:
                self.messages()
                return
            except Exception as error:
                # Each broker's own client fails in its own ways while it starts.
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{self.kind} did not come back") from error
            time.sleep(0.1)


class Brokers(NamedTuple):
    """What announces runs in a cell: one broker, or several that are one together."""

    url: str
    members: tuple[SupervisedBroker, ...]


@contextmanager
def supervised_brokers(kind: str) -> Iterator[Brokers]:
    """Brokers for one cell alone."""
    if kind == "redis-cluster":
        with ExitStack() as stack:
            nodes = [
                redis.RedisServer(stack.enter_context(_supervised_redis(redis.CLUSTER)))
                for _ in range(redis.CLUSTER_NODES)
            ]
            cluster = redis.RedisCluster(tuple(nodes))
            cluster.form()
            members = tuple(SupervisedBroker("redis", node, node.url) for node in nodes)
            yield Brokers(cluster.url, members)
    elif kind == "redis":
        with _supervised_redis("") as data:
            server = redis.RedisServer(data)
            yield Brokers(server.url, (SupervisedBroker(kind, server, server.url),))
    else:
        with private(_supervised(rabbitmq.service(), "TERM")) as data:
            node = rabbitmq.RabbitMq(data)
            yield Brokers(node.url, (SupervisedBroker(kind, node, node.url),))


def _supervised_redis(settings: str) -> AbstractContextManager[Path]:
    return private(_supervised(redis.service(settings), "TERM"))


@contextmanager
def database(store: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database for one cell alone."""
    if store == "sqlite":
        yield f"sqlite:///{folder / 'chaos.db'}"
    elif store == "postgresql":
        with private(postgres.service("18")) as data:
            yield postgres.at(data).url
    else:
        with private(mysql.service()) as data:
            running = mysql.at(data)
            mysql.run_client(running, "CREATE DATABASE aiki")
            yield running.database("aiki")


async def end_sessions(url: str) -> None:
    """End every connection to the database, as an administrator does, or a fail-over."""
    if url.startswith("mysql"):
        await _end_mysql_sessions(url)
        return
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND application_name = 'aiki'"
        )
    finally:
        await connection.close()


async def _end_mysql_sessions(url: str) -> None:
    sessions = await mysql.fetch(
        url, "SELECT id FROM information_schema.processlist WHERE id <> connection_id()"
    )
    for (session,) in sessions:
        # It may have ended meanwhile.
        with suppress(Exception):
            await mysql.execute(url, f"KILL CONNECTION {session}")


async def messages_left(brokers: Sequence[Broker], seconds: float) -> int:
    """What they still keep after so long: sweeping and settling take their time."""
    deadline = time.monotonic() + seconds
    while left := await asyncio.to_thread(lambda: sum(each.messages() for each in brokers)):
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.2)
    return left
