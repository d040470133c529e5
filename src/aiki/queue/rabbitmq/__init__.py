"""RabbitMQ: quorum queues that carry the news of ready runs."""

from __future__ import annotations

from aiki.queue.rabbitmq.consumer import RabbitConsumer as RabbitConsumer
from aiki.queue.rabbitmq.publisher import RabbitPublisher as RabbitPublisher
