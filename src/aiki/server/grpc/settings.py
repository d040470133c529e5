"""The settings of the gRPC server: where it listens, whom it lets in, and every limit it holds."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=1)]
Milliseconds = Annotated[int, Meta(ge=1)]


class GrpcSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may choose; times in milliseconds, sizes in bytes."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 7070
    """0: any that is free."""
    reuse_port: bool = True
    """Other processes may listen on the same port: the kernel spreads connections among them."""
    tokens: tuple[str, ...] = ()
    """Static bearer tokens, any of which lets a caller in; without one everybody is let in."""
    roles: frozenset[str] = frozenset({"admin"})
    """What a caller who was let in may do."""
    certificate_file: str | None = None
    """The server's certificate chain in PEM, for TLS; without it the server speaks plaintext."""
    key_file: str | None = None
    """The certificate's private key in PEM."""

    max_message_bytes: Count = 16 * 1024 * 1024
    """Of a request; an answer is as long as what was asked for."""
    max_calls: Count = 4_000
    """Calls that are answered at the same time; what workers report is never refused."""
    max_waiting: Count = 10_000
    """Calls that wait for something to happen."""
    max_sessions: Count = 10_000
    """Workers with an open session."""

    keepalive_interval_ms: Milliseconds = 10_000
    """How often a connection that is still is asked for a sign of life."""
    keepalive_timeout_ms: Milliseconds = 5_000
    """After how long without that sign it is taken for broken."""

    session_credits: Count = 8
    """Requests for runs that one session may have open."""
    session_requests: Count = 32
    """Other requests of one session at the same time; the next ones are not read until then."""
    session_queue: Count = 64
    """Responses that wait for one session's peer to read them."""
