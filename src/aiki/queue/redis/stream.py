"""A stream of Redis: its key, its groups, and the commands that keep a message or settle it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from aiki.queue.message import MalformedMessage, Message, Queue, parse
from aiki.queue.redis.command import Command

GROUP_EXISTS = "BUSYGROUP"
LOST_GROUP = frozenset({"NOGROUP", "UNBLOCKED"})
"""The stream was deleted, flushed, or moved to another server."""
NOTHING_THERE = LOST_GROUP | {"WRONGTYPE"}
"""What was handed over lies there no more; something else may."""

HAND_OVER_PAGE = 1_000
_NOBODY = "nobody"
"""The consumer that has what was given back."""
_FOR_LONG_MS = 86_400_000

_SETTLE = """
redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 2))
return redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
"""
# Only what is still ours: another worker that took it meanwhile keeps it.
_REFRESH = """
local kept = 0
for place = 3, #ARGV do
    local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[place], ARGV[place], 1)
    if pending[1] and pending[1][2] == ARGV[2] then
        redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[place], 'JUSTID')
        kept = kept + 1
    end
end
return kept
"""
_HAND_OVER = """
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[5], ARGV[2])
for _, each in ipairs(pending) do
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, each[1], 'IDLE', ARGV[4], 'JUSTID')
end
return #pending
"""
# A consumer that goes takes its pending messages along, so that it may have none at that moment.
_BURY = """
local buried = 0
for _, fields in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local consumer = {}
    for place = 1, #fields, 2 do consumer[fields[place]] = fields[place + 1] end
    if consumer['name'] ~= ARGV[2] and consumer['pending'] == 0
            and consumer['idle'] > tonumber(ARGV[3]) then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer['name'])
        buried = buried + 1
    end
end
return buried
"""


class Entry(NamedTuple):
    """What lies in a stream."""

    id: str
    fields: dict[bytes, bytes]


class Pending(NamedTuple):
    """A message that a consumer took and has not settled."""

    id: str
    consumer: str
    idle_ms: int
    deliveries: int


class Stream(NamedTuple):
    """The messages of a queue, as a group of workers of one version reads them."""

    queue: Queue
    version: str
    key: str

    @property
    def group(self) -> str:
        return f"workers@{self.version}"

    def create(self) -> Command:
        """Make the group; it begins with what lies there already."""
        return self._command("XGROUP", "CREATE", self.key, self.group, "0", "MKSTREAM")

    def read(self, consumer: str, count: int) -> Command:
        """Take up to so many that no consumer of the group has taken."""
        return read_together([self], consumer, count)

    def read_own(self, consumer: str, after: str, count: int) -> Command:
        """What this consumer took before and has not settled."""
        return self._command(
            "XREADGROUP", "GROUP", self.group, consumer, "COUNT", count, "STREAMS", self.key, after
        )

    def pending(self, idle_ms: int, count: int) -> Command:
        """What was taken, and has been left alone for so long; Redis itself leaves out the rest."""
        return self._command("XPENDING", self.key, self.group, "IDLE", idle_ms, "-", "+", count)

    def claim(self, consumer: str, idle_ms: int, ids: Sequence[str]) -> Command:
        """Take these from whoever has left them alone for so long."""
        return self._command("XCLAIM", self.key, self.group, consumer, idle_ms, *ids)

    def acknowledge(self, ids: Sequence[str]) -> Command:
        """Nothing for this group: they stay for the others."""
        return self._command("XACK", self.key, self.group, *ids)

    def settle(self, ids: Sequence[str]) -> Command:
        """Nobody needs these any more."""
        return self._command("EVAL", _SETTLE, 1, self.key, self.group, *ids)

    def refresh(self, consumer: str, ids: Sequence[str]) -> Command:
        """This consumer, if it has them still, is alive."""
        return self._command("EVAL", _REFRESH, 1, self.key, self.group, consumer, *ids)

    def hand_over(self, consumer: str) -> Command:
        """This consumer leaves: others need not wait for what it took.

        Answers how many were handed over; as many as a page may not be all.
        """
        places = (self.key, self.group, consumer, _NOBODY)
        return self._command("EVAL", _HAND_OVER, 1, *places, _FOR_LONG_MS, HAND_OVER_PAGE)

    def give_back(self, ids: Sequence[str]) -> Command:
        """Whoever looks next for what was left alone takes these."""
        given: tuple[str | int, ...] = (_NOBODY, 0, *ids, "IDLE", _FOR_LONG_MS, "JUSTID")
        return self._command("XCLAIM", self.key, self.group, *given)

    def bury(self, consumer: str, idle_ms: int) -> Command:
        """Forget other consumers that hold nothing and have not asked for so long."""
        return self._command("EVAL", _BURY, 1, self.key, self.group, consumer, idle_ms)

    def parse(self, entry: Entry) -> Message:
        """The message in it; raises `MalformedMessage`."""
        try:
            fields = {name.decode(): value.decode() for name, value in entry.fields.items()}
        except UnicodeDecodeError:
            raise MalformedMessage("it is no text in UTF-8") from None
        return parse(self.queue, fields)

    def _command(self, *words: str | int) -> Command:
        return Command(self.key, words)


def read_together(
    streams: Sequence[Stream], consumer: str, count: int, wait_ms: int | None = None
) -> Command:
    """Take up to so many from each of these streams of one version, and wait for the first."""
    waiting: tuple[str | int, ...] = () if wait_ms is None else ("BLOCK", max(1, wait_ms))
    keys = [stream.key for stream in streams]
    return Command(
        keys[0],
        (
            *("XREADGROUP", "GROUP", streams[0].group, consumer, "COUNT", count),
            *waiting,
            *("STREAMS", *keys, *([">"] * len(keys))),
        ),
    )


def entries(answer: Any) -> list[Entry]:
    """Of XRANGE and XCLAIM; what was deleted meanwhile has no content, and is left out."""
    return [_entry(each) for each in answer or () if each is not None and each[1] is not None]


def entries_by_key(answer: Any) -> dict[str, list[Entry]]:
    """Of XREADGROUP; here what was deleted has no fields."""
    return {key.decode(): [_entry(each) for each in found] for key, found in answer or ()}


def pending_of(answer: Any) -> list[Pending]:
    """Of XPENDING."""
    return [
        Pending(id.decode(), consumer.decode(), idle_ms, deliveries)
        for id, consumer, idle_ms, deliveries in answer or ()
    ]


def _entry(found: Any) -> Entry:
    id, words = found
    words = words or ()
    return Entry(id.decode(), dict(zip(words[::2], words[1::2], strict=True)))
