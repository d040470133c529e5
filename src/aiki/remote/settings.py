"""Settings of a connection over HTTP: deadlines, and how much may be under way at once."""

from __future__ import annotations

import ssl
from typing import NamedTuple


class HttpSettings(NamedTuple):
    """What may be chosen; times in seconds unless the name says otherwise."""

    connect_seconds: float = 3.0
    answer_seconds: float = 10.0
    """A request is answered within this, or its connection counts as broken; a request that waits
    at the server has this on top of its wait."""
    longest_wait_ms: int = 20_000
    """What one request waits at the server at most; a broken connection is noticed after it."""
    short_requests: int = 4
    """Requests under way that do not wait; calls beyond them leave together in the next one. As
    many again for reports and heartbeats."""
    waiting_requests: int = 64
    """Requests that wait at the server; calls beyond them ask in bundles, with pauses. As many
    again for workers."""
    message_bytes: int = 4 * 1024 * 1024
    """Calls leave together up to this."""
    answer_bytes: int = 256 * 1024 * 1024
    """The longest answer that is read."""
    ssl_context: ssl.SSLContext | None = None
    """Instead of the system's certificates."""
    use_environment_proxies: bool = False
    """Obey `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`."""
