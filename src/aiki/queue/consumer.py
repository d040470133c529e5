"""The `Consumer` protocol: how a worker reads one broker's messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from aiki.operations.work import RefusedMessage
from aiki.queue.message import Message
from aiki.queue.subscriber import Interest


class Delivery(NamedTuple):
    """A message that this consumer holds until it settles it."""

    message: Message
    tag: Any
    """The broker's handle, which only its consumer understands."""


class Batch(NamedTuple):
    """What one read brought."""

    deliveries: tuple[Delivery, ...] = ()
    refused: tuple[RefusedMessage, ...] = ()
    """What is no message of Aiki's; it is settled once the server keeps it."""


class Consumer(Protocol):
    """Reads messages of the streams that a worker serves; one object a worker, one loop.

    Every method but `close` raises `QueueUnavailable` when the broker cannot answer in time; what
    it was asked may have been done then.
    """

    async def open(self, interest: Interest) -> None:
        """Begin; raises nothing although the broker is away."""
        ...

    async def read(self, capacity: int) -> Batch:
        """Up to so many messages; waits for the first for a while, and may be cancelled.

        What a cancelled or failed read had taken is read again later, by this worker or another.
        """
        ...

    async def granted(self, deliveries: Sequence[Delivery]) -> None:
        """The server granted a run for each of these; they are held until `done`."""
        ...

    async def done(self, deliveries: Sequence[Delivery]) -> None:
        """Nobody needs these any more: no run was granted for them, or its claim is over."""
        ...

    async def dismiss(self, refused: Sequence[RefusedMessage]) -> None:
        """The server keeps these as dead letters: they need not be delivered any more."""
        ...

    async def refresh(self, deliveries: Sequence[Delivery]) -> None:
        """These are still being executed: nobody may think that their worker is dead."""
        ...

    async def close(self) -> None:
        """Leave what is unsettled to others; end all connections."""
        ...
