"""The subscribers of brokers do what every subscriber must."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from aiki import RabbitMQ, RedisStreams
from aiki.testing import SubscriberBehaviour
from tests.services import rabbitmq as rabbit_service
from tests.services import redis as redis_service
from tests.services.proxy import Proxy

redis = redis_service.redis
rabbitmq = rabbit_service.rabbitmq


class TestRedisStreams(SubscriberBehaviour):
    """Over Redis Streams."""

    @pytest.fixture(autouse=True)
    async def _wire(self, redis: redis_service.RedisServer) -> AsyncIterator[None]:
        port = urlsplit(redis.url).port
        assert port is not None
        async with Proxy.to_port(port) as self.wire:
            self.url = redis.url.replace(f":{port}", f":{self.wire.port}")
            yield

    async def open_connections(self) -> int:
        return self.wire.connections

    def make(self) -> RedisStreams:
        return RedisStreams(self.url, block_time_ms=10, look_interval_ms=20)


class TestRedisThatIsAway(SubscriberBehaviour):
    """Without the broker."""

    def make(self) -> RedisStreams:
        return RedisStreams("redis://127.0.0.1:1", max_retry_interval_ms=1_000)


class TestRabbitMQ(SubscriberBehaviour):
    """Over RabbitMQ."""

    @pytest.fixture(autouse=True)
    async def _wire(self, rabbitmq: rabbit_service.RabbitMq) -> AsyncIterator[None]:
        async with Proxy.to_port(rabbitmq.port) as self.wire:
            self.url = f"amqp://127.0.0.1:{self.wire.port}/"
            yield

    async def open_connections(self) -> int:
        return self.wire.connections

    def make(self) -> RabbitMQ:
        return RabbitMQ(self.url, wait_ms=10, look_interval_ms=20)
