"""The subscriber of Redis Streams, as a worker is given it."""

from __future__ import annotations

from aiki.queue.redis.consumer import RedisConsumer
from aiki.queue.redis.options import RedisOptions
from aiki.queue.streaming import Streaming


class RedisStreams(Streaming):
    """Hears of ready runs from Redis Streams, and polls the server while Redis is away.

    `url` is `redis://user:password@host:6379/0` or `rediss://`, `redis+cluster://host,host2` or
    `redis+sentinel://host,host2/service`. All times are in milliseconds: `claim_min_idle_time_ms`,
    how long a message must have been left alone before it is taken from its worker;
    `claim_interval_ms`, between looks for such; `block_time_ms`, how long Redis holds a read;
    `max_retry_interval_ms`, the longest pause between tries while Redis is away;
    `look_interval_ms`, between looks at the server whatever was heard; `timeout_ms`, until a
    command counts as not answered. `batch_size` limits the messages of a read (none: the
    room that the worker has), `max_connections` those to Redis, and `parallelism` the reads that
    wait at a time. Raises `ConfigurationError` for what cannot work.
    """

    def __init__(
        self,
        url: str,
        *,
        claim_min_idle_time_ms: int = 60_000,
        claim_interval_ms: int = 5_000,
        block_time_ms: int = 1_000,
        max_retry_interval_ms: int = 30_000,
        look_interval_ms: int = 30_000,
        timeout_ms: int = 5_000,
        batch_size: int | None = None,
        max_connections: int = 16,
        parallelism: int = 16,
    ) -> None:
        options = RedisOptions(
            claim_min_idle_time_ms=claim_min_idle_time_ms,
            claim_interval_ms=claim_interval_ms,
            block_time_ms=block_time_ms,
            batch_size=batch_size,
            timeout_ms=timeout_ms,
            max_connections=max_connections,
            parallelism=parallelism,
        )
        super().__init__(
            RedisConsumer(url, options),
            max_retry_interval_ms=max_retry_interval_ms,
            look_interval_ms=look_interval_ms,
            # Well before anybody may take the messages of a live worker.
            refresh_interval_ms=max(1, claim_min_idle_time_ms // 3),
        )
