"""The subscribers of brokers do what every subscriber must."""

from __future__ import annotations

import pytest

from aiki import RabbitMQ, RedisStreams
from aiki.testing import SubscriberBehaviour
from tests.services import rabbitmq as rabbit_service
from tests.services import redis as redis_service

redis = redis_service.redis
rabbitmq = rabbit_service.rabbitmq


class TestRedisStreams(SubscriberBehaviour):
    """Over Redis Streams."""

    @pytest.fixture(autouse=True)
    def _url(self, redis: redis_service.RedisServer) -> None:
        self.url = redis.url

    def make(self) -> RedisStreams:
        return RedisStreams(self.url, block_time_ms=10, look_interval_ms=20)


class TestRedisThatIsAway(SubscriberBehaviour):
    """Without the broker."""

    def make(self) -> RedisStreams:
        return RedisStreams("redis://127.0.0.1:1", max_retry_interval_ms=1_000)


class TestRabbitMQ(SubscriberBehaviour):
    """Over RabbitMQ."""

    @pytest.fixture(autouse=True)
    def _url(self, rabbitmq: rabbit_service.RabbitMq) -> None:
        self.url = rabbitmq.url

    def make(self) -> RabbitMQ:
        return RabbitMQ(self.url, wait_ms=10, look_interval_ms=20)
