"""The `Subscriber` protocol: how a worker learns that it is worth asking for runs."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from aiki.operations.work import Claims, Hint, Offer, RefusedMessage


class Interest(NamedTuple):
    """Which runs a worker can execute."""

    incarnation: str
    namespace: str
    offers: tuple[Offer, ...]
    shards: tuple[str, ...]


class Ask(NamedTuple):
    """One request for runs: how many, and how long the server may hold it if there are none."""

    limit: int
    wait_ms: int
    hints: tuple[Hint, ...] = ()
    """What a queue announced; the claim alone decides. Without any, all that is ready counts."""
    refused: tuple[RefusedMessage, ...] = ()
    """What came from a queue and is no message: the server keeps it before `learn` is called."""


class Subscriber(Protocol):
    """How a worker learns that runs are ready; the claim itself is always the server's."""

    async def open(self, interest: Interest) -> None:
        """Begin to listen for these."""
        ...

    async def next(self, capacity: int) -> Ask:
        """Return when it is time to ask. `limit` is from 1 to `capacity`. May be cancelled."""
        ...

    def learn(self, claims: Claims) -> None:
        """What the last request brought."""
        ...

    def ended(self, run_id: str) -> None:
        """The claim on a run that was granted is over: it parked, ended, or was given back."""
        ...

    def failed(self, error: Exception) -> None:
        """The last request failed; the next one should not come at once."""
        ...

    def note_announcing(self, announcing: bool) -> None:
        """Whether the server can announce runs at a broker; while it cannot, polling finds them."""
        ...

    async def close(self) -> None:
        """Stop listening; what was announced and not claimed is left to others."""
        ...
