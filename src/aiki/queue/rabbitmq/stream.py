"""A stream: the quorum queue of one workflow's shard and one version."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from aiki.queue.message import MalformedMessage, Message, Queue, parse

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel

DEAD = "aiki.dead"
"""Exchange and queue of messages that were delivered too often."""
DELIVERY_LIMIT = 5
_MOST_DEAD = 10_000
_PLAIN_NAME = re.compile(r"(?!amq\.)[A-Za-z0-9_.:@ /+,-]{1,255}")
"""What broker and client library both take; names with `amq.` before them are the broker's."""
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_.:@ /+,-]")
_READABLE = 150
"""Characters that stay readable of another name."""
_LONGEST_BODY = 4_096


class Stream(NamedTuple):
    """Where the messages of one version of a workflow go."""

    queue: Queue
    version: str

    @property
    def name(self) -> str:
        """Its name at the broker: `workflow:orders@3`.

        One that would be refused, since it is too long or has letters of other alphabets, is
        replaced by its beginning and its hash.
        """
        name = f"{self.queue.key}@{self.version}"
        if _PLAIN_NAME.fullmatch(name):
            return name
        beginning = _NOT_PLAIN.sub("_", name[:_READABLE])
        return f"aiki:{beginning}#{sha256(name.encode()).hexdigest()}"


def stream_of(message: Message) -> Stream:
    """Where a message goes."""
    return Stream(message.queue, message.version)


def encode(message: Message) -> bytes:
    """The body of a message."""
    return msgspec.json.encode(message.fields())


def decode(stream: Stream, body: bytes) -> Message:
    """The message with this body. Raises `MalformedMessage`."""
    if len(body) > _LONGEST_BODY:
        raise MalformedMessage(f"it has {len(body)} bytes, at most {_LONGEST_BODY}")
    try:
        fields = msgspec.json.decode(body, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedMessage(f"it is no JSON object of texts: {error}") from None
    message = parse(stream.queue, fields)
    if message.version != stream.version:
        raise MalformedMessage("its version is another than that of its queue")
    return message


async def declare(channel: AbstractChannel, stream: Stream) -> int:
    """Make its queue if there is none. Answers how many messages wait in it for a consumer."""
    answer = await channel.queue_declare(
        stream.name,
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": DEAD,
        },
    )
    return answer.message_count or 0


async def declare_dead(channel: AbstractChannel) -> None:
    """Make the place of messages that were delivered too often; the oldest give way."""
    await channel.exchange_declare(DEAD, exchange_type="fanout", durable=True)
    await channel.queue_declare(
        DEAD,
        durable=True,
        arguments={"x-queue-type": "quorum", "x-max-length": _MOST_DEAD},
    )
    await channel.queue_bind(DEAD, DEAD)
