"""A stream: the queue of one workflow's shard and one version, and what stands in it."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import NamedTuple

import msgspec

from aiki.queue.message import MalformedMessage, Message, Queue, parse

_PLAIN_NAME = re.compile(r"(?!amq\.)[A-Za-z0-9_.:@ /+,-]{1,255}")
"""What broker and client library both take; names with `amq.` before them are the broker's."""
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_.:@ /+,-]")
_READABLE = 150
"""Characters that stay readable of another name."""
_LONGEST_BODY = 4_096
_NOWHERE = Queue("", "")


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


def run_of(body: bytes) -> str:
    """The run that is announced; an empty text for what is no message."""
    try:
        return parse(_NOWHERE, msgspec.json.decode(body, type=dict[str, str])).run_id
    except (msgspec.DecodeError, UnicodeDecodeError, MalformedMessage):
        return ""
