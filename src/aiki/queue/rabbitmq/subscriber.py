"""The subscriber of RabbitMQ, as a worker is given it."""

from __future__ import annotations

from aiki.errors import ConfigurationError
from aiki.queue.rabbitmq.consumer import RabbitConsumer
from aiki.queue.streaming import Streaming


class RabbitMQ(Streaming):
    """Hears of ready runs from RabbitMQ, and polls the server while RabbitMQ is away.

    `url` is `amqp://user:password@host:5672/vhost` or `amqps://`. `prefetch` limits the messages of
    a read (none: the room that the worker has); the broker sends no more than that. All times are
    in milliseconds: `wait_ms`, how long a read waits; `max_retry_interval_ms`, the longest pause
    between tries while RabbitMQ is away; `look_interval_ms`, between looks at the server whatever
    was heard; `timeout_ms`, until a call counts as not answered. Raises
    `ConfigurationError` for what cannot work.
    """

    def __init__(
        self,
        url: str,
        *,
        prefetch: int | None = None,
        wait_ms: int = 5_000,
        max_retry_interval_ms: int = 30_000,
        look_interval_ms: int = 30_000,
        timeout_ms: int = 5_000,
    ) -> None:
        numbers = {"prefetch": prefetch, "wait_ms": wait_ms, "timeout_ms": timeout_ms}
        for name, value in numbers.items():
            if value is not None and value < 1:
                raise ConfigurationError(f"{name}={value}: at least 1")
        super().__init__(
            RabbitConsumer(url, prefetch=prefetch, timeout_ms=timeout_ms, wait_ms=wait_ms),
            max_retry_interval_ms=max_retry_interval_ms,
            look_interval_ms=look_interval_ms,
        )
