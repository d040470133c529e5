"""Brokers for tests: how each is reached, harmed and looked into."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit

from aiki.compose import publisher_for, subscriber_for
from aiki.queue.publisher import Publisher
from aiki.queue.streaming import Streaming
from tests.queue.rabbitmq.support import raw
from tests.services import rabbitmq, redis
from tests.services.server import freeze, server_pid, shared

KINDS = ("redis", "rabbitmq")


class Broker:
    """A broker, and a part of it that no other test uses."""

    def __init__(self, kind: str, server: Any, url: str) -> None:
        self.kind = kind
        self.server = server
        self.url = url

    def publisher(self, *, hasty: bool = False) -> Publisher:
        """`hasty`: a broker that says nothing for half a second counts as away."""
        return publisher_for(with_options(self.url, "timeout_ms=500") if hasty else self.url)

    @property
    def port(self) -> int:
        """On this machine."""
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def behind(self, port: int) -> Broker:
        """The same broker, reached by another port."""
        return Broker(self.kind, self.server, self.url.replace(f":{self.port}", f":{port}"))

    def subscriber(self, *, hasty: bool = False) -> Streaming:
        """`hasty`: tries a broker that is away every second."""
        if not hasty:
            found = subscriber_for(self.url)
        elif self.kind == "redis":
            from aiki import RedisStreams

            found = RedisStreams(self.url, max_retry_interval_ms=1_000, timeout_ms=1_000)
        else:
            from aiki import RabbitMQ

            found = RabbitMQ(self.url, max_retry_interval_ms=1_000, timeout_ms=1_000)
        assert isinstance(found, Streaming)
        return found

    def freeze(self) -> None:
        for pid in self._processes():
            freeze(pid)

    def thaw(self) -> None:
        for pid in self._processes():
            os.kill(pid, signal.SIGCONT)

    def _processes(self) -> list[int]:
        pid = server_pid(self.server.data)
        # The port mapper and the helpers of RabbitMQ are its children.
        return [pid, *_children(pid)]

    def wipe(self) -> None:
        """Lose every message."""
        if self.kind == "redis":
            self.server.client().flushall()
            return
        listed = self.server.control("list_queues", "name").split()
        for name in listed:
            if name.startswith(("workflow:", "aiki")):
                self.server.control("delete_queue", name)

    def refuse(self) -> None:
        """Take no message any more, for want of memory."""
        if self.kind == "redis":
            self.server.client().config_set("maxmemory", 1)
        else:
            self.server.control("set_vm_memory_high_watermark", "0.0001")

    def accept(self) -> None:
        """Take messages again."""
        if self.kind == "redis":
            self.server.client().config_set("maxmemory", 0)
        else:
            self.server.control("set_vm_memory_high_watermark", "absolute", "1GiB")

    @asynccontextmanager
    async def spoiled(self, workflow: str) -> AsyncIterator[None]:
        """Something else stands where messages of version 1.0.0 of this workflow belong."""
        if self.kind == "redis":
            prefix = self.url.partition("prefix=")[2]
            self.server.client().set(f"{prefix}workflow:{workflow}", "no stream")
            yield
        else:
            async with raw(self.url) as channel:
                await channel.queue_declare(f"workflow:{workflow}@1.0.0", exclusive=True)
                yield

    def messages(self) -> int:
        """How many there are."""
        if self.kind == "redis":
            client = self.server.client()
            prefix = self.url.partition("prefix=")[2]
            return sum(client.xlen(key) for key in client.scan_iter(f"{prefix}workflow:*"))
        listed = self.server.control("list_queues", "name", "messages").split("\n")
        rows = [line.split("\t") for line in listed if line.startswith("workflow:")]
        return sum(int(count) for _, count in rows)


def with_options(url: str, options: str) -> str:
    """The URL with these, too."""
    return f"{url}{'&' if '?' in url else '?'}{options}"


def _children(pid: int) -> list[int]:
    found = subprocess.run(
        ["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    below = [int(each) for each in found]
    return below + [deeper for each in below for deeper in _children(each)]


def shared_broker(kind: str, name: str) -> Broker:
    """The session's broker; the test's workflows have names of their own."""
    if kind == "redis":
        server = redis.RedisServer(shared(redis.service()))
        return Broker(kind, server, f"{server.url}?prefix={name}:")
    node = rabbitmq.RabbitMq(shared(rabbitmq.service()))
    return Broker(kind, node, node.url)


@contextmanager
def private_broker(kind: str) -> Iterator[Broker]:
    """A broker for a test that does it harm."""
    if kind == "redis":
        with redis.private_server() as server:
            yield Broker(kind, server, server.url)
    else:
        with rabbitmq.private_node() as node:
            yield Broker(kind, node, node.url)
