"""Declarations: the quorum queues of streams, and the place of what was delivered too often.

What is there already is taken as it is, whatever its kind and limits: another release or an
administrator may have made it, and anything that carries news will do. So limits may change between
releases, and whoever reads a queue needs no right to make it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from aiki.queue.rabbitmq.connection import Link
from aiki.queue.rabbitmq.stream import Stream

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel, ArgumentsType

T = TypeVar("T")
DEAD = "aiki.dead"
"""Exchange and queue of messages that were delivered too often."""
DELIVERY_LIMIT = 5
_MOST_DEAD = 10_000


class Absent(ChannelAccessRefused):
    """There is none, and this user may not make it."""


async def declare(link: Link, stream: Stream) -> int:
    """Make its queue if there is none. Answers how many messages wait in it for a consumer.

    Raises `Absent` where that is not allowed.
    """
    return await _find_or_make(
        link,
        lambda channel, passive: _declare_queue(
            channel,
            stream.name,
            passive,
            {"x-delivery-limit": DELIVERY_LIMIT, "x-dead-letter-exchange": DEAD},
        ),
    )


async def declare_dead(link: Link) -> None:
    """Make the place of messages that were delivered too often; the oldest give way."""
    await _find_or_make(
        link,
        lambda channel, passive: channel.exchange_declare(
            DEAD, exchange_type="fanout", durable=True, passive=passive
        ),
    )
    await _find_or_make(
        link,
        lambda channel, passive: _declare_queue(
            channel, DEAD, passive, {"x-max-length": _MOST_DEAD}
        ),
    )
    async with link.question() as channel:
        await channel.queue_bind(DEAD, DEAD)


async def _find_or_make(link: Link, ask: Callable[[AbstractChannel, bool], Awaitable[T]]) -> T:
    try:
        async with link.question() as channel:
            return await ask(channel, True)
    except ChannelNotFoundEntity:
        pass
    try:
        async with link.question() as channel:
            return await ask(channel, False)
    except ChannelAccessRefused as error:
        raise Absent(*error.args) from error


async def _declare_queue(
    channel: AbstractChannel, name: str, passive: bool, limits: ArgumentsType
) -> int:
    arguments: ArgumentsType = {"x-queue-type": "quorum", **limits}
    answer = await channel.queue_declare(name, passive=passive, durable=True, arguments=arguments)
    return answer.message_count or 0
