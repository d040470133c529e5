"""What a worker's session carries: one stream in each direction, for one incarnation.

The worker says `Hello` first. Each of its requests has a number of its own, and what answers it
bears that number; what the server sends unasked bears none. The open session is the worker's
presence: a stream that ends without a `LeaveWorker` makes its worker suspect.
"""

from __future__ import annotations

import msgspec

from aiki.clock import Instant
from aiki.operations.work import (
    Claims,
    Heartbeat,
    HeartbeatAnswer,
    Hint,
    LeaveWorker,
    Offer,
    RegisterWorker,
    Report,
    Reported,
    WorkerNews,
)


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """The first request: who the worker is. Answered by `Welcome`."""

    registration: RegisterWorker
    presence: int = 0
    """Number of this session among the worker's; a later one has a higher number, and ends the
    earlier ones. 0: the server chooses it by its clock."""


class Credits(msgspec.Struct, frozen=True, kw_only=True):
    """Room for runs: up to `limit` are pushed as soon as there is one. Answered once, by `Claims`.

    Several may be open at a time, for instance one for each part of the worker's capacity.
    """

    claim_id: str = ""
    """Made by the worker, to be listed in heartbeats as `claiming` until it is answered; the server
    makes one where it is missing. Repeated after a broken stream, it gets the same runs."""
    limit: int
    offers: tuple[Offer, ...] = ()
    """Without any: the workflows of the registration."""
    shards: tuple[str, ...] = ()
    """Without any: the shards of the registration."""
    wait_ms: int | None = None
    """When to answer that there is nothing; missing: the credits stand until they are used."""
    idle: bool = True
    """The worker executes nothing: it may take a run that must be executed alone."""
    hints: tuple[Hint, ...] = ()
    """What a broker announced: with hints, no more runs are granted of each queue than they name.
    """


class SessionRequest(msgspec.Struct, frozen=True):
    """From the worker. An empty `incarnation` within is that of the session."""

    number: int
    request: Hello | Credits | Report | Heartbeat | LeaveWorker


class Welcome(msgspec.Struct, frozen=True):
    """The worker is registered, and its presence is known."""

    now: Instant
    presence: int


class Left(msgspec.Struct, frozen=True):
    """The goodbye was heard: what the worker held is released. The stream ends."""

    now: Instant


class Drain(msgspec.Struct, frozen=True):
    """The server stops: open another session, elsewhere. Nothing is lost, nobody is suspected."""


class Refusal(msgspec.Struct, frozen=True):
    """The request failed: the error's class and its message. The session goes on."""

    error: str
    message: str


class SessionResponse(msgspec.Struct, frozen=True):
    """To the worker. `number` is that of the request which this answers; 0: nobody asked."""

    number: int
    response: Welcome | Claims | Reported | HeartbeatAnswer | WorkerNews | Refusal | Drain | Left
