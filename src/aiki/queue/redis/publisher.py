"""The publisher of Redis Streams: one round trip for many messages, and proof of what is gone."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from aiki.errors import QueueUnavailable
from aiki.ids import new_id
from aiki.queue.message import MalformedMessage, Message, Queue, parse
from aiki.queue.publisher import NOWHERE, LiveRuns, Publication, Published
from aiki.queue.redis.address import Address
from aiki.queue.redis.command import Answer, Command, Refusal
from aiki.queue.redis.connection import Connection
from aiki.queue.redis.stream import Entry, entries

logger = logging.getLogger("aiki.queue")
_PAGE = 500
_MOST_PAGES = 20
"""Of one stream, looked at by one sweep; the next sweep goes on from there."""
_PINGS = 8
_PING_MS = 1_000
"""How long Redis keeps what a ping wrote."""
_START = "-"
_OLDEST = 7
"""Version of Redis; Valkey says that it is like one of these."""


class RedisPublisher:
    """Announces ready runs in streams that hold only what is waiting or being executed.

    A random value in Redis tells its data from those before a wipe: messages on record with another
    one are gone.
    """

    name = "redis"
    one_look_proves = True

    def __init__(self, url: str, *, timeout_ms: int = 5_000, max_connections: int = 10) -> None:
        self._address = Address.parse(url)
        self._connection = Connection(
            self._address, timeout_ms=timeout_ms, max_connections=max_connections
        )
        self._incarnation_key = f"{self._address.prefix}aiki:incarnation"
        self._streams_key = f"{self._address.prefix}aiki:streams"
        self._written: set[str] = set()
        """Names of the streams that this publisher has written to."""
        self._cursors: dict[str, str] = {}

    async def open(self) -> None:
        """Look whether this Redis is one that Aiki can rely on, and say so if not."""
        try:
            memory, server = await self._connection.each(
                [
                    Command(self._incarnation_key, ("INFO", "memory")),
                    Command(self._incarnation_key, ("INFO", "server")),
                ]
            )
        except QueueUnavailable:
            return
        for reason in unsuitable(_text(memory) + _text(server)):
            logger.warning("%s %s", self._address.label, reason)

    async def publish(self, messages: Sequence[Message]) -> list[Publication]:
        added = [self._add(message) for message in messages]
        names = list(dict.fromkeys(message.queue.key for message in messages))
        self._written.update(names)
        *_, incarnation = answers = await self._connection.each(
            [
                self._about_incarnation("SET", new_id(), "NX"),
                Command(self._streams_key, ("SADD", self._streams_key, *names)),
                *added,
                self._about_incarnation("GET"),
            ]
        )
        entries = answers[2:-1]
        refused = {
            message.queue.key: entry.text
            for message, entry in zip(messages, entries, strict=True)
            if isinstance(entry, Refusal)
        }
        for key, reason in refused.items():
            logger.warning("a message for %s was refused: %s", key, reason)
        if all(isinstance(entry, Refusal) for entry in entries):
            # It may be these streams alone that take none.
            await self.ping()
        return [
            NOWHERE if isinstance(entry, Refusal) else Publication(_text(entry), _text(incarnation))
            for entry in entries
        ]

    async def missing(self, published: Sequence[Published]) -> list[Message]:
        asked = [each for each in published if each.publication.entry]
        incarnation, *found = await self._connection.each(
            [self._about_incarnation("GET"), *(self._find(each) for each in asked)]
        )
        # Of a cluster, the server that keeps it may be away; entries alone prove less, and enough.
        known = None if isinstance(incarnation, Refusal) else _text(incarnation)
        there = {
            (each.message.queue, each.publication.entry)
            for each, answer in zip(asked, found, strict=True)
            if _may_be(each.message, answer)
        }
        return [
            each.message
            for each in published
            if (known is not None and each.publication.incarnation not in ("", known))
            or (each.message.queue, each.publication.entry) not in there
        ]

    async def sweep(self, live: LiveRuns) -> int:
        swept = 0
        for name in sorted(await self._names()):
            try:
                swept += await self._sweep(name, live)
            except QueueUnavailable as error:
                # Another stream may be well, and each is looked at again.
                logger.warning("a stream was not swept: %s", error)
                await self.ping()
        return swept

    async def _names(self) -> set[str]:
        """Of all streams; of a cluster, the server that keeps them may be away or wiped."""
        command = Command(self._streams_key, ("SMEMBERS", self._streams_key))
        (answer,) = await self._connection.each_answered([command])
        found = () if isinstance(answer, Refusal) else answer
        return self._written.union(map(_text, found))

    async def ping(self) -> None:
        # They lie on different servers of a cluster, of which one is enough.
        keys = [f"{self._address.prefix}aiki:ping:{number}" for number in range(_PINGS)]
        await self._connection.each(
            [Command(key, ("SET", key, "", "PX", _PING_MS)) for key in keys]
        )

    async def close(self) -> None:
        await self._connection.close()

    async def _sweep(self, name: str, live: LiveRuns) -> int:
        """Look at some pages of a stream, going on where the last look ended."""
        key, swept = self._address.prefix + name, 0
        for _ in range(_MOST_PAGES):
            start = self._cursors.pop(name, _START)
            page = entries(
                await self._connection.one(
                    Command(key, ("XRANGE", key, start, "+", "COUNT", _PAGE))
                )
            )
            runs = {entry.id: run_id for entry in page if (run_id := _run_of(entry)) is not None}
            alive = await live(list(runs.values())) if runs else set[str]()
            gone = [id for id, run_id in runs.items() if run_id not in alive]
            if gone:
                swept += await self._connection.one(Command(key, ("XDEL", key, *gone)))
            if len(page) < _PAGE:
                break
            self._cursors[name] = f"({page[-1].id}"
        return swept

    def _add(self, message: Message) -> Command:
        key = self._address.prefix + message.queue.key
        fields = [word for pair in message.fields().items() for word in pair]
        return Command(key, ("XADD", key, "*", *fields))

    def _find(self, published: Published) -> Command:
        key = self._address.prefix + published.message.queue.key
        entry = published.publication.entry
        return Command(key, ("XRANGE", key, entry, entry))

    def _about_incarnation(self, name: str, *words: str) -> Command:
        return Command(self._incarnation_key, (name, self._incarnation_key, *words))


def _may_be(message: Message, answer: Answer) -> bool:
    """Whether it is found there. What was refused proves nothing; another may have its id.

    (After a fail-over that lost it, a server whose clock is behind gives the id anew.)
    """
    if isinstance(answer, Refusal):
        return True
    return any(_run_of(entry) == message.run_id for entry in entries(answer))


def _run_of(entry: Entry) -> str | None:
    """The run that is announced; None for what is no message, which a consumer refuses."""
    try:
        fields = {name.decode(): value.decode() for name, value in entry.fields.items()}
        return parse(_NO_QUEUE, fields).run_id
    except (UnicodeDecodeError, MalformedMessage):
        return None


_NO_QUEUE = Queue("", "")


def _text(answer: Answer) -> str:
    return answer.decode() if isinstance(answer, bytes) else ""


def unsuitable(info: str) -> list[str]:
    """What an answer to INFO tells against a Redis."""
    told: list[str] = []
    policy = _setting(info, "maxmemory_policy")
    if policy.startswith("allkeys"):
        told.append(
            f"evicts any key when its memory is full (maxmemory-policy {policy}): announcements "
            "get lost and come late; set it to noeviction"
        )
    version = _setting(info, "redis_version")
    major = version.partition(".")[0]
    if major.isdigit() and int(major) < _OLDEST:
        told.append(
            f"is of version {version}: what was deleted stays pending there for ever; "
            f"{_OLDEST}.0 or Valkey is needed"
        )
    return told


def _setting(info: str, name: str) -> str:
    found = re.search(rf"^{name}:(\S*)", info, re.MULTILINE)
    return found.group(1) if found else ""
