"""The settings of the REST server: where it listens, whom it lets in, and every limit it holds."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

MEBIBYTE = 1024 * 1024
Count = Annotated[int, Meta(ge=1)]
Milliseconds = Annotated[int, Meta(ge=1)]


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may choose; times in milliseconds, sizes in bytes."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080
    """0: any that is free."""
    reuse_port: bool = False
    """Other processes may listen on the same port: the kernel spreads connections among them."""
    backlog: Count = 2_048
    """Connections that may wait to be accepted."""
    tokens: tuple[str, ...] = ()
    """Static bearer tokens, any of which lets a caller in; without one everybody is let in."""

    max_body_bytes: Count = 16 * MEBIBYTE
    """Of a request's body, also after it was inflated."""
    max_inflation: Count = 100
    """How many times larger an inflated body may be, beyond `free_inflation_bytes`."""
    free_inflation_bytes: Count = MEBIBYTE
    max_json_depth: Count = 64
    max_url_bytes: Count = 8_192
    max_header_bytes: Count = 32_768
    """Of all headers of a request, its first line included."""

    max_connections: Count = 20_000
    max_requests: Count = 2_000
    """Requests that are answered at the same time; those that wait are counted apart."""
    max_waiting: Count = 10_000
    """Requests that wait for something to happen."""
    max_wait_ms: Milliseconds = 60_000
    """How long a request may wait for something to happen, whatever it asks for."""
    max_streams: Count = 1_000
    """Open streams of server-sent events."""
    max_presences: Count = 10_000
    """Workers that show their presence here."""

    header_timeout_ms: Milliseconds = 10_000
    """From a connection's or a request's beginning to the end of its headers."""
    body_timeout_ms: Milliseconds = 60_000
    """From the end of the headers to the end of the body."""
    keep_alive_ms: Milliseconds = 75_000
    """How long an idle connection is kept."""
    write_timeout_ms: Milliseconds = 10_000
    """How long a peer may leave full buffers unread."""
    peer_timeout_ms: Milliseconds = 15_000
    """After how long a peer's host that answers nothing is taken for gone."""
    heartbeat_interval_ms: Milliseconds = 15_000
    """Between comments on a stream of events that has nothing to tell."""
    presence_interval_ms: Milliseconds = 5_000
    """Between the bytes on a worker's streaming request."""
    ready_timeout_ms: Milliseconds = 2_000
    """How long the database may take to answer when the server is asked whether it is ready."""
