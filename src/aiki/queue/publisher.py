"""The `Publisher` protocol: how a server announces ready runs at a broker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from aiki.queue.message import Message

LiveRuns = Callable[[Sequence[str]], Awaitable[set[str]]]
"""Which of these runs are ready or being executed now."""


class Publication(NamedTuple):
    """Where a message went."""

    entry: str
    """The broker's id of it; empty where it gives none."""
    incarnation: str
    """Of the broker's data: after it was wiped there is another one."""


NOWHERE = Publication("", "")
"""The broker refused the message, while it took others."""


class Published(NamedTuple):
    """A message that is on record as published, and whose run still waits to be claimed."""

    message: Message
    publication: Publication


class Publisher(Protocol):
    """Announces ready runs. Nothing depends on it: what is lost is announced again.

    Every method raises `QueueUnavailable` when the broker cannot answer in time; what it was asked
    may have been done then.
    """

    name: str
    one_look_proves: bool
    """Whether `missing` knows at once; else it has to be asked twice, soon after each other."""

    async def open(self) -> None:
        """Prepare; succeeds although the broker is away."""
        ...

    async def publish(self, messages: Sequence[Message]) -> list[Publication]:
        """Announce all of these, in their order; answers where each went, or `NOWHERE`."""
        ...

    async def missing(self, published: Sequence[Published]) -> list[Message]:
        """Those whose message is provably gone. Being late proves nothing."""
        ...

    async def sweep(self, live: LiveRuns) -> int:
        """Remove messages whose run is neither ready nor executed. Answers how many."""
        ...

    async def ping(self) -> None:
        """Return when the broker takes messages: it may answer and have no room for any."""
        ...

    async def close(self) -> None:
        """Give up all connections."""
        ...
