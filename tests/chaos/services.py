"""The broker and the database of a cell: its own, so that they can be harmed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg

from tests.ha.supervised import _supervised
from tests.queue.brokers import Broker, _children
from tests.services import mysql, postgres, rabbitmq, redis
from tests.services.server import private, server_pid

BROKERS = ("redis", "rabbitmq")
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


@contextmanager
def supervised_broker(kind: str) -> Iterator[SupervisedBroker]:
    """A broker for one cell alone."""
    service = redis.service() if kind == "redis" else rabbitmq.service()
    with private(_supervised(service, "TERM")) as data:
        server = redis.RedisServer(data) if kind == "redis" else rabbitmq.RabbitMq(data)
        yield SupervisedBroker(kind, server, server.url)


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


async def messages_left(broker: Broker | None, seconds: float) -> int:
    """What the broker still keeps after so long: sweeping and settling take their time."""
    if broker is None:
        return 0
    deadline = time.monotonic() + seconds
    while left := await asyncio.to_thread(broker.messages):
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.2)
    return left
